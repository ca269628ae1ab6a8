//! Configurations: who asks what, and how much may go wrong.

use common::types::CommitMode;
use storage::core::planted::Bug;

/// A place in the replica set; 0 coordinates as long as nobody's patience is over.
pub type Place = usize;
pub const ANYWHERE: &[Place] = &[0, 1, 2];

/// An update or a linearizable read that a client asks for, once, at any of these places.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// Two askings with one id are a repeat.
    pub id: u64,
    /// Absent: a read.
    pub swap: Option<(&'static str, &'static str)>,
    pub at: &'static [Place],
}

pub const fn swap(id: u64, old: &'static str, new: &'static str, at: &'static [Place]) -> Asking {
    Asking {
        id,
        swap: Some((old, new)),
        at,
    }
}

pub const fn read(id: u64, at: &'static [Place]) -> Asking {
    Asking { id, swap: None, at }
}

/// A plain write of level `one`.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    pub value: &'static str,
    pub at: &'static [Place],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A crash between two inputs; the node goes on with its durable data.
    Restart,
    /// Also amidst an input's outputs: those before some change are done, that change and what follows are lost.
    Torn,
    /// The node dies for good, and the others are told, each at its time.
    Die,
    /// It dies, the others are told, and it joins again with its data.
    Return,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub name: &'static str,
    pub nodes: u32,
    pub commit: CommitMode,
    pub askings: Vec<Asking>,
    pub writings: Vec<Writing>,
    /// How often, in all, a node's patience is over: it resends, forwards, or starts a term of its own.
    pub timeouts: u8,
    pub crashes: u8,
    pub fault: Fault,
    /// How often, in all, a disk takes its time: meanwhile the node goes on, and only what need not wait leaves.
    pub lags: u8,
    /// Gossip spreads plain writes and decisions; without it both travel with votes and commits only.
    pub gossip: bool,
    /// Refusals with the higher ballot; they are a matter of liveness.
    pub nacks: bool,
    /// Invariants of the nodes' inside, beside what clients could see: off, to see what a bug leads to.
    pub inside: bool,
    /// What must happen in some schedule, lest the check be empty.
    pub possible: Vec<&'static str>,
    pub bug: Option<Bug>,
}

impl Config {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            nodes: 3,
            commit: CommitMode::Majority,
            askings: Vec::new(),
            writings: Vec::new(),
            timeouts: 0,
            crashes: 0,
            fault: Fault::Restart,
            lags: 0,
            gossip: false,
            nacks: false,
            inside: true,
            possible: Vec::new(),
            bug: None,
        }
    }

    /// A planted bug may make promises go back; otherwise what is below them is lost as well as delivered.
    pub fn is_sound(&self) -> bool {
        self.bug.is_none()
    }
}
