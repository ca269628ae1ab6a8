//! One task: a stage of a run, to be executed here.

use common::types::{Dealing, Item, Link, Pin, Source};

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
    /// Index into the chain: the first of the stages that workers hand on to one another, of which this is one; of a `map`
    /// or `reduce`, the stage itself.
    pub segment: u32,
    /// The number of the task within its stage; 0 in plain stages.
    pub task: u32,
    /// Counted over the run; of a `map` or `reduce`, over the task.
    pub attempt: u32,
    /// Index into the chain.
    pub stage: u32,
}

impl TaskKey {
    /// True when `older` is of no use any more: a newer attempt has begun at its stage, or before it in its segment.
    pub fn replaces(self, older: Self) -> bool {
        (self.run, self.segment, self.task) == (older.run, older.segment, older.task)
            && self.attempt > older.attempt
            && self.stage <= older.stage
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
    /// Where the rest of its items is.
    pub sources: Vec<Source>,
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

    /// The stage to which this one is handed on; absent: the scheduler does that, or it was the last.
    pub fn next(&self) -> Option<&Link> {
        let is_plain = |link: &&Link| !link.dealing.is_parallel();
        self.link().filter(is_plain)?;
        self.behind().filter(is_plain)
    }

    fn behind(&self) -> Option<&Link> {
        self.chain.get(self.key.stage as usize + 1)
    }

    /// Into how many partitions the items are to be divided that wait here for the tasks of the `reduce` behind; absent:
    /// they are reported.
    pub fn leaves(&self) -> Option<u32> {
        self.link().filter(|link| link.dealing.is_parallel())?;
        self.behind()?.partitions()
    }

    /// Whether its items are to be sorted by their keys.
    pub fn reduces(&self) -> bool {
        let link = self.link();
        link.is_some_and(|link| matches!(link.dealing, Dealing::Partitions(_)))
    }

    /// What it holds in memory, about.
    pub fn bytes(&self) -> usize {
        let pins = self
            .pins
            .iter()
            .map(|pin| size_of::<Pin>() + pin.record.len());
        self.input.len() + self.items.iter().map(item_bytes).chain(pins).sum::<usize>()
    }

    /// Of this stage, as its author wrote it.
    pub fn timeout_ms(&self) -> Option<u64> {
        self.link().and_then(|link| link.timeout_ms)
    }
}

/// What an item holds in memory, about.
pub fn item_bytes(item: &Item) -> usize {
    size_of::<Item>() + item.value.len() + item.key.as_ref().map_or(0, String::len)
}
