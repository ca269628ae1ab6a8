//! What storage nodes say to one another.

use bytes::Bytes;
use common::types::{PartitionId, RecordId, RecordVersion, ReplicaId, UpdateId, Version};

use super::timestamp::Timestamp;

/// Orders coordinators: a replica that promised a ballot refuses every lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ballot {
    pub epoch: u64,
    pub term: u64,
    pub replica: ReplicaId,
}

/// A compare-and-swap that a client asked for. Absent `old`: the record does not exist; absent `new`: delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub id: UpdateId,
    pub record: RecordId,
    pub old: Option<Bytes>,
    pub new: Option<Bytes>,
}

/// How an update ended. Failures are decided too, so that repeats are answered alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `made.version` is the immediate successor of `base`.
    Updated {
        base: Version,
        made: RecordVersion,
    },
    Mismatch {
        found: RecordVersion,
    },
}

impl Outcome {
    /// The version that the update made, if it succeeded.
    pub fn made(&self) -> Option<Version> {
        match self {
            Self::Updated { made, .. } => Some(made.version),
            Self::Mismatch { .. } => None,
        }
    }
}

/// One slot of a record's log of updates; slots count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    pub slot: u64,
    pub id: UpdateId,
    pub outcome: Outcome,
}

/// What a replica has accepted but does not know to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub ballot: Ballot,
    pub proposal: LogRecord,
}

/// What the sender has of a record: enough to answer with only what it lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Digest {
    pub decided: u64,
    pub versions: Vec<Version>,
}

/// What the receiver was known to lack of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordState {
    /// Decided log records, consecutive.
    pub log: Vec<LogRecord>,
    pub versions: Vec<RecordVersion>,
    /// The newest version that was discarded; the null version: none.
    pub floor: Version,
    pub highest_number: u64,
}

/// An update as gossip spreads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub origin: ReplicaId,
    /// Counts the updates accepted by `origin` in this partition, from 1.
    pub sequence: u64,
    /// What the origin had applied before.
    pub previous: Timestamp,
    pub record: RecordId,
    pub what: EntryKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    Write(RecordVersion),
    Decided(LogRecord),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionGossip {
    pub partition: PartitionId,
    /// What the sender has applied.
    pub timestamp: Timestamp,
    /// What the sender no longer keeps as entries.
    pub dropped: Timestamp,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRecord {
    pub record: RecordId,
    pub promised: Ballot,
    pub accepted: Option<Accepted>,
    pub state: RecordState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Heartbeat {
        gossip_delay_ms: u64,
        joining: bool,
    },
    Gossip(Vec<PartitionGossip>),
    /// A client's update, forwarded to the coordinator.
    Submit {
        update: Update,
        decided: u64,
    },
    Prepare {
        record: RecordId,
        ballot: Ballot,
        digest: Digest,
    },
    Vote {
        record: RecordId,
        ballot: Ballot,
        accepted: Option<Accepted>,
        digest: Digest,
        lacking: RecordState,
    },
    Commit {
        record: RecordId,
        ballot: Ballot,
        proposal: LogRecord,
        lacking: RecordState,
    },
    Committed {
        record: RecordId,
        ballot: Ballot,
        slot: u64,
    },
    Decided {
        record: RecordId,
        state: RecordState,
    },
    Nack {
        record: RecordId,
        promised: Ballot,
    },
    /// Asks for what the sender lacks of a record; answered by `Decided`.
    Fetch {
        record: RecordId,
        digest: Digest,
    },
    /// Asks for the records after a key, of one partition or of all shared ones.
    StateRequest {
        /// Names the copy: an answer to an earlier one may lack what was decided since.
        copy: u64,
        partition: Option<PartitionId>,
        after: RecordId,
    },
    State(StatePage),
}

impl Message {
    /// True for what only a node that starts without data says.
    pub fn begins_life(&self) -> bool {
        matches!(
            self,
            Self::Heartbeat { joining: true, .. }
                | Self::StateRequest {
                    partition: None,
                    ..
                }
        )
    }
}

/// A page of a member's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePage {
    /// As in the request, and so are the next two.
    pub copy: u64,
    pub partition: Option<PartitionId>,
    pub after: RecordId,
    pub records: Vec<JoinRecord>,
    /// On the first page: what the pages cover at least.
    pub timestamps: Vec<(PartitionId, Timestamp)>,
    /// Where the next page begins; absent on the last.
    pub next: Option<RecordId>,
}
