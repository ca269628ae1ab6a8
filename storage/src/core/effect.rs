//! What goes into the machine and what comes out of it.

use bytes::Bytes;
use common::types::{PartitionId, RecordId, RecordVersion, ReplicaId, Version, Wanted};

use super::message::{Entry, Message, Outcome, Update};
use super::record::RecordChange;
use super::timestamp::Timestamp;

/// Names a client's request, so that the reply finds its way back.
pub type Token = u64;

/// How many replicas hold a write durably before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    One,
    Majority,
    /// Every replica that is not certified dead.
    All,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Read {
        token: Token,
        record: RecordId,
        wanted: Wanted,
        wait_ms: u64,
    },
    /// `above`: the new version's number is higher than this one's.
    Write {
        token: Token,
        record: RecordId,
        value: Option<Bytes>,
        level: Level,
        above: Version,
    },
    UpdateIf {
        token: Token,
        update: Update,
    },
    Peer {
        from: ReplicaId,
        incarnation: u64,
        message: Message,
    },
    /// The PCS has reaped this replica's process. `incarnation` 0: whichever lives now.
    CertifyDeath {
        replica: ReplicaId,
        incarnation: u64,
    },
    /// Time has passed; several times a second.
    Tick,
    /// A batch of inputs has ended: gossip leaves now.
    Flush,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Persist(Change),
    Send {
        to: ReplicaId,
        message: Message,
    },
    Reply {
        token: Token,
        reply: Result<Reply, Refusal>,
    },
}

/// A step of the node's durable state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Record {
        record: RecordId,
        change: RecordChange,
    },
    /// An update entered the partition's gossip log.
    Entry {
        partition: PartitionId,
        entry: Entry,
    },
    /// State was copied from another replica up to this timestamp.
    CaughtUp {
        partition: PartitionId,
        timestamp: Timestamp,
    },
    /// The node has become a voting member.
    Joined,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Read(RecordVersion),
    Written(Version),
    Update(Outcome),
}

/// Why a request was not served; named for what the caller can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this node is no replica of record `{0}`: ask one of its replica set")]
    AskAnother(RecordId),
    #[error("this node is still joining: ask another replica")]
    Joining,
    #[error(
        "version {version} of record `{record}` was discarded: only the newest versions are kept"
    )]
    Discarded { record: RecordId, version: Version },
    #[error("version {version} of record `{record}` has not reached this replica")]
    NotYet { record: RecordId, version: Version },
    #[error(
        "no majority of the replicas of record `{0}` is in sight: updates are refused, reads and writes go on"
    )]
    NoQuorum(RecordId),
    #[error("the queue of {what} is full ({max}): try again later")]
    Overloaded { what: &'static str, max: usize },
    #[error("the outcome was not known in time: ask again with the same update id")]
    Unknown,
}
