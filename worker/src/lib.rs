//! The worker: runs stages of runs, and hands each request to the next worker in line.
//!
//! Data path: a task arrives from the scheduler or from the worker of the stage before, waits for a slot, runs in the
//! operator host with a session on the storage; then the request goes to the next worker directly and the end of the
//! stage is reported to the scheduler, both at once.
//!
//! Invariants:
//! - A task, named by (scheduler, run, attempt, stage), is executed once; repeats are acknowledged and ignored. A newer
//!   attempt stops older ones of the same and of later stages. Nothing of a cancelled run starts.
//! - Report and request are repeated until they are acknowledged or the run's deadline has passed. Whichever of the
//!   two a crash prevents, the scheduler makes up for: without the report it retries the stage, without the request it
//!   sends the task of the next stage, which is ignored where it has arrived.
//! - What tasks leave for those of a `reduce` stays until the run is over; more than a bound of it is on disk.
//! - A stage has no more time than the run has left.
//! - Operators and files of operators, however busy or slow, delay no heartbeat: they have threads and a loop of their own.
//! - Everything is bounded: running and queued tasks, unacknowledged deliveries, pins, what is remembered.
//!
//! Relies on: the scheduler, for successors and for the ring; it may come later than the worker, and restart.
//!
//! Absent: retries of failed stages (the scheduler's business), and state that would outlive the process.
//!
//! - [`core`]: the state machine. - [`server`]: the task that owns it. - [`service`]: requests from outside.
//! - [`stage`]: one task from start to end. - [`parts`], [`fetch`]: what tasks leave for those of a `reduce`.
//! - [`host`]: operators. - [`session`]: the storage as a run sees it. - [`courier`]: reports and forwarded requests.
//! - [`components`]: deployed operators. - [`registration`]: heartbeats. - [`ring`]: the storage nodes.

mod components;
mod convert;
mod core;
mod courier;
mod fetch;
pub mod host;
mod parts;
mod registration;
mod ring;
mod server;
mod service;
mod session;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;

use common::fabric::{Address, Duration, FabricHandle, Router};
use common::node::{Identity, OnReady};
use common::proto;
use common::schedulers::Schedulers;
use common::status::Status;
use thiserror::Error;
use tokio::sync::mpsc;

use components::StoredComponents;
use courier::Courier;
use host::{ChildCommand, HostConfig, OperatorHost, StartError};
use parts::Parts;
use registration::{Registration, SchedulerPresence};
use ring::RingWatch;
use server::Server;
use service::Service;
use stage::Bench;

/// Tasks that a worker runs at once when nothing else is said.
pub const SLOTS_DEFAULT: u32 = 8;

/// How a worker is started.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// How long every request is held before it is forwarded.
    pub gossip_delay_ms: u64,
    /// At least one of those of its cluster; they name the others.
    pub schedulers: Vec<Address>,
    /// A directory of operators besides the built-in ones.
    pub operators: Option<PathBuf>,
    /// Tasks that run at once, at least 1.
    pub slots: u32,
    /// Whether native libraries are loaded. They can do whatever the worker can.
    pub allow_native: bool,
    /// How children that run native operators are started; none: they run in the worker, where a crash ends it.
    pub native_isolated: Option<ChildCommand>,
    /// Where compiled operators are kept; none: nowhere.
    pub operator_cache: Option<PathBuf>,
    /// Part of a simulation.
    pub simulated: bool,
}

#[derive(Debug, Error)]
pub enum RunError {
    #[error("cannot start worker {name}: {status}")]
    Start { name: String, status: Status },
    #[error(transparent)]
    Operators(#[from] StartError),
}

/// Runs a worker until `shutdown` ends.
pub async fn run(
    config: Config,
    fabric: FabricHandle,
    shutdown: impl Future<Output = ()> + Send,
    on_ready: OnReady,
) -> Result<(), RunError> {
    let slots = config.slots.max(1);
    let identity = Identity::new(&fabric, &config.name, "worker", config.address.clone());
    let ring = RingWatch::new(fabric.clone(), &config.name);
    let components = StoredComponents {
        fabric: fabric.clone(),
        ring: ring.clone(),
        name: config.name.clone(),
    };
    let host = start_host(&config, slots, components).await?;
    let presence = SchedulerPresence::new(fabric.clone());
    let (events, inbox) = mpsc::channel(server::EVENTS_MAX);
    let parts = Parts::default();
    let service = Arc::new(Service {
        identity: identity.clone(),
        fabric: fabric.clone(),
        slots,
        host: host.clone(),
        ring: ring.clone(),
        presence: presence.clone(),
        parts: parts.clone(),
        events,
    });
    let router = Router::default()
        .with(proto::worker::Server(service.clone()))
        .with(proto::node::Server(service));
    let serving = fabric.serve(&config.address, router).await;
    let serving = serving.map_err(|status| RunError::Start {
        name: config.name,
        status,
    })?;
    on_ready(&serving);
    let schedulers = Schedulers::new(fabric.clone(), config.schedulers);
    let courier = Courier {
        identity: identity.clone(),
        fabric: fabric.clone(),
        address: serving.address.clone(),
        schedulers: schedulers.clone(),
        forward_delay: Duration::from_millis(config.gossip_delay_ms),
    };
    let bench = Bench {
        fabric: fabric.clone(),
        host: host.clone(),
        ring: ring.clone(),
        parts,
    };
    let server = Server::new(fabric.clone(), slots as usize, bench, courier);
    let registration = Registration {
        identity,
        fabric,
        address: serving.address.clone(),
        schedulers,
        slots,
        host,
        ring,
        presence,
    };
    tokio::select! {
        () = shutdown => {}
        () = server.run(inbox) => {}
        () = registration.run() => {}
    }
    Ok(())
}

async fn start_host(
    config: &Config,
    slots: u32,
    components: StoredComponents,
) -> Result<Arc<OperatorHost>, StartError> {
    let config = HostConfig {
        directory: config.operators.clone(),
        allow_native: config.allow_native,
        native_isolated: config.native_isolated.clone(),
        slots,
        code_cache: config.operator_cache.clone(),
        simulated: config.simulated,
        ..HostConfig::default()
    };
    let host = OperatorHost::start_with(config, Some(Arc::new(components)));
    host.await.map(Arc::new)
}
