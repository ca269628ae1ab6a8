//! Errors as problem details (RFC 9457).

use std::collections::BTreeMap;

use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response as HttpResponse, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Body};
use common::status::{Detail, Kind, Status};
use serde::Serialize;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder, Type,
};
use utoipa::{IntoResponses, ToSchema, openapi};

use super::shapes::Found;

pub const MEDIA_TYPE: &str = "application/problem+json";
/// When whoever was refused may come again, unless the refusal says it.
const RETRY_AFTER_MS: u64 = 1_000;

/// Why a request was not fulfilled (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says which kind of problem it is.
    #[serde(rename = "type")]
    #[schema(value_type = String, format = "uri-reference")]
    kind: &'static str,
    /// The status, for people.
    #[schema(value_type = String)]
    title: &'static str,
    /// That of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// Of a record that is not as expected: what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    found: Option<Box<Found>>,
    #[serde(skip)]
    retry_after_ms: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: detail.into(),
            found: None,
            retry_after_ms: None,
        }
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// The record is not as expected.
    pub fn mismatch(found: Found) -> Self {
        let detail = "the record is not as expected";
        Self {
            found: Some(Box::new(found)),
            ..Self::new(StatusCode::PRECONDITION_FAILED, detail)
        }
    }

    /// What has the right shape and makes no sense all the same.
    pub fn of_content(status: Status) -> Self {
        match status.kind {
            Kind::InvalidArgument => Self::new(StatusCode::UNPROCESSABLE_ENTITY, status.message),
            _ => Self::from(status),
        }
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let code = match status.detail {
            Some(Detail::ValueBytesMax(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::from_u16(status.kind.http_code())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let is_temporary = matches!(status.kind, Kind::Overloaded | Kind::Unavailable);
        let retry_after_ms = status
            .retry_after_ms()
            .or(is_temporary.then_some(RETRY_AFTER_MS));
        Self {
            retry_after_ms,
            ..Self::new(code, status.message)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after_ms = self.retry_after_ms;
        let mut response: HttpResponse<Body> = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(retry_after_ms) = retry_after_ms {
            // Whole seconds, and not too early.
            headers.insert(RETRY_AFTER, retry_after_ms.div_ceil(1_000).into());
        }
        response
    }
}

/// What any operation may answer.
pub struct Always;
/// And those on something that must be there.
pub struct OfOne;
/// And those with a body.
pub struct OfBody;

impl IntoResponses for Always {
    fn responses() -> Responses {
        problems([
            StatusCode::BAD_REQUEST,
            StatusCode::FORBIDDEN,
            StatusCode::CONFLICT,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ])
    }
}

impl IntoResponses for OfOne {
    fn responses() -> Responses {
        problems([StatusCode::NOT_FOUND])
    }
}

impl IntoResponses for OfBody {
    fn responses() -> Responses {
        problems([
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ])
    }
}

type Responses = BTreeMap<String, RefOr<openapi::Response>>;

fn problems(codes: impl IntoIterator<Item = StatusCode>) -> Responses {
    let entry = |code: StatusCode| (code.as_str().to_owned(), response(code).into());
    codes.into_iter().map(entry).collect()
}

/// How a status is described.
fn response(code: StatusCode) -> openapi::Response {
    let schema = Ref::from_schema_name(Problem::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description(code.canonical_reason().unwrap_or_default())
        .content(MEDIA_TYPE, content);
    let is_temporary = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ]
    .contains(&code);
    if !is_temporary {
        return response.build();
    }
    let seconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1));
    let header = HeaderBuilder::new()
        .schema(Some(seconds))
        .description(Some("Seconds after which it may be tried again"))
        .build();
    response.header("Retry-After", header).build()
}
