//! What storage nodes say to one another.

use std::collections::BTreeMap;

use bytes::Bytes;
pub use common::types::Outcome;
use common::types::{PartitionId, RecordId, RecordVersion, ReplicaId, TaskMark, UpdateId, Version};

use super::fences::Fences;
use super::retained::Retained;
use super::timestamp::Timestamp;

/// Orders coordinators: a replica that promised a ballot refuses every lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ballot {
    pub epoch: u64,
    pub term: u64,
    pub replica: ReplicaId,
}

/// A coordinator keeps its ballot as long as nobody has promised more, and counts the terms under it: the votes of an
/// earlier one show an earlier state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Term {
    pub ballot: Ballot,
    /// From 0 under each ballot.
    pub round: u64,
}

/// What a client asks of a record's coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Update {
    pub id: UpdateId,
    pub record: RecordId,
    pub ask: Ask,
    /// Absent: no task makes it.
    pub task: Option<TaskMark>,
}

impl Update {
    /// Absent: no task makes it.
    pub fn attempt(&self) -> Option<u32> {
        self.task.as_ref().map(|task| task.attempt)
    }
}

/// Absent `new`: delete the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Compare-and-swap; absent `old`: the record does not exist.
    IfValueIs {
        old: Option<Bytes>,
        new: Option<Bytes>,
    },
    /// Compare-and-swap by version; the null version: the record was never written.
    IfVersionIs { old: Version, new: Option<Bytes> },
    /// Nothing but the newest version, as of a moment between question and answer: a linearizable read.
    Read,
}

/// One slot of a record's log of updates: those that are decided together, each tested after the one before. Slots count
/// from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogRecord {
    pub slot: u64,
    pub decisions: Vec<Decision>,
}

/// An update and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decision {
    pub id: UpdateId,
    pub outcome: Outcome,
    /// Of a task's update, which is retained with it.
    pub note: Option<Bytes>,
}

impl Decision {
    /// Of the value that was made or found, and of the note.
    pub fn bytes(&self) -> usize {
        self.outcome.value_bytes() + self.note.as_ref().map_or(0, Bytes::len)
    }
}

impl LogRecord {
    /// What successful updates have made, oldest first.
    pub fn made(&self) -> impl Iterator<Item = &RecordVersion> {
        self.decisions.iter().filter_map(|of| match &of.outcome {
            Outcome::Updated { made, .. } => Some(made),
            Outcome::Mismatch { .. } => None,
        })
    }

    /// Of the values that were made and found, and of the notes.
    pub fn bytes(&self) -> usize {
        self.decisions.iter().map(Decision::bytes).sum()
    }
}

/// What a replica has accepted but does not know to be decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Accepted {
    pub ballot: Ballot,
    pub proposal: LogRecord,
}

/// What the sender has of a record: enough to answer with only what it lacks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Digest {
    pub decided: u64,
    pub versions: Vec<Version>,
}

/// What the receiver was known to lack of a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RecordState {
    /// Slots decided in all.
    pub decided: u64,
    /// The last of them, consecutive.
    pub log: Vec<LogRecord>,
    /// Successful updates of slots before the log, without their values, one in each.
    pub remembered: Vec<LogRecord>,
    pub versions: Vec<RecordVersion>,
    /// Ids of plain writes and the versions that they made, oldest first.
    pub writes: Vec<(UpdateId, Version)>,
    /// What tasks did.
    pub retained: Vec<Retained>,
    /// The newest version that was discarded; the null version: none.
    pub floor: Version,
    pub highest_number: u64,
}

