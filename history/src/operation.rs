//! What clients did and were told, and what the replicas held at the end: all that the checkers look at.
//!
//! The types are plain data, without references and without derived fields, so that a history can be a file of JSON
//! lines: one operation each.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::types::{RecordId, RecordVersion, ReplicaId, UpdateId, Version};

use common::types::Level;
use common::types::Outcome;

/// Everything that happened to some records. It must be complete: what is not in it counts as never done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// All versions that records had before; of a record without an entry only the null version.
    pub initial: BTreeMap<RecordId, Vec<RecordVersion>>,
    /// In any order, but those of one session in the order in which it made them.
    pub operations: Vec<Operation>,
    /// What the replicas hold after healing, when gossip has come to rest; each live replica of the record, also one
    /// that holds nothing. Empty: not known, and not checked.
    pub finals: BTreeMap<RecordId, BTreeMap<ReplicaId, FinalState>>,
    /// Replicas whose durable state was lost at some time, for good or until they joined again: plain writes that only
    /// they held may be lost with it.
    pub lost: BTreeSet<ReplicaId>,
}

/// One request. A repeat is an operation of its own, also one that a client library made by itself: a repeated plain
/// write makes a second version. A definite refusal has no effect and is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who asked; only named in messages.
    pub process: String,
    /// The run or script whose operations follow one another and see one another's effects. Parallel tasks of a run
    /// are sessions of their own.
    pub session: Option<String>,
    pub record: RecordId,
    /// The replica that answered, if known.
    pub replica: Option<ReplicaId>,
    /// A time or a count of events, of one clock for all operations. Only the order matters; of two at the same time
    /// neither precedes the other.
    pub invoked_at: u64,
    pub action: Action,
}

/// What was asked, and the answer. None: unknown, it happens at any time after the invocation, or never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Read {
        kind: ReadKind,
        answer: Option<Answer<RecordVersion>>,
    },
    /// Absent `value`: delete.
    Write {
        value: Option<Bytes>,
        level: Level,
        answer: Option<Answer<Version>>,
    },
    /// All operations with one id are one update, and ask for the same.
    Update {
        id: UpdateId,
        test: Test,
        new: Option<Bytes>,
        answer: Option<Answer<Outcome>>,
    },
}

/// Which version a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadKind {
    /// The newest at one replica.
    Local,
    /// As a run reads: what it has seen first, or made or found since (DESIGN.md §7).
    Pinned,
    /// A prepare round without an update.
    Linearizable,
    /// The one that was asked for, however old.
    Exactly,
}

/// What an update compares with the newest version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// None: the record does not exist.
    Value(Option<Bytes>),
    Version(Version),
}

impl Test {
    pub fn passes(&self, version: Version, value: Option<&Bytes>) -> bool {
        match self {
            Self::Value(old) => old.as_ref() == value,
            Self::Version(tested) => *tested == version,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// On the clock of `Operation::invoked_at`.
    pub at: u64,
    pub result: T,
}

/// A record at one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FinalState {
    /// In any order.
    pub versions: Vec<RecordVersion>,
    /// The newest version that was discarded; the null version: none.
    pub floor: Version,
}

impl Operation {
    /// None: its outcome is unknown.
    pub fn answered_at(&self) -> Option<u64> {
        match &self.action {
            Action::Read { answer, .. } => answer.as_ref().map(|answer| answer.at),
            Action::Write { answer, .. } => answer.as_ref().map(|answer| answer.at),
            Action::Update { answer, .. } => answer.as_ref().map(|answer| answer.at),
        }
    }

    /// The version that it read, made or found.
    pub fn version(&self) -> Option<Version> {
        match &self.action {
            Action::Read { answer, .. } => answer.as_ref().map(|answer| answer.result.version),
            Action::Write { answer, .. } => answer.as_ref().map(|answer| answer.result),
            Action::Update { answer, .. } => answer.as_ref().map(|answer| match &answer.result {
                Outcome::Updated { made, .. } => made.version,
                Outcome::Mismatch { found } => found.version,
            }),
        }
    }
}

impl History {
    /// A plain write may be gone with the replica that made it, until others hold it. An update is held by a quorum
    /// before anybody sees it.
    pub(crate) fn may_be_lost(&self, version: Version, level: Level) -> bool {
        let with_its_origin = version.step == 0 && self.lost.contains(&version.replica);
        with_its_origin
            && match level {
                Level::One => true,
                Level::Majority => self.lost.len() > 1,
                Level::All => false,
            }
    }
}
