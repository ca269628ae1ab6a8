//! The scheduler: applications, placement of stages, life of runs.
//!
//! Data path: a client submits an application and an input; every stage of the chain is assigned to a worker at once
//! and the first task is sent; workers forward the request to one another and report every stage here; clients wait
//! here for the outcome.
//!
//! Invariants:
//! - A run has exactly one outcome, and has it by its deadline: completed, failed, expired or cancelled.
//! - One (run, attempt, stage) is given to one worker only. A stage that gets another worker gets a new attempt
//!   number, and reports of older attempts are ignored. A task that may have arrived goes to nobody else while its
//!   worker is active.
//! - Whatever is lost, a run goes on or ends. A task whose worker dies is tried again from the checkpoint that the
//!   stage before left in its report. When a worker dies, the task that it may not have forwarded is sent once more;
//!   workers ignore repeats. A worker that cannot reach its successor asks for another. What none of these catches,
//!   the deadline does.
//! - A worker's outstanding tasks are the stages and tasks assigned to it that are not done, of runs without an outcome.
//! - A run is in the storage before anything of it starts, and its outcome before anybody is told: a scheduler that begins
//!   to lead takes up what has none, as new attempts.
//! - Of several schedulers of one storage one leads; the storage refuses what earlier ones still do.
//!
//! Absent: the scheduler touches no record but the lease, its runs and the catalog of deployed operators, and items pass through it
//! only as checkpoints and as output. It keeps nothing on disk.
//!
//! - [`gateway`]: HTTP. - [`leadership`]: the lease; [`standing`]: who leads; [`term`]: how long. - [`records`]: runs as records. - [`deploy`], [`catalog`]: deployed operators. - [`core`]: the state machine. - [`server`]: the task that owns it. - [`service`]: requests from outside; [`submission`]: what a run is made of.

mod catalog;
mod convert;
mod core;
mod deploy;
mod gateway;
mod leadership;
mod records;
mod server;
mod service;
mod standing;
mod submission;
mod term;

use std::sync::Arc;

use common::fabric::{Address, FabricHandle, Router};
use common::node::{Identity, OnReady};
use common::proto;
use common::status::Status;
use common::types::Ring;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};

use deploy::Deployer;
use gateway::{Gateway, Listener};
use leadership::Leadership;
use server::{Server, ServerHandle, Start};
use service::Service;
use standing::StandingWatch;

/// Runs that have ended and are remembered when nothing else is said.
pub const KEEP_RUNS_DEFAULT: usize = 1_000;
/// Most runs that can be remembered so: each is in memory here and a record or two of the storage.
pub const KEEP_RUNS_MAX: usize = 100_000;

/// How a scheduler is started.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// The storage nodes, when they are known already; otherwise `SetRing` tells.
    pub ring: Option<Ring>,
    /// Workers get ready for the operators that they will need, before they need them.
    pub warm_up: bool,
    /// Runs that have ended and are remembered, at least 1.
    pub keep_runs: usize,
    /// Where it listens for HTTP, if it does.
    pub http: Option<Address>,
}

#[derive(Debug, Error)]
pub enum RunError {
    #[error("cannot start scheduler {name}: {status}")]
    Start { name: String, status: Status },
}

/// Runs a scheduler until `shutdown` ends.
pub async fn run(
    config: Config,
    fabric: FabricHandle,
    shutdown: impl Future<Output = ()> + Send,
    on_ready: OnReady,
) -> Result<(), RunError> {
    let Config { name, address, .. } = config;
    let failed = |status| RunError::Start {
        name: name.clone(),
        status,
    };
    let identity = Identity::new(&fabric, &name, "scheduler", address.clone());
    let (events, inbox) = mpsc::channel(server::EVENTS_MAX);
    let server = ServerHandle(events);
    let standing = StandingWatch::default();
    let http = match config.http {
        Some(at) => Some(Listener::bind(&at).await.map_err(failed)?),
        None => None,
    };
    let http_address = http.as_ref().map(|listener| listener.address.clone());
    let deployer = Arc::new(Deployer::new(
        identity.clone(),
        fabric.clone(),
        server.clone(),
        standing.clone(),
    ));
    let service = Arc::new(Service {
        identity: identity.clone(),
        fabric: fabric.clone(),
        server: server.clone(),
        deployer,
        standing,
        ring_set: Arc::new(Notify::new()),
        http: http_address,
    });
    let router = Router::default()
        .with(proto::scheduler::Server(service.clone()))
        .with(proto::node::Server(service.clone()));
    let serving = fabric.serve(&address, router).await.map_err(failed)?;
    on_ready(&serving);
    let leadership = Arc::new(Leadership::new(&service, serving.address.clone()));
    let leading = leadership.clone();
    let leading = fabric.spawn(Box::pin(async move { leading.run().await }));
    let gateway = Gateway::new(&identity, fabric.clone(), server, service);
    let (end, ended) = oneshot::channel();
    let answering = async {
        if let Some(listener) = http {
            listener.serve(gateway, ended).await;
        }
    };
    let start = Start {
        ring: config.ring,
        warm_up: config.warm_up,
        keep_runs: config.keep_runs,
    };
    let server = Server::new(identity, fabric, start);
    let scheduling = async {
        server.run(inbox, shutdown).await;
        drop(end);
    };
    futures::join!(scheduling, answering);
    drop(leading);
    leadership.free().await;
    Ok(())
}
