//! A cluster of real storage processes on this machine, which can be killed, frozen and restarted.
//!
//! Promises: a started cluster consists of members, so that it answers at once; a killed process was reaped; every
//! wait has a limit and says what it waited for; all processes and their data are gone when this is dropped.
//! Nodes are named `s1`, `s2`, … in the order of their replica ids, from 1.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::client::StorageClient;
use common::fabric::{Address, AddressError, FabricHandle, GrpcFabric};
use common::proto::{self, Empty, NodeStatus};
use common::status::Status;
use common::types::{CommitMode, ReplicaId, Ring, RingError};
use nix::sys::signal::Signal;
use storage::SyncMode;
use tempfile::TempDir;

use crate::converged::{self, Difference};
use crate::launcher::{Launcher, LauncherError};
use crate::ports;
use crate::process::{Process, ProcessError, last_words, log_of};

/// Far more than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);
/// How long one question about a node's state may take.
const QUESTION: Duration = Duration::from_secs(2);

/// What the nodes have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    pub binary: PathBuf,
    pub commit: CommitMode,
    /// Absent: all nodes up to 3.
    pub replication: Option<u32>,
    pub max_versions: u32,
    /// Absent: in memory only.
    pub sync: Option<SyncMode>,
    /// Delay of every message between two nodes.
    pub gossip_delay_ms: u64,
}

impl Settings {
    /// Durable, `majority`, as started by hand.
    pub fn new(binary: PathBuf) -> Self {
        Self {
            binary,
            commit: CommitMode::Majority,
            replication: None,
            max_versions: Ring::MAX_VERSIONS_DEFAULT,
            sync: Some(SyncMode::Always),
            gossip_delay_ms: 0,
        }
    }
}

/// Where a node runs.
pub struct Place {
    pub launcher: Arc<Launcher>,
    pub address: Address,
    /// Absent: a temporary directory of the cluster.
    pub data: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("no temporary directory could be made: {0}")]
    Directory(std::io::Error),
    #[error("no port is free")]
    NoPort,
    #[error("the cluster has no node with replica id {0}")]
    NoNode(ReplicaId),
    #[error("s{0} does not run")]
    NotRunning(ReplicaId),
    #[error("s{0} has ended by itself; it said: {1}")]
    Ended(ReplicaId, String),
    #[error("s{replica} {status}")]
    Asked { replica: ReplicaId, status: Status },
    /// A bug of the test.
    #[error("a client has failed: {0}")]
    Client(tokio::task::JoinError),
    #[error("waited {limit:?} in vain for {what}")]
    Vain { limit: Duration, what: String },
}

struct Node {
    /// Absent: killed.
    process: Option<Process>,
    place: Place,
    frozen: bool,
    /// Of its latest life.
    incarnation: u64,
}

pub struct Cluster {
    settings: Settings,
    ring: Arc<Ring>,
    fabric: FabricHandle,
    nodes: Vec<Node>,
    /// Dropped last: the nodes write to it until they are killed.
    directory: TempDir,
}

impl Cluster {
    /// Starts so many nodes on 127.0.0.1; returns when all are members.
    pub async fn start(settings: Settings, nodes: usize) -> Result<Self, ClusterError> {
        let launcher = Arc::new(Launcher::new()?);
        let place = |port: u16| {
            Ok(Place {
                launcher: launcher.clone(),
                address: Address::parse(&format!("http://127.0.0.1:{port}"))?,
                data: None,
            })
        };
        let ports: Vec<_> = ports::free().take(nodes).collect();
        if ports.len() < nodes {
            return Err(ClusterError::NoPort);
        }
        let places: Result<_, ClusterError> = ports.into_iter().map(place).collect();
        Self::start_at(settings, places?).await
    }