/// An update as gossip spreads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    pub origin: ReplicaId,
    /// Counts the updates accepted by `origin` in this partition, from 1.
    pub sequence: u64,
    /// What the origin had applied before.
    pub previous: Timestamp,
    pub record: RecordId,
    pub what: EntryKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// `note`: of a task's write, which is retained with it.
    Write {
        made: RecordVersion,
        id: UpdateId,
        note: Option<Bytes>,
    },
    Decided(LogRecord),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionGossip {
    pub partition: PartitionId,
    /// What the sender has applied.
    pub timestamp: Timestamp,
    /// What the sender no longer keeps as entries.
    pub dropped: Timestamp,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JoinRecord {
    pub record: RecordId,
    pub promised: Ballot,
    pub accepted: Option<Accepted>,
    pub state: RecordState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    Heartbeat {
        gossip_delay_ms: u64,
        joining: bool,
        /// The sender's data takes the place of data that was lost.
        replaces: bool,
        /// What the sender holds of the partitions that it shares with the receiver.
        hash: u64,
    },
    /// The receiver's data is not what the sender knows as its data.
    WrongDisk,
    /// Partitions that the sender shares with the receiver: the receiver copies those that differ without being behind.
    Digests(Vec<PartitionDigest>),
    Gossip(Vec<PartitionGossip>),
    /// A client's update, forwarded to the coordinator.
    Submit {
        update: Update,
        decided: u64,
    },
    Prepare {
        record: RecordId,
        term: Term,
        digest: Digest,
        /// Whose updates the term is to decide: of each origin, the lowest attempt.
        tasks: BTreeMap<String, u32>,
    },
    Vote {
        record: RecordId,
        term: Term,
        accepted: Option<Accepted>,
        digest: Digest,
        lacking: RecordState,
        /// Of these tasks, those that the sender refuses, and the attempts that have taken their places.
        fenced: BTreeMap<String, u32>,
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
    /// A linearizable read was made by the coordinator.
    ReadDone {
        record: RecordId,
        id: UpdateId,
        found: RecordVersion,
    },
    StateRequest(StateRequest),
    State(StatePage),
}

/// What a replica wants to copy of another's state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything shared, promises too: the sender has nothing.
    All,
    /// Accepted updates without outcome; gossip brings the rest.
    Undecided,
    /// Only what each first page has: what the sender of the page refuses of tasks.
    Fences,
    /// Records of these partitions, in buckets whose hash differs from the sender's.
    Differing(Vec<(PartitionId, Vec<u64>)>),
}

/// Asks for a page of state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StateRequest {
    /// Names the copy: an answer to an earlier one may lack what was decided since.
    pub copy: u64,
    pub scope: Scope,
    /// The page begins with the next record in key order.
    pub after: RecordId,
}

/// A partition, as one replica has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionDigest {
    pub partition: PartitionId,
    pub timestamp: Timestamp,
    pub hash: u64,
}

/// A page of a member's state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatePage {
    /// As in the request, and so is the next.
    pub copy: u64,
    pub after: RecordId,
    pub records: Vec<JoinRecord>,
    /// On the first page: what the sender has applied of the partitions asked for.
    pub timestamps: Vec<(PartitionId, Timestamp)>,
    /// The sender is a member; otherwise it is joining itself.
    pub is_member: bool,
    /// Whom the sender has seen die.
    pub dead: Vec<ReplicaId>,
    /// The others, in the lives in which the sender knows them.
    pub lives: Vec<(ReplicaId, u64)>,
    /// Where the next page begins; absent on the last.
    pub next: Option<RecordId>,
    /// On the first page: what the sender refuses.
    pub fences: Fences,
}

impl Message {
    /// The record of which alone it tells.
    pub fn record(&self) -> Option<&RecordId> {
        match self {
            Self::Submit { update, .. } => Some(&update.record),
            Self::Prepare { record, .. }
            | Self::Vote { record, .. }
            | Self::Commit { record, .. }
            | Self::Committed { record, .. }
            | Self::Decided { record, .. }
            | Self::Nack { record, .. }
            | Self::Fetch { record, .. }
            | Self::ReadDone { record, .. } => Some(record),
            Self::Heartbeat { .. }
            | Self::WrongDisk
            | Self::Digests(_)
            | Self::Gossip(_)
            | Self::StateRequest(_)
            | Self::State(_) => None,
        }
    }
}
