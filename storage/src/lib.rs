//! Replicated, versioned records.
//!
//! - [`core`]: the storage node as a state machine, with the invariants of the protocol.
//! - [`node`]: the core with what it has to make durable · [`server`]: the task that owns it
//! - [`service`]: requests to inputs, within [`limits`], `refusal`: refusals to statuses · [`codec`]: messages between nodes, and changes on disk
//! - [`engine`]: where durable state rests and comes back from · [`disk`]: the log and the table under it
//! - [`snapshot`]: copies of partitions for whoever reads them, page by page
//! - [`verify`]: whether a data directory is whole, while no node uses it
//! - [`sim`]: clusters in virtual time, which the crate `history` judges
//!
//! A storage node promises: versions name one value for ever; reads show plain writes and decided updates only;
//! an acknowledged update is in every later decided state; nothing leaves the node before the state that it implies
//! is durable. It relies on the ring being the same on all nodes, and on certified deaths being true.

pub mod codec;
pub mod core;
pub mod disk;
pub mod engine;
pub mod hold;
pub mod limits;
pub mod node;
mod refusal;
pub mod server;
pub mod service;
pub mod sim;
pub mod snapshot;
pub mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use common::fabric::{Address, BoxFuture, FabricHandle, Router};
use common::node::{Identity, OnReady};
use common::proto::{node as node_service, storage};
use common::status::Status;
use common::types::Ring;
use tokio::sync::oneshot;

pub use self::core::queue::QueueBounds;
pub use self::engine::store::SyncMode;
pub use self::limits::Limits;

use self::core::durable::Founding;
use self::disk::LogSettings;
pub use self::disk::sim::SimDisk;
use self::engine::directory::Directory;
use self::engine::store::Store;
use self::engine::writer::Writer;
use self::engine::{EngineError, MemoryEngine, Recovered};
use self::server::{Ended, Event, Server, ServerHandle, Settings};
use self::service::StorageService;
use self::snapshot::Snapshots;

#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    pub address: Address,
    /// Every message to another storage node is delayed by this.
    pub gossip_delay_ms: u64,
    /// Given by hand; otherwise the puppetmaster sets it.
    pub ring: Option<Ring>,
    /// Absent: in memory only.
    pub data: Option<Data>,
    pub limits: Limits,
    /// Part of a simulation: without a thread of its own.
    pub simulated: bool,
}

/// Where a node keeps its records, and how.
#[derive(Debug, Clone)]
pub struct Data {
    pub medium: Medium,
    pub sync: SyncMode,
    /// The directory is new, and takes the place of one that this node had and that is lost.
    pub replaces: bool,
}

#[derive(Debug, Clone)]
pub enum Medium {
    Directory(PathBuf),
    Simulated(SimDisk),
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot start storage node {name}: {status}")]
    Start { name: String, status: Status },
    /// A bug: the task that owns the core has panicked. The node dies rather than answer without it.
    #[error("storage node {name} stopped: its server task has failed")]
    Task { name: String },
    #[error("storage node {name} stopped: {ended}")]
    Ended { name: String, ended: Ended },
    #[error("storage node {name} cannot open its data: {error}")]
    Open { name: String, error: EngineError },
}

async fn open(
    config: &Config,
    fabric: &FabricHandle,
) -> Result<(Writer, Option<Recovered>), EngineError> {
    let cannot_start = |error: std::io::Error| EngineError::Failed(error.to_string());
    let log = LogSettings::default();
    let writer = match config.data.as_ref().map(|data| (&data.medium, data.sync)) {
        None if config.simulated => {
            let at_once = || -> BoxFuture<'static, ()> { Box::pin(std::future::ready(())) };
            Writer::simulated(MemoryEngine, Box::new(at_once), fabric)
        }
        None => Writer::start(MemoryEngine).map_err(cannot_start)?,
        Some((Medium::Directory(directory), sync)) => {
            let directory = Directory(directory.clone());
            Writer::start(Store::new(directory, sync, log)).map_err(cannot_start)?
        }
        Some((Medium::Simulated(disk), sync)) => {
            let engine = Store::new(disk.clone(), sync, log);
            Writer::simulated(engine, disk.pace(fabric.clone()), fabric)
        }
    };
    let recovered = writer.recover().await?;
    Ok((writer, recovered))
}

/// The data of another node, or of this one in another cluster, must not be taken for this one's.
fn check_founding(config: &Config, founding: &Founding) -> Result<(), Status> {
    let directory = match config.data.as_ref().map(|data| &data.medium) {
        Some(Medium::Directory(path)) => path.display().to_string(),
        Some(Medium::Simulated(_)) | None => "the disk".to_owned(),
    };
    let owner = founding.ring.node(founding.replica);
    let owner = owner.map_or("nobody", |node| node.name.as_str());
    if owner != config.name {
        return Err(Status::refused(format!(
            "{directory} holds the data of {owner}, not of {}",
            config.name
        )));
    }
    match &config.ring {
        Some(ring) if *ring != founding.ring => Err(Status::refused(format!(
            "{directory} belongs to a ring with other members or settings: give those with which it was made"
        ))),
        _ => Ok(()),
    }
}

/// Waits until the server has taken the ring that was given by hand.
async fn set_ring(server: &ServerHandle, ring: Ring) -> Result<(), Status> {
    let (done, answer) = oneshot::channel();
    let fresh = false;
    server.tell(Event::SetRing { ring, fresh, done }).await?;
    let ended = Status::internal("the server ended");
    answer.await.unwrap_or(Err(ended))
}

fn router(service: StorageService) -> Router {
    let service = Arc::new(service);
    Router::default()
        .with(storage::Server(service.clone()))
        .with(node_service::Server(service))
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
    let (writer, recovered) = open(&config, &fabric)
        .await
        .map_err(|error| RunError::Open {
            name: name.clone(),
            error,
        })?;
    let mut identity = Identity::new(&fabric, &config.name, "storage", config.address.clone());
    if let Some(recovered) = &recovered {
        let founding = &recovered.durable.founding;
        check_founding(&config, founding).map_err(failed)?;
        // Also when the clock went back.
        identity.incarnation = identity.incarnation.max(founding.incarnation + 1);
    }
    let settings = Settings {
        gossip_delay_ms: config.gossip_delay_ms,
        replaces: config.data.as_ref().is_some_and(|data| data.replaces),
        queues: config.limits.queues,
    };
    let server = Server::new(
        identity.clone(),
        fabric.clone(),
        &settings,
        writer,
        recovered,
    );
    let (handle, _task, mut end) = server::start(server);
    if let Some(ring) = config.ring {
        set_ring(&handle, ring).await.map_err(failed)?;
    }
    let router = router(StorageService {
        server: handle.clone(),
        identity,
        snapshots: Snapshots::new(fabric.clone()),
        limits: config.limits,
        gossip_delay_ms: config.gossip_delay_ms,
    });
    let serving = fabric
        .serve(&config.address, router)
        .await
        .map_err(failed)?;
    on_ready(&serving);
    tokio::pin!(shutdown);
    let ended = tokio::select! {
        () = &mut shutdown => {
            drop(serving);
            // A server that has ended meanwhile has said why.
            drop(handle.tell(Event::Stop).await);
            end.await
        }
        ended = &mut end => ended,
    };
    match ended {
        Ok(ended) => ended.map_err(|ended| RunError::Ended { name, ended }),
        Err(_) => Err(RunError::Task { name }),
    }
}
