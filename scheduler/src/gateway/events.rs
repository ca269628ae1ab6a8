//! The progress of one run as server-sent events (HTML standard §9.2).
//!
//! It asks again and again, as any client could: several changes within [`POLL_MS`] are one event, the outcome comes at once.
//! Nothing is kept for a client but what it was told last, and nothing is left when it goes.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::Event;
use common::fabric::Duration;
use common::proto::{self, RunReport, RunState, scheduler::Service};
use common::status::Status;
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Gateway;
use super::extract::Path;
use super::problem::{Always, OfOne, Problem};
use super::reports::Run;
use super::shapes::RunNumber;

/// Between two looks at a run.
const POLL_MS: u32 = 200;
/// Looks without news after which a comment shows that the connection is alive: 15 s, as the standard proposes.
const QUIET_POLLS_MAX: u32 = 15_000 / POLL_MS;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(follow_run))
}

/// The progress of a run, as it happens: server-sent events.
///
/// `progress` comes at the beginning and whenever the stages have changed, then `outcome`, the last one. If the scheduler ends
/// before the run, the last one is `error`.
#[utoipa::path(get, path = "/v1/runs/{run}/events", tag = "runs", params(("run" = inline(RunNumber), Path)), responses(
    (status = 200, description = "The events", body = RunEvent, content_type = "text/event-stream"), Always, OfOne
))]
async fn follow_run(
    State(gateway): State<Gateway>,
    Path(run): Path<RunNumber>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let first = report(&gateway, run.0, 0).await?;
    let follower = Follower {
        gateway,
        news: Some(first),
        told: RunReport::default(),
    };
    let events = stream::unfold(Some(follower), async |follower| follower?.next().await);
    Ok(Sse::new(events.map(Ok)))
}

/// One event.
#[derive(ToSchema)]
struct RunEvent {
    event: EventName,
    /// A run in JSON; of an `error`, a problem.
    #[schema(content_media_type = "application/json")]
    data: String,
}

#[derive(Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
enum EventName {
    Progress,
    Outcome,
    Error,
}

impl From<RunEvent> for Event {
    fn from(told: RunEvent) -> Self {
        let name = match told.event {
            EventName::Progress => "progress",
            EventName::Outcome => "outcome",
            EventName::Error => "error",
        };
        Self::default().event(name).data(told.data)
    }
}

/// Somebody who follows a run.
struct Follower {
    gateway: Gateway,
    /// What was found and is not told yet.
    news: Option<RunReport>,
    /// What was told last.
    told: RunReport,
}

impl Follower {
    /// The next event, and who is there for the one after it.
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        for _ in 0..QUIET_POLLS_MAX {
            let found = match self.news.take() {
                Some(found) => found,
                None => match self.look().await {
                    Ok(found) => found,
                    Err(status) => {
                        return Some((event(EventName::Error, &Problem::from(status)), None));
                    }
                },
            };
            if found.state() != RunState::Running {
                return Some((event(EventName::Outcome, &Run::from(found)), None));
            }
            if found.run != self.told.run || found.stages != self.told.stages {
                self.told = found.clone();
                return Some((event(EventName::Progress, &Run::from(found)), Some(self)));
            }
        }
        Some((Event::default().comment(""), Some(self)))
    }

    /// The run after [`POLL_MS`], or when it has its outcome.
    async fn look(&self) -> Result<RunReport, Status> {
        let pause = Duration::from_millis(POLL_MS.into());
        let pause = self.gateway.0.fabric.sleep(pause);
        let found = report(&self.gateway, self.told.run, POLL_MS).await?;
        if found.state() == RunState::Running {
            // Where too many wait for a run already, the scheduler answers at once.
            pause.await;
        }
        Ok(found)
    }
}

async fn report(gateway: &Gateway, run: u64, wait_ms: u32) -> Result<RunReport, Status> {
    let request = proto::AwaitRunRequest { run, wait_ms };
    gateway.0.service.await_run(request).await
}

/// What is said here can always be written in JSON.
fn event(event: EventName, content: &impl Serialize) -> Event {
    let data = serde_json::to_string(content).unwrap_or_default();
    Event::from(RunEvent { event, data })
}
