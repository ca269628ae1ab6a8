//! Requests from outside: checked, made into inputs, and answered.

use std::sync::Arc;

use common::fabric::FabricHandle;
use common::node::Identity;
use common::proto::{self, Empty, node, worker};
use common::status::{Kind, Status};
use common::types::{ComponentHash, Part};
use tokio::sync::{mpsc, oneshot};

use crate::convert;
use crate::core::{Input, Refusal, RunKey, TaskKey};
use crate::host::OperatorHost;
use crate::parts::{PartError, PartKey, Parts};
use crate::registration::SchedulerPresence;
use crate::ring::RingWatch;
use crate::server::{Event, Load};

/// Items in one answer, in bytes, about: one item may be longer.
const PAGE_BYTES: usize = 4 << 20;

/// The services of a worker.
pub struct Service {
    pub identity: Identity,
    pub fabric: FabricHandle,
    pub slots: u32,
    pub host: Arc<OperatorHost>,
    pub ring: RingWatch,
    pub presence: SchedulerPresence,
    pub parts: Parts,
    pub events: mpsc::Sender<Event>,
}

impl Service {
    async fn request(&self, input: Input) -> Result<Option<Result<(), Refusal>>, Status> {
        let (reply, answer) = oneshot::channel();
        self.put(Event::Request(Box::new(input), reply)).await?;
        answer.await.map_err(|_| stopping())
    }

    async fn put(&self, event: Event) -> Result<(), Status> {
        self.events.send(event).await.map_err(|_| stopping())
    }

    /// What tasks have left for those of a `reduce`.
    fn left(&self) -> String {
        let (memory, disk) = self.parts.bytes();
        format!("{memory} B in memory, {disk} B on disk")
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
        let run = RunKey {
            scheduler_incarnation,
            number,
        };
        self.request(Input::CancelRun(run)).await?;
        // Now nothing of it runs that could leave more.
        self.parts.forget(run);
        Ok(Empty {})
    }

    async fn stop_task(&self, name: proto::TaskName) -> Result<Empty, Status> {
        let proto::TaskName {
            run: number,
            scheduler_incarnation,
            attempt,
            stage,
            task,
        } = name;
        let run = RunKey {
            scheduler_incarnation,
            number,
        };
        // Only tasks of a `map` or `reduce` are stopped one by one.
        let segment = stage;
        let key = TaskKey {
            run,
            segment,
            task,
            attempt,
            stage,
        };
        self.request(Input::StopTask(key)).await?;
        Ok(Empty {})
    }

    async fn fetch(&self, request: proto::FetchRequest) -> Result<proto::FetchResponse, Status> {
        let run = RunKey {
            scheduler_incarnation: request.scheduler_incarnation,
            number: request.run,
        };
        let mut page = proto::FetchResponse {
            offset: request.offset,
            ..proto::FetchResponse::default()
        };
        let mut left = PAGE_BYTES;
        for part in request.parts.into_iter().map(Part::from) {
            let stage = request.stage;
            let key = PartKey { run, stage, part };
            let found = self.parts.page(key, request.partition, page.offset, left);
            let found = found.await.map_err(|error| part_status(&error))?;
            page.items.push(proto::PartItems {
                task: part.task,
                items: found.items,
            });
            if let Some(next) = found.next {
                page.offset = next;
                break;
            }
            page.offset = 0;
            page.parts_ended += 1;
            left = left.saturating_sub(found.bytes);
            if left == 0 {
                break;
            }
        }
        Ok(page)
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
            ("tasks started", load.started.to_string()),
            ("unacknowledged", load.deliveries.to_string()),
            ("slots", self.slots.to_string()),
            ("left for others", self.left()),
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

fn part_status(error: &PartError) -> Status {
    let kind = match error {
        PartError::Gone { .. } => Kind::NotFound,
        PartError::NoSuchPlace(_) | PartError::NoKey => Kind::InvalidArgument,
        PartError::Full { .. } => Kind::Overloaded,
        PartError::Disk(_) => Kind::Internal,
    };
    Status::new(kind, error.to_string())
}

fn stopping() -> Status {
    Status::unavailable("the worker is stopping")
}