    /// The same in chosen places.
    pub async fn start_at(settings: Settings, places: Vec<Place>) -> Result<Self, ClusterError> {
        let member = |(number, place): (u32, &Place)| (format!("s{number}"), place.address.clone());
        let ring = Ring::new(
            (1..).zip(&places).map(member).collect(),
            settings.replication,
            settings.commit,
            settings.max_versions,
        )?;
        let node = |place| Node {
            place,
            process: None,
            frozen: false,
            incarnation: 0,
        };
        let mut cluster = Self {
            settings,
            ring: Arc::new(ring),
            fabric: Arc::new(GrpcFabric::default()),
            nodes: places.into_iter().map(node).collect(),
            directory: TempDir::new().map_err(ClusterError::Directory)?,
        };
        for replica in cluster.replicas() {
            cluster.restart(replica).await?;
        }
        cluster.await_members(PATIENCE).await?;
        Ok(cluster)
    }

    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    pub fn fabric(&self) -> &FabricHandle {
        &self.fabric
    }

    /// For what a test wants to keep until the cluster is gone.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn replicas(&self) -> Vec<ReplicaId> {
        self.ring.nodes.iter().map(|node| node.replica).collect()
    }

    /// Those that were started and not killed, frozen ones among them.
    pub fn running(&self) -> Vec<ReplicaId> {
        let runs = |replica: &ReplicaId| self.is_running(*replica);
        self.replicas().into_iter().filter(runs).collect()
    }

    pub fn is_running(&self, replica: ReplicaId) -> bool {
        self.node(replica).is_ok_and(|node| node.process.is_some())
    }

    pub fn is_frozen(&self, replica: ReplicaId) -> bool {
        self.node(replica).is_ok_and(|node| node.frozen)
    }

    /// A client that asks the replicas of a record from the `rotation`th on. All share one connection to each node.
    pub fn client(&self, rotation: usize) -> StorageClient {
        self.client_on(self.fabric.clone(), rotation)
    }

    /// The same with connections of its own: give it a `GrpcFabric`.
    pub fn client_on(&self, fabric: FabricHandle, rotation: usize) -> StorageClient {
        StorageClient::new(fabric, self.ring.clone(), rotation)
    }

    /// One node's RPCs, whether it runs or not; a call takes at most `limit`.
    pub fn raw(
        &self,
        replica: ReplicaId,
        limit: Duration,
    ) -> Result<proto::storage::Client, ClusterError> {
        let to = self.node(replica)?.place.address.clone();
        Ok(proto::storage::Client::new(self.fabric.clone(), to, limit))
    }

    pub async fn status(&self, replica: ReplicaId) -> Result<NodeStatus, ClusterError> {
        let to = self.node(replica)?.place.address.clone();
        let client = proto::node::Client::new(self.fabric.clone(), to, QUESTION);
        let asked = client.status(&Empty {}).await;
        asked.map_err(|status| ClusterError::Asked { replica, status })
    }

    pub fn pid(&self, replica: ReplicaId) -> Result<u32, ClusterError> {
        Ok(self.process(replica)?.pid())
    }

    /// The incarnation of the node's latest life.
    pub fn incarnation(&self, replica: ReplicaId) -> Result<u64, ClusterError> {
        Ok(self.node(replica)?.incarnation)
    }

    /// Kills with SIGKILL and reaps. Its data stay as they are.
    pub fn kill(&mut self, replica: ReplicaId) -> Result<(), ClusterError> {
        let node = self.node_mut(replica)?;
        node.frozen = false;
        let process = node.process.take();
        Ok(process.ok_or(ClusterError::NotRunning(replica))?.kill()?)
    }

    /// SIGSTOP: it keeps its connections and says nothing.
    pub fn freeze(&mut self, replica: ReplicaId) -> Result<(), ClusterError> {
        self.process(replica)?.signal(Signal::SIGSTOP)?;
        self.node_mut(replica)?.frozen = true;
        Ok(())
    }

    pub fn unfreeze(&mut self, replica: ReplicaId) -> Result<(), ClusterError> {
        self.process(replica)?.signal(Signal::SIGCONT)?;
        self.node_mut(replica)?.frozen = false;
        Ok(())
    }

    /// Starts a killed node on its data; returns when it listens, which is before it is a member.
    pub async fn restart(&mut self, replica: ReplicaId) -> Result<(), ClusterError> {
        let name = format!("s{replica}");
        let log = log_of(self.directory.path(), &name);
        let command = self.command(replica)?;
        let launcher = &self.node(replica)?.place.launcher;
        let process = Process::start(launcher, &name, command, &log, PATIENCE).await?;
        self.node_mut(replica)?.process = Some(process);
        let started = Instant::now();
        let status = loop {
            match self.status(replica).await {
                Err(_) if started.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
                asked => break asked?,
            }
        };
        self.node_mut(replica)?.incarnation = status.incarnation;
        Ok(())
    }

    /// Tells all other running nodes that this one, which was killed, will never speak again.
    pub async fn certify_death(&self, replica: ReplicaId) -> Result<(), ClusterError> {
        let incarnation = self.node(replica)?.incarnation;
        let request = proto::CertifyReplicaDeathRequest {
            replica,
            incarnation,
        };
        let others = self.running().into_iter().filter(|other| *other != replica);
        let tell = |other| self.raw(other, PATIENCE).map(|client| (other, client));
        let clients: Vec<_> = others.map(tell).collect::<Result<_, _>>()?;
        let told = clients.iter().map(async |(other, client)| {
            let told = client.certify_death(&request).await;
            told.map_err(|status| ClusterError::Asked {
                replica: *other,
                status,
            })
        });
        futures::future::try_join_all(told).await.map(drop)
    }

    /// Waits until all running nodes are members that serve, in the eyes of all.
    pub async fn await_members(&mut self, limit: Duration) -> Result<(), ClusterError> {
        self.await_state(limit, "all nodes to be members", async |cluster| {
            let mut not_yet = Vec::new();
            let running = cluster.running();
            let runs = |peer: &&proto::PeerStatus| {
                let name = |replica: &ReplicaId| format!("s{replica}");
                running.iter().any(|replica| name(replica) == peer.name)
            };
            for replica in &running {
                let seen = cluster.status(*replica).await.map(|status| {
                    let peers = status.peers.iter().filter(runs);
                    let own = detail(&status, "state").to_owned();
                    let peers = peers.map(|peer| peer.state.clone());
                    [own].into_iter().chain(peers).collect::<Vec<_>>()
                });
                let is_one = |state: &String| matches!(state.as_str(), "member" | "present");
                if !seen.as_ref().is_ok_and(|seen| seen.iter().all(is_one)) {
                    not_yet.push(format!("s{replica}: {seen:?}"));
                }
            }
            Ok((!not_yet.is_empty()).then(|| not_yet.join(", ")))
        })
        .await
    }

    /// Waits until all running nodes are members, gossip has come to rest, no update is undecided, and all replicas of
    /// every record list the same versions.
    pub async fn await_converged(&mut self, limit: Duration) -> Result<(), ClusterError> {
        self.await_members(limit).await?;
        self.await_state(limit, "the replicas to be equal", async |cluster| {
            let difference: Option<Difference> = converged::difference(cluster).await?;
            Ok(difference.map(|difference| difference.to_string()))
        })
        .await
    }

    /// Polls until there is nothing left that is not yet so. A node that has ended by itself ends the wait.
    async fn await_state(
        &mut self,
        limit: Duration,
        what: &str,
        not_yet: impl AsyncFn(&Self) -> Result<Option<String>, ClusterError>,
    ) -> Result<(), ClusterError> {
        let started = Instant::now();
        loop {
            self.check_alive()?;
            let why = match not_yet(self).await {
                Ok(None) => return Ok(()),
                Ok(Some(why)) => why,
                Err(error) => error.to_string(),
            };
            if started.elapsed() > limit {
                let what = format!("{what}: {why}{}", self.describe().await);
                return Err(ClusterError::Vain { limit, what });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What each node says of itself, and how its log ends.
    async fn describe(&self) -> String {
        let mut nodes = Vec::new();
        for replica in self.running() {
            let said = last_words(&log_of(self.directory.path(), &format!("s{replica}")));
            let status = self.status(replica).await.map(|status| {
                let details = status.details.into_iter();
                let details = details.map(|detail| format!("{} {}", detail.name, detail.value));
                let peers = status.peers.into_iter();
                let peers = peers.map(|peer| format!("{} {}", peer.name, peer.state));
                details.chain(peers).collect::<Vec<_>>().join(", ")
            });
            let status = status.unwrap_or_else(|error| error.to_string());
            nodes.push(format!("\ns{replica}: {status}\n{said}"));
        }
        nodes.concat()
    }

    /// An error if a node has ended that nobody has killed.
    pub fn check_alive(&mut self) -> Result<(), ClusterError> {
        for replica in self.running() {
            let log = log_of(self.directory.path(), &format!("s{replica}"));
            let process = &mut self.node_mut(replica)?.process;
            if process.as_mut().is_some_and(Process::has_ended) {
                return Err(ClusterError::Ended(replica, last_words(&log)));
            }
        }
        Ok(())
    }

    /// What all nodes are told of the ring, and a scheduler is too.
    pub fn ring_arguments(&self) -> [String; 8] {
        let member = |node: &common::types::RingNode| format!("{}={}", node.name, node.address);
        let nodes: Vec<_> = self.ring.nodes.iter().map(member).collect();
        [
            "--ring".to_owned(),
            nodes.join(","),
            "--replication".to_owned(),
            self.ring.replication.to_string(),
            "--max-versions".to_owned(),
            self.ring.max_versions.to_string(),
            "--commit".to_owned(),
            commit_name(self.ring.commit).to_owned(),
        ]
    }

    fn command(&self, replica: ReplicaId) -> Result<Command, ClusterError> {
        let Settings { binary, .. } = &self.settings;
        let place = &self.node(replica)?.place;
        let name = format!("s{replica}");
        let mut command = Command::new(binary);
        command.args(["storage", &name, place.address.url()]);
        command.arg(self.settings.gossip_delay_ms.to_string());
        command.args(self.ring_arguments());
        if let Some(sync) = &self.settings.sync {
            let own = self.directory.path().join(&name);
            let data = place.data.clone().unwrap_or(own);
            command.arg("--data").arg(data);
            command.args(["--sync", &sync.to_string()]);
        }
        Ok(command)
    }

    fn node(&self, replica: ReplicaId) -> Result<&Node, ClusterError> {
        let place = (replica as usize).checked_sub(1);
        place
            .and_then(|place| self.nodes.get(place))
            .ok_or(ClusterError::NoNode(replica))
    }

    fn node_mut(&mut self, replica: ReplicaId) -> Result<&mut Node, ClusterError> {
        let place = (replica as usize).checked_sub(1);
        place
            .and_then(|place| self.nodes.get_mut(place))
            .ok_or(ClusterError::NoNode(replica))
    }

    fn process(&self, replica: ReplicaId) -> Result<&Process, ClusterError> {
        let process = &self.node(replica)?.process;
        process.as_ref().ok_or(ClusterError::NotRunning(replica))
    }
}

pub fn commit_name(commit: CommitMode) -> &'static str {
    match commit {
        CommitMode::Majority => "majority",
        CommitMode::FailStop => "fail-stop",
    }
}

/// A line of a node's status such as `state` or `unspread`; empty when it has none.
pub fn detail<'a>(status: &'a NodeStatus, name: &str) -> &'a str {
    let found = status.details.iter().find(|detail| detail.name == name);
    found.map_or("", |detail| &detail.value)
}
