//! Requests from outside: checked, made into inputs, and answered.

use std::sync::Arc;

use common::fabric::FabricHandle;
use common::node::Identity;
use common::proto::{self, Empty, node, worker};
use common::status::{Kind, Status};
use common::types::ComponentHash;
use tokio::sync::{mpsc, oneshot};

use crate::convert;
use crate::core::{Input, Refusal, RunKey};
use crate::host::OperatorHost;
use crate::registration::SchedulerPresence;
use crate::ring::RingWatch;
use crate::server::{Event, Load};

/// The services of a worker.
pub struct Service {
    pub identity: Identity,
    pub fabric: FabricHandle,
    pub slots: u32,
    pub host: Arc<OperatorHost>,
    pub ring: RingWatch,
    pub presence: SchedulerPresence,
    pub events: mpsc::Sender<Event>,
}

impl Service {
    async fn request(&self, input: Input) -> Result<Option<Result<(), Refusal>>, Status> {
        let (reply, answer) = oneshot::channel();
        self.put(Event::Request(input, reply)).await?;
        answer.await.map_err(|_| stopping())
    }

    async fn put(&self, event: Event) -> Result<(), Status> {
        self.events.send(event).await.map_err(|_| stopping())
    }

    async fn load(&self) -> Result<Load, Status> {
        let (reply, load) = oneshot::channel();
        self.put(Event::Load(reply)).await?;
        load.await.map_err(|_| stopping())
    }
}

impl worker::Service for Service {
    async fn execute(&self, request: proto::Task) -> Result<Empty, Status> {
        let task = convert::task(self.fabric.now_ms(), request)?;
        match self.request(Input::Execute(task)).await? {
            Some(Err(refusal)) => Err(refusal_status(&refusal)),
            Some(Ok(())) | None => Ok(Empty {}),
        }
    }

    async fn cancel_run(&self, request: proto::CancelRunRequest) -> Result<Empty, Status> {
        let proto::CancelRunRequest {
            run: number,
            scheduler_incarnation,
        } = request;
        self.request(Input::CancelRun(RunKey {
            scheduler_incarnation,
            number,
        }))
        .await?;
        Ok(Empty {})
    }

    async fn prepare(
        &self,
        request: proto::PrepareRequest,
    ) -> Result<proto::PrepareResponse, Status> {
        let hash = ComponentHash::try_from(&request.component[..])?;
        let prepared = self.host.prepare(hash).await;
        let info = prepared.map_err(|failure| Status::refused(failure.to_string()))?;
        Ok(proto::PrepareResponse {
            classes: info.classes,
            component_bytes: info.bytes as u64,
            language: info.language,
        })
    }
}

impl node::Service for Service {
    async fn status(&self, _: Empty) -> Result<proto::NodeStatus, Status> {
        let load = self.load().await?;
        let classes: Vec<String> = self
            .host
            .classes()
            .into_iter()
            .map(|info| info.class)
            .collect();
        let mut details = vec![
            ("running", load.running.to_string()),
            ("queued", load.queued.to_string()),
            ("unacknowledged", load.deliveries.to_string()),
            ("slots", self.slots.to_string()),
            ("operators", classes.join(" ")),
            ("ring", self.ring.describe()),
        ];
        details.extend(
            self.host
                .problems()
                .iter()
                .map(|problem| ("problem", problem.to_string())),
        );
        Ok(self.identity.status(details, vec![self.presence.peer()]))
    }

    async fn set_debug(&self, request: proto::SetDebugRequest) -> Result<Empty, Status> {
        self.identity.set_debug(&request)?;
        Ok(Empty {})
    }
}

fn refusal_status(refusal: &Refusal) -> Status {
    let kind = match refusal {
        Refusal::QueueFull { .. } | Refusal::QueueTooLarge { .. } => Kind::Overloaded,
        // Nobody waits for the task: the sender is to give it up.
        Refusal::Cancelled | Refusal::Late => Kind::Cancelled,
    };
    Status::new(kind, refusal.to_string())
}

fn stopping() -> Status {
    Status::unavailable("the worker is stopping")
}
