//! What is known of one node, and the settings that nodes are created with.

use crate::language::{Durability, Native, NewNode, Role};
use common::fabric::Address;
use common::proto::Level;
use common::types::{CommitMode, Ring, SyncMode};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a command waits for what it needs when `set timeout` says nothing.
pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(30);

/// Where a node is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It was asked for and is not ready yet.
    Starting,
    Ready,
    /// It was ready and is no more; the text says why ("was crashed").
    Down(String),
    /// It never became ready; the text says why.
    Failed(String),
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub role: Role,
    pub address: Address,
    pub gossip_delay_ms: u64,
    pub phase: Phase,
    /// The PCS that launched it.
    pub pcs: Option<Address>,
    /// The scheduler knows this worker as the process that it is now.
    pub registered: bool,
    /// Of the process that was launched last.
    pub pid: Option<u32>,
    /// Of the process before, whose events may still come and mean nothing any more.
    pub previous_pid: Option<u32>,
    /// Of a storage node that has taken the ring, which tells this life from its others; 0: unknown.
    pub incarnation: u64,
    /// Its process was stopped where it was, by `freeze`.
    pub frozen: bool,
    /// It is down by chance, and is started again soon: who needs it waits for it.
    pub returns: bool,
}

impl Node {
    pub fn starting(node: &NewNode) -> Self {
        Self {
            role: node.role,
            address: node.address.clone(),
            gossip_delay_ms: node.gossip_delay_ms,
            phase: Phase::Starting,
            pcs: None,
            registered: false,
            pid: None,
            previous_pid: None,
            incarnation: 0,
            frozen: false,
            returns: false,
        }
    }

    /// A node that was started by hand.
    pub fn external(role: Role, address: Address) -> Self {
        Self {
            role,
            address,
            gossip_delay_ms: 0,
            phase: Phase::Ready,
            pcs: None,
            registered: true,
            pid: None,
            previous_pid: None,
            incarnation: 0,
            frozen: false,
            returns: false,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Gone for good, as far as is known.
    pub fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Down(_) | Phase::Failed(_)) && !self.returns
    }

    /// Ready, and not frozen: it hears what it is told.
    pub fn is_awake(&self) -> bool {
        self.is_ready() && !self.frozen
    }
}

/// What `set` sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Absent: all storage nodes up to `Ring::REPLICATION_DEFAULT`.
    pub replication: Option<u32>,
    pub max_versions: u32,
    pub durability: Durability,
    pub commit: CommitMode,
    /// Of nodes that keep their records in a directory.
    pub sync: SyncMode,
    pub seed: u64,
    pub timeout: Option<Duration>,
    /// Absolute, since a PCS has a working directory of its own.
    pub operators: Option<PathBuf>,
    /// Absent: workers refuse native libraries.
    pub native: Option<Native>,
    /// Tasks that a worker executes at once; absent: the workers' default.
    pub slots: Option<u32>,
    /// Where the schedulers answer HTTP, in the order in which they are created; those beyond answer none.
    pub http: Vec<Address>,
    /// Of storage nodes, by name; the others are their defaults.
    pub limits: BTreeMap<&'static str, u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replication: None,
            max_versions: Ring::MAX_VERSIONS_DEFAULT,
            durability: Durability::All,
            commit: CommitMode::FailStop,
            sync: SyncMode::Always,
            seed: 0,
            timeout: None,
            operators: None,
            native: None,
            slots: None,
            http: Vec::new(),
            limits: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// How long a command waits for what it needs.
    pub fn patience(&self) -> Duration {
        self.timeout.unwrap_or(PATIENCE_DEFAULT)
    }

    /// The deadline of a run; 0: the scheduler's default.
    pub fn run_timeout_ms(&self) -> u64 {
        self.timeout.map_or(0, |timeout| {
            u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
        })
    }

    pub fn level(&self) -> Level {
        match self.durability {
            Durability::One => Level::One,
            Durability::Majority => Level::Majority,
            Durability::All => Level::All,
        }
    }
}
