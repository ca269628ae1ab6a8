//! Carries reports to the scheduler and requests to the next worker, again and again until they are acknowledged or
//! the run's deadline has passed.
//!
//! Repeating is harmless: the scheduler takes one report of a task, a worker takes a task once.

use common::fabric::{Address, Duration, FabricHandle};
use common::node::Identity;
use common::proto::{self, ReassignRequest, scheduler, worker};
use common::schedulers::Schedulers;
use common::status::{Kind, Status};
use common::types::WorkerAddress;

use crate::convert;
use crate::core::{Forward, Report, Task};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between tries; doubled up to the maximum.
const BACKOFF_MS: u64 = 20;
const BACKOFF_MS_MAX: u64 = 1_000;
/// Tries at a worker that is there but does not take the task, before the scheduler is asked for another.
const TRIES_MAX: u32 = 3;

/// Cheap to clone.
#[derive(Clone)]
pub struct Courier {
    pub identity: Identity,
    pub fabric: FabricHandle,
    /// Where this worker is reached.
    pub address: Address,
    pub schedulers: Schedulers,
    /// How long every request is held before it is forwarded.
    pub forward_delay: Duration,
}

impl Courier {
    /// Tells the scheduler how a task has ended.
    pub async fn report(self, report: Report) {
        let worker = proto::WorkerAddress {
            name: self.identity.name.clone(),
            url: self.address.to_string(),
        };
        let request = convert::report(&report, worker);
        let mut backoff = Backoff::default();
        while let Some(timeout) = self.left(&report.task) {
            let request = &request;
            let tell =
                |scheduler: scheduler::Client| async move { scheduler.stage_done(request).await };
            match self.schedulers.ask(timeout, tell).await {
                Ok(_) => return,
                Err(status) if is_final(&status) => {
                    return self.give_up(&report.task, "the report", &status);
                }
                Err(status) => {
                    tracing::debug!(%status, "a report was not acknowledged, it is sent again");
                }
            }
            self.fabric.sleep(backoff.next()).await;
        }
    }

    /// Hands the request to the next worker in line, or to the one that the scheduler names instead.
    pub async fn forward(self, forward: Forward) {
        // A timer takes a millisecond even for nothing.
        if !self.forward_delay.is_zero() {
            self.fabric.sleep(self.forward_delay).await;
        }
        let task = &forward.task;
        let mut request = convert::next_task(&forward);
        let mut target = task.next().and_then(|link| link.worker.clone());
        let mut backoff = Backoff::default();
        let mut tries = 0;
        while let Some(timeout) = self.left(task) {
            let failure = match &target {
                Some(worker) => match self.execute(task, worker, &mut request, timeout).await {
                    Ok(()) => return,
                    Err(status) if is_final(&status) => {
                        return self.give_up(task, "the request", &status);
                    }
                    Err(status) => status,
                },
                None => Status::unavailable("no worker is assigned"),
            };
            tries += 1;
            if failure.kind == Kind::Unavailable || tries >= TRIES_MAX {
                tries = 0;
                match self.reassign(task, target.as_ref()).await {
                    Ok((worker, attempt)) => {
                        name_worker(&mut request, &worker, attempt);
                        target = Some(worker);
                    }
                    Err(status) if is_final(&status) => {
                        return self.give_up(task, "the request", &status);
                    }
                    Err(status) => {
                        tracing::debug!(%status, "no other worker was named, the same one is tried again");
                    }
                }
            }
            self.fabric.sleep(backoff.next()).await;
        }
    }

    async fn execute(
        &self,
        task: &Task,
        worker: &WorkerAddress,
        request: &mut proto::Task,
        timeout: Duration,
    ) -> Result<(), Status> {
        if let Some(meta) = &mut request.meta {
            meta.deadline_ms = task.deadline_ms.saturating_sub(self.fabric.now_ms());
        }
        self.identity.debug(|| describe(request, worker));
        let client = worker::Client::new(self.fabric.clone(), worker.address.clone(), timeout);
        client.execute(request).await.map(drop)
    }

    async fn reassign(
        &self,
        task: &Task,
        gone: Option<&WorkerAddress>,
    ) -> Result<(WorkerAddress, u32), Status> {
        let request = ReassignRequest {
            run: task.key.run.number,
            attempt: task.key.attempt,
            stage: task.key.stage + 1,
            gone: gone.map(|worker| worker.name.clone()).unwrap_or_default(),
            scheduler_incarnation: task.key.run.scheduler_incarnation,
        };
        let request = &request;
        let ask = |scheduler: scheduler::Client| async move { scheduler.reassign(request).await };
        let response = self.schedulers.ask(CALL_TIMEOUT, ask).await?;
        let worker = common::types::required(response.worker, "worker")?;
        Ok((convert::worker_address(worker)?, response.attempt))
    }

    /// The time for one call; nothing when the run's deadline has passed.
    fn left(&self, task: &Task) -> Option<Duration> {
        match task.deadline_ms.saturating_sub(self.fabric.now_ms()) {
            0 => None,
            left_ms => Some(CALL_TIMEOUT.min(Duration::from_millis(left_ms))),
        }
    }

    fn give_up(&self, task: &Task, what: &str, status: &Status) {
        let (run, stage) = (task.key.run.number, task.key.stage);
        tracing::info!(worker = self.identity.name, run, stage, %status, "{what} is not wanted");
    }
}

/// True when a repeat would be answered alike.
fn is_final(status: &Status) -> bool {
    match status.kind {
        Kind::Unavailable | Kind::Timeout | Kind::Overloaded | Kind::Internal => false,
        Kind::InvalidArgument
        | Kind::NotFound
        | Kind::Discarded
        | Kind::AlreadyExists
        | Kind::Refused
        | Kind::Cancelled
        | Kind::Unimplemented => true,
    }
}

fn name_worker(request: &mut proto::Task, worker: &WorkerAddress, attempt: u32) {
    if let Some(meta) = &mut request.meta {
        meta.attempt = attempt;
        // The worker that is gone may have begun it.
        meta.retry = true;
    }
    if let Some(next) = request.chain.get_mut(request.next as usize) {
        next.worker = Some(proto::WorkerAddress {
            name: worker.name.clone(),
            url: worker.address.to_string(),
        });
    }
}

/// The meta record, for whoever debugs.
fn describe(request: &proto::Task, worker: &WorkerAddress) -> String {
    let meta = request.meta.clone().unwrap_or_default();
    let pins: Vec<String> = meta
        .pins
        .iter()
        .map(|pin| {
            let version = pin
                .version
                .map_or(common::types::Version::NULL, common::types::Version::from);
            format!("{}@{version}", pin.record)
        })
        .collect();
    format!(
        "metarecord run={} attempt={} stage={} deadline={}ms pins=[{}] to {}",
        meta.run,
        meta.attempt,
        request.next,
        meta.deadline_ms,
        pins.join(" "),
        worker.name
    )
}

struct Backoff {
    next_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            next_ms: BACKOFF_MS,
        }
    }
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(self.next_ms);
        self.next_ms = (self.next_ms * 2).min(BACKOFF_MS_MAX);
        pause
    }
}
