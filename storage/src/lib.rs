//! Replicated, versioned records.
//!
//! - [`core`]: the storage node as a state machine, with the invariants of the protocol.
//! - [`server`]: the task that owns it · [`service`]: requests to inputs · [`codec`]: messages between nodes
//! - [`engine`]: where durable state rests · [`check`]: whether a history keeps the promises, for tests and simulation
//!
//! A storage node promises: versions name one value for ever; reads show plain writes and decided updates only;
//! an acknowledged update is in every later decided state; nothing leaves the node before the state that it implies
//! is durable. It relies on the ring being the same on all nodes, and on certified deaths being true.

pub mod check;
pub mod codec;
pub mod core;
pub mod disk;
pub mod engine;
pub mod server;
pub mod service;

use std::sync::Arc;

use common::fabric::{Address, FabricHandle, Router};
use common::node::{Identity, OnReady};
use common::proto::{node, storage};
use common::status::Status;
use common::types::Ring;
use tokio::sync::oneshot;

use self::engine::MemoryEngine;
use self::server::{Event, Server};
use self::service::StorageService;

#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    pub address: Address,
    /// Every message to another storage node is delayed by this.
    pub gossip_delay_ms: u64,
    /// Given by hand; otherwise the puppetmaster sets it.
    pub ring: Option<Ring>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot start storage node {name}: {status}")]
    Start { name: String, status: Status },
    /// A bug: the task that owns the core has panicked. The node dies rather than answer without it.
    #[error("storage node {name} stopped: its server task has failed")]
    Task { name: String },
    #[error("storage node {name} stopped: {error}")]
    Engine {
        name: String,
        error: engine::EngineError,
    },
}

/// Serves until `shutdown` ends or the engine fails.
pub async fn run(
    config: Config,
    fabric: FabricHandle,
    shutdown: impl Future<Output = ()> + Send,
    on_ready: OnReady,
) -> Result<(), RunError> {
    let name = config.name.clone();
    let failed = |status| RunError::Start {
        name: name.clone(),
        status,
    };
    let identity = Identity::new(&fabric, &config.name, "storage", config.address.clone());
    let server = Server::new(
        identity.clone(),
        fabric.clone(),
        config.gossip_delay_ms,
        MemoryEngine,
    );
    let (handle, _task, failure) = server::start(server);
    if let Some(ring) = config.ring {
        let (done, answer) = oneshot::channel();
        handle
            .tell(Event::SetRing {
                ring,
                fresh: false,
                done,
            })
            .await
            .map_err(failed)?;
        answer
            .await
            .unwrap_or_else(|_| Err(Status::internal("the server ended")))
            .map_err(failed)?;
    }
    let service = Arc::new(StorageService {
        server: handle,
        identity,
    });
    let router = Router::default()
        .with(storage::Server(service.clone()))
        .with(node::Server(service));
    let serving = fabric
        .serve(&config.address, router)
        .await
        .map_err(failed)?;
    on_ready(&serving);
    tokio::pin!(shutdown);
    tokio::select! {
        () = &mut shutdown => Ok(()),
        failure = failure => Err(match failure {
            Ok(error) => RunError::Engine { name, error },
            Err(_) => RunError::Task { name },
        }),
    }
}
