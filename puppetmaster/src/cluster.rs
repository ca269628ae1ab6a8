//! The nodes of one script, and the PCSs that launch them.
//!
//! - [`node`]: what is known of one node.
//! - `launcher`: finds the PCS of a host, or starts the embedded one.
//! - `life`: creates, crashes, stops and starts nodes; `events`: hears from the PCSs what became of them.
//! - `faults`: which links between nodes are faulty; [`nemesis`]: what goes wrong by chance.
//! - `data`: where storage nodes keep their records, and whether they have any.
//! - `ring`: seals the set of storage nodes and certifies the dead ones.
//! - `access`: holds commands until the nodes that they need are ready, and gives clients of them.
//!
//! Promises: creating a node returns at once; a command that needs a node is held for it, never longer than
//! [`Settings::patience`], and an error names the node; a node that is lost unasked is reported once and makes
//! [`Cluster::outcome`] say so; [`Cluster::close`] stops everything that was started here.
//! Relies on PCS to kill the processes when this process dies without a goodbye (the lease of `Watch`).
//! Must never start or stop anything in a cluster that was started by hand.

mod access;
mod data;
mod events;
mod faults;
mod launcher;
mod life;
mod nemesis;
pub mod node;
mod ring;

pub use launcher::{EmbeddedPcs, StartPcs};
pub use nemesis::Nemesis;
pub use node::{Node, Phase, Settings};

use crate::language::Role;
use crate::language::check::Known;
use crate::outcome::Outcome;
use crate::output::Output;
use common::client::StorageClient;
use common::fabric::{Address, FabricHandle, Serving, Task, timeout};
use common::types::Ring;
use faults::FaultPlan;
use indexmap::IndexMap;
use launcher::Launcher;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long one call to a node may take when nothing else is said.
pub const CALL_MAX: Duration = Duration::from_secs(5);
/// The pause between two looks at something that gives no sign of its own.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// All nodes, by name.
pub struct Cluster {
    pub fabric: FabricHandle,
    pub output: Output,
    /// Names what this puppetmaster starts and writes, apart from others.
    pub session: String,
    launcher: Launcher,
    connected: bool,
    /// Where storage nodes keep their records, each in a directory of its name; absent: in memory.
    data: Option<PathBuf>,
    state: Mutex<State>,
    /// Held while the ring is sealed: commands that run side by side wait until all storage nodes know it.
    sealing: tokio::sync::Mutex<()>,
    /// Signalled whenever `state` changes.
    changed: watch::Sender<()>,
    /// Dropped, and so ended, by `close`.
    tasks: Mutex<Vec<Task>>,
}

#[derive(Default)]
struct State {
    settings: Settings,
    /// In order of creation.
    nodes: IndexMap<String, Node>,
    /// Set once, when the storage is used first.
    ring: Option<Arc<Ring>>,
    storage: Option<StorageClient>,
    debug: Option<Arc<Serving>>,
    faults: FaultPlan,
    /// PCSs whose events are listened to.
    watched: BTreeSet<Address>,
    outcome: Outcome,
    runs: u64,
}

impl Cluster {
    /// A cluster without nodes. `pcs` and `data` are those named on the command line.
    pub fn new(
        fabric: FabricHandle,
        output: Output,
        pcs: Vec<Address>,
        start_pcs: StartPcs,
        data: Option<PathBuf>,
    ) -> Arc<Self> {
        Self::build(fabric, output, Launcher::new(pcs, start_pcs), false, data)
    }

    fn build(
        fabric: FabricHandle,
        output: Output,
        launcher: Launcher,
        connected: bool,
        data: Option<PathBuf>,
    ) -> Arc<Self> {
        Arc::new(Self {
            session: format!("{:016x}", fabric.random()),
            fabric,
            output,
            launcher,
            connected,
            data,
            state: Mutex::default(),
            sealing: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(()),
            tasks: Mutex::default(),
        })
    }

    /// What a command can refer to now.
    pub fn known(&self) -> Known {
        let state = self.state();
        let nodes = state
            .nodes
            .iter()
            .map(|(name, node)| (name.clone(), (node.role, node.address.clone())))
            .collect();
        let runs = (!self.connected).then_some(state.runs);
        Known::now(nodes, state.ring.is_some(), runs, self.connected)
    }

    pub fn settings(&self) -> Settings {
        self.state().settings.clone()
    }

    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        self.change(|state| change(&mut state.settings));
    }

    /// The names of all nodes, in order of creation.
    pub fn names(&self) -> Vec<String> {
        self.state().nodes.keys().cloned().collect()
    }

    /// All nodes as they are now, in order of creation.
    pub fn nodes(&self) -> Vec<(String, Node)> {
        self.state()
            .nodes
            .iter()
            .map(|(name, node)| (name.clone(), node.clone()))
            .collect()
    }

    pub fn node(&self, name: &str) -> Option<Node> {
        self.state().nodes.get(name).cloned()
    }

    /// The schedulers' names and states, in order of creation.
    pub fn schedulers(&self) -> Vec<(String, Node)> {
        let mut nodes = self.nodes();
        nodes.retain(|(_, node)| node.role == Role::Scheduler);
        nodes
    }

    /// Whether a node was lost or could not be started so far.
    pub fn outcome(&self) -> Outcome {
        self.state().outcome
    }

    /// A run was submitted.
    pub fn count_run(&self) {
        self.change(|state| state.runs += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes whoever waits for something of it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }

    /// Waits until `probe` finds something in the state, at most `limit`.
    async fn wait_for<T>(
        &self,
        limit: Duration,
        mut probe: impl FnMut(&State) -> Option<T>,
    ) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            loop {
                let found = probe(&self.state());
                if let Some(found) = found {
                    return found;
                }
                // The sender is a field of `self`: this cannot fail while `self` lives.
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        timeout(&*self.fabric, limit, waiting).await
    }

    /// Runs a task until it ends or the cluster is closed.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.fabric.spawn(Box::pin(task));
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }
}
