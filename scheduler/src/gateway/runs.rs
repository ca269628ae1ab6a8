//! Runs: submitted, watched, explained, cancelled.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use common::proto::{self, scheduler::Service};
use serde::{Deserialize, Deserializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Gateway;
use super::extract::{Body, Path, Query, Text, Whole};
use super::problem::{Always, OfBody, OfOne, Problem};
use super::reports::{Run, Runs, Trace};
use super::shapes::RunNumber;

/// Longest time that an answer waits for an outcome.
type WaitMs = Whole<0, 60_000>;
/// Longest time of a run: the application file's own bound, a day.
type TimeoutMs = Whole<1, 86_400_000>;
/// Runs in one answer.
type Limit = Whole<1, 1_000>;
type ApplicationName = Text<1, 255>;
/// What an application is called that has no name.
const APPLICATION_NAME: &str = "application";
const KEY_CHARS_MAX: usize = 128;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(list_runs, submit_run))
        .routes(routes!(get_run))
        .routes(routes!(cancel_run))
        .routes(routes!(trace_run))
}

/// An application to be run on an input.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"application": "operator CounterOperator 0\n", "input": "visits", "wait_ms": 5000}))]
struct Submission {
    /// The text of an application file, at most 256 KiB: lines `operator CLASS N`.
    application: String,
    /// Its name, for people.
    #[schema(inline)]
    application_name: Option<ApplicationName>,
    /// At most 1 MiB.
    input: String,
    /// The same key again, as long as its run is known, means the same run.
    #[schema(inline)]
    key: Option<Key>,
    /// The whole run must end in this time; by default 60 s.
    #[schema(inline)]
    timeout_ms: Option<TimeoutMs>,
    /// The answer waits so long for the outcome.
    #[schema(inline)]
    wait_ms: Option<WaitMs>,
}

/// Visible ASCII characters.
#[derive(Debug)]
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        let is_visible = key.chars().all(|c| c.is_ascii_graphic());
        if is_visible && (1..=KEY_CHARS_MAX).contains(&key.len()) {
            return Ok(Self(key));
        }
        let wrong = format!("a key has 1 to {KEY_CHARS_MAX} visible ASCII characters");
        Err(serde::de::Error::custom(wrong))
    }
}

impl PartialSchema for Key {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!("^[!-~]{{1,{KEY_CHARS_MAX}}}$")))
            .build()
            .into()
    }
}

impl ToSchema for Key {}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wait {
    /// The answer waits so long for the outcome.
    #[param(inline, nullable = false)]
    wait_ms: Option<WaitMs>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Runs at most.
    #[param(inline, nullable = false)]
    limit: Option<Limit>,
}

/// Runs an application on an input.
///
/// The answer has the outcome if that came within `wait_ms`.
#[utoipa::path(post, path = "/v1/runs", tag = "runs", request_body = Submission, responses(
    (status = 201, description = "The run", body = Run, headers(("Location" = String, description = "Where it is"))),
    (status = 422, description = "The application cannot be run; the detail names line and column", body = Problem, content_type = "application/problem+json"),
    Always, OfOne, OfBody
))]
async fn submit_run(
    State(gateway): State<Gateway>,
    Body(submission): Body<Submission>,
) -> Result<impl IntoResponse, Problem> {
    let service = &gateway.0.service;
    let request = proto::SubmitRequest {
        input: submission.input,
        application: submission.application,
        application_name: submission
            .application_name
            .map_or_else(|| APPLICATION_NAME.to_owned(), |name| name.0),
        timeout_ms: submission.timeout_ms.map_or(0, |timeout| timeout.0),
        seen: Vec::new(),
        key: submission.key.map(|key| key.0).unwrap_or_default(),
    };
    let submitted = service.submit(request).await;
    let run = submitted.map_err(Problem::of_content)?.run;
    let wait_ms = submission.wait_ms.map_or(0, Whole::as_u32);
    let location = [(LOCATION, format!("/v1/runs/{run}"))];
    let report = gateway.report(run, wait_ms).await?;
    Ok((StatusCode::CREATED, location, Json(report)))
}

/// The runs that are known, the newest first.
#[utoipa::path(get, path = "/v1/runs", tag = "runs", params(Page), responses(
    (status = 200, description = "The runs", body = Runs), Always
))]
async fn list_runs(
    State(gateway): State<Gateway>,
    Query(page): Query<Page>,
) -> Result<Json<Runs>, Problem> {
    let limit = page.limit.map_or(0, Whole::as_u32);
    let response = gateway.0.service.runs(proto::RunsRequest { limit }).await?;
    Ok(Json(response.into()))
}

/// A run as it is now, or when its outcome came.
#[utoipa::path(get, path = "/v1/runs/{run}", tag = "runs", params(("run" = inline(RunNumber), Path), Wait), responses(
    (status = 200, description = "The run", body = Run), Always, OfOne
))]
async fn get_run(
    State(gateway): State<Gateway>,
    Path(run): Path<RunNumber>,
    Query(wait): Query<Wait>,
) -> Result<Json<Run>, Problem> {
    let wait_ms = wait.wait_ms.map_or(0, Whole::as_u32);
    gateway.report(run.0, wait_ms).await.map(Json)
}

/// Ends a run as cancelled.
///
/// When it is answered, nothing of the run starts any more.
#[utoipa::path(post, path = "/v1/runs/{run}/cancel", tag = "runs", params(("run" = inline(RunNumber), Path)), responses(
    (status = 200, description = "The run", body = Run), Always, OfOne
))]
async fn cancel_run(
    State(gateway): State<Gateway>,
    Path(run): Path<RunNumber>,
) -> Result<Json<Run>, Problem> {
    let request = proto::CancelRequest { run: run.0 };
    gateway.0.service.cancel(request).await?;
    gateway.report(run.0, 0).await.map(Json)
}

/// What became of each task of a run, and what the run waits for.
#[utoipa::path(get, path = "/v1/runs/{run}/trace", tag = "runs", params(("run" = inline(RunNumber), Path)), responses(
    (status = 200, description = "The trace", body = Trace), Always, OfOne
))]
async fn trace_run(
    State(gateway): State<Gateway>,
    Path(run): Path<RunNumber>,
) -> Result<Json<Trace>, Problem> {
    let request = proto::TraceRequest { run: run.0 };
    let response = gateway.0.service.trace(request).await?;
    Ok(Json(response.into()))
}

impl Gateway {
    async fn report(&self, run: u64, wait_ms: u32) -> Result<Run, Problem> {
        let request = proto::AwaitRunRequest { run, wait_ms };
        let report = self.0.service.await_run(request).await?;
        Ok(report.into())
    }
}
