//! The process creation service: launches, watches and stops nodes on one machine.
//!
//! - `core`: sessions and their processes, without I/O;
//! - `server`: the task that owns the core;
//! - `service`: protobuf to the core and back;
//! - `launch`: how nodes come into being: `process`, the operating system's processes, or `task`, tasks of this process.
//!
//! Promises:
//! - It starts roles of this binary and nothing else, each at most once per name and session.
//! - No process outlives it: children are stopped and reaped when it is told to end, killed by the kernel when it dies.
//! - No process outlives the puppetmaster that asked for it by more than its lease. A watcher that asks again within the
//!   lease keeps it; a machine that is too busy to look in time gives the watcher more time, once.
//! - Every process that ended by itself is reported with how it ended and its last words.
//! - A frozen process keeps nothing of this from happening: it ends as the others do.
//! - A node is never held up by a terminal that nobody reads.
//!
//! It relies on Linux (`PR_SET_PDEATHSIG`), and on nodes calling [`die_with_parent`] first in `main`.
//! It must never signal a process that it has reaped.

mod core;
mod launch;
mod process;
mod server;
mod service;
mod task;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use common::fabric::{Address, FabricHandle, Router, Serving, Status, Task};
use common::node::{Identity, OnReady};
use common::proto;
use tokio::sync::oneshot;

pub use crate::core::{
    EVENTS_MAX, LAST_WORDS_BYTES_MAX, LEASE_MS_DEFAULT, PROCESSES_MAX, SESSIONS_MAX, STOP_GRACE_MS,
};
pub use process::{NOT_INHERITED, OrphanError, RelayTo, die_with_parent};
pub use task::{MakeNode, NodeTask, Order};

use crate::core::Core;
use launch::Launcher;
use process::{Printer, Processes};
use server::{Server, ServerHandle};
use service::{NodeService, PcsService};
use task::Tasks;

/// The name in its readiness line and its status.
pub const NAME: &str = "pcs";
/// Where a PCS is expected on every host.
pub const PORT: u16 = 10_000;

/// What a PCS starts.
#[derive(Clone)]
pub enum Nodes {
    Processes {
        /// What is executed, with the role as its first argument.
        binary: PathBuf,
        relay: RelayTo,
    },
    /// Tasks of this process.
    Tasks(MakeNode),
}

#[derive(Clone)]
pub struct Config {
    /// Port 0 picks a free one.
    pub listen: Address,
    pub nodes: Nodes,
    /// False when the puppetmaster is this very process, which cannot lose itself.
    pub leases_count: bool,
}

impl Config {
    /// A PCS with a process of its own.
    pub fn standalone(listen: Address) -> Result<Self, RunError> {
        Ok(Self {
            listen,
            nodes: Nodes::processes(RelayTo::SameStreams)?,
            leases_count: true,
        })
    }

    /// A PCS in the puppetmaster's process, whose standard output belongs to the script's results.
    pub fn embedded(listen: Address) -> Result<Self, RunError> {
        Ok(Self {
            listen,
            nodes: Nodes::processes(RelayTo::StandardError)?,
            leases_count: false,
        })
    }

    /// A PCS in the puppetmaster's process, whose nodes are so too.
    pub fn one_process(listen: Address, make: MakeNode) -> Self {
        Self {
            listen,
            nodes: Nodes::Tasks(make),
            leases_count: false,
        }
    }
}

impl Nodes {
    /// Of this binary.
    fn processes(relay: RelayTo) -> Result<Self, RunError> {
        let binary = std::env::current_exe().map_err(RunError::NoBinary)?;
        Ok(Self::Processes { binary, relay })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot start the PCS: {0}")]
    Listen(Status),
    #[error("the path of this program is unknown: {0}")]
    NoBinary(std::io::Error),
    #[error("a thread could not be started: {0}")]
    NoThread(std::io::Error),
}

/// A PCS inside this process.
pub struct Running {
    /// Answers until it is dropped.
    pub serving: Serving,
    pub life: Life,
}

/// The children of a PCS and the task that tends them. Dropped without [`Life::end`], it kills the children at once.
pub struct Life {
    server: ServerHandle,
    finished: oneshot::Receiver<()>,
    _task: Task,
}

impl Life {
    /// Stops all children and waits until they are reaped: at most [`STOP_GRACE_MS`] and a moment.
    pub async fn end(self) {
        self.server.shut_down().await;
        // The sender is dropped with the server's task: that it ended is all that counts.
        let _ = self.finished.await;
    }
}

/// Starts a PCS inside this process; `run` is the same with a shutdown of its own.
pub async fn serve(config: Config, fabric: FabricHandle) -> Result<Running, RunError> {
    let (launcher, printer) = match config.nodes {
        Nodes::Processes { binary, relay } => {
            let processes = Processes::new(binary).map_err(RunError::NoThread)?;
            let printer = Printer::new(&fabric, relay).map_err(RunError::NoThread)?;
            let launcher = Launcher::Processes(processes, printer.lines());
            (launcher, Some(printer))
        }
        Nodes::Tasks(make) => (Launcher::Tasks(Tasks::new(make)), None),
    };
    let core = Core::new(config.leases_count);
    let (server, handle) = Server::new(core, fabric.clone(), launcher, printer);
    let identity = Arc::new(OnceLock::new());
    let pcs = PcsService {
        server: handle.clone(),
    };
    let node = NodeService {
        server: handle.clone(),
        identity: Arc::clone(&identity),
    };
    let router = Router::default()
        .with(proto::pcs::Server(Arc::new(pcs)))
        .with(proto::node::Server(Arc::new(node)));
    let serving = fabric
        .serve(&config.listen, router)
        .await
        .map_err(RunError::Listen)?;
    identity.get_or_init(|| Identity::new(&fabric, NAME, NAME, serving.address.clone()));
    let (finish, finished) = oneshot::channel();
    let task = fabric.spawn(Box::pin(async move {
        server.run().await;
        let _ = finish.send(());
    }));
    let life = Life {
        server: handle,
        finished,
        _task: task,
    };
    Ok(Running { serving, life })
}

/// Runs a PCS until `shutdown`, then stops and reaps its children.
pub async fn run(
    config: Config,
    fabric: FabricHandle,
    shutdown: impl Future<Output = ()> + Send,
    on_ready: OnReady,
) -> Result<(), RunError> {
    let running = serve(config, fabric).await?;
    on_ready(&running.serving);
    shutdown.await;
    running.life.end().await;
    Ok(())
}
