//! Requests, checked: what is wrong about one is told as a problem.

use std::fmt;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use common::fabric::{Duration, timeout};
use serde::de::{self, DeserializeOwned, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::Gateway;
use super::problem::Problem;

/// How long a body may take.
const BODY: Duration = Duration::from_secs(30);

/// The body, in JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Gateway> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        let body = Json::<T>::from_request(request, gateway);
        match timeout(gateway.0.fabric.as_ref(), BODY, body).await {
            Some(Ok(Json(body))) => Ok(Self(body)),
            Some(Err(rejection)) => Err(of_body(&rejection)),
            None => Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {} s", BODY.as_secs()),
            )),
        }
    }
}

/// A wrong shape is a bad request, as wrong syntax is; 422 is for what has the right one.
fn of_body(rejection: &JsonRejection) -> Problem {
    let status = match rejection.status() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    Problem::new(status, rejection.body_text())
}

/// The query, all of it: unknown names are wrong where `T` denies them.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Gateway> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, gateway).await;
        let wrong =
            |rejection: QueryRejection| Problem::new(rejection.status(), rejection.body_text());
        query.map(|query| Self(query.0)).map_err(wrong)
    }
}

/// What stands in the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Gateway> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, gateway).await;
        let wrong =
            |rejection: PathRejection| Problem::new(rejection.status(), rejection.body_text());
        path.map(|path| Self(path.0)).map_err(wrong)
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy)]
pub struct Whole<const MIN: u64, const MAX: u64>(pub u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(WholeVisitor::<MIN, MAX>)
    }
}

/// In JSON a number is whole by its value, however it is written: `7.0` is.
struct WholeVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for WholeVisitor<MIN, MAX> {
    type Value = Whole<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        if (MIN..=MAX).contains(&number) {
            Ok(Whole(number))
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(number), &self))
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        // A cast saturates; what is not the same number afterwards was not whole, or out of bounds.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = number as u64;
        #[allow(clippy::cast_precision_loss, clippy::float_cmp)]
        if whole as f64 == number {
            self.visit_u64(whole)
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

impl<const MIN: u64, const MAX: u64> PartialSchema for Whole<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(MIN))
            .maximum(Some(MAX))
            .build()
            .into()
    }
}

impl<const MIN: u64, const MAX: u64> ToSchema for Whole<MIN, MAX> {}

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// Saturates, which no bound here makes it do.
    pub fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

/// A text of `MIN` to `MAX` characters.
#[derive(Debug, Clone)]
pub struct Text<const MIN: usize, const MAX: usize>(pub String);

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let count = text.chars().count();
        if (MIN..=MAX).contains(&count) {
            return Ok(Self(text));
        }
        let wrong = format!("expected a text of {MIN} to {MAX} characters, not {count}");
        Err(de::Error::custom(wrong))
    }
}

impl<const MIN: usize, const MAX: usize> PartialSchema for Text<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(MIN))
            .max_length(Some(MAX))
            .build()
            .into()
    }
}

impl<const MIN: usize, const MAX: usize> ToSchema for Text<MIN, MAX> {}
