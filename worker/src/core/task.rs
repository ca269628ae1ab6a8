//! One task: a stage of a run, to be executed here.

use common::types::{Item, Link, Pin};

/// Names a run: its number, and the scheduler that counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey {
    pub scheduler_incarnation: u64,
    pub number: u64,
}

/// Names a task and one attempt at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskKey {
    pub run: RunKey,
    /// Counted over the run.
    pub attempt: u32,
    /// Index into the chain.
    pub stage: u32,
}

impl TaskKey {
    /// True when `older` is of no use any more: a newer attempt has begun at its stage or before it.
    pub fn replaces(self, older: Self) -> bool {
        self.run == older.run && self.attempt > older.attempt && self.stage <= older.stage
    }
}

/// A request on its way along the chain. Invariant: `key.stage` is an index into `chain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub key: TaskKey,
    /// On this worker's clock.
    pub arrived_ms: u64,
    /// Of the run, on this worker's clock.
    pub deadline_ms: u64,
    /// The input of the run.
    pub input: String,
    /// What the stage before returned.
    pub items: Vec<Item>,
    pub pins: Vec<Pin>,
    /// Prefixes of the URLs that operators of the run may open.
    pub grants: Vec<String>,
    /// When the run was submitted, in milliseconds since 1970.
    pub submitted_unix_ms: u64,
    pub chain: Vec<Link>,
    /// An earlier attempt may have executed this stage.
    pub retry: bool,
}

impl Task {
    pub fn link(&self) -> Option<&Link> {
        self.chain.get(self.key.stage as usize)
    }

    pub fn next(&self) -> Option<&Link> {
        self.chain.get(self.key.stage as usize + 1)
    }

    /// What it holds in memory, about.
    pub fn bytes(&self) -> usize {
        let bytes = |item: &Item| {
            size_of::<Item>() + item.value.len() + item.key.as_ref().map_or(0, String::len)
        };
        let pins = self
            .pins
            .iter()
            .map(|pin| size_of::<Pin>() + pin.record.len());
        self.input.len() + self.items.iter().map(bytes).chain(pins).sum::<usize>()
    }

    /// Of this stage, as its author wrote it.
    pub fn timeout_ms(&self) -> Option<u64> {
        self.link().and_then(|link| link.timeout_ms)
    }
}
