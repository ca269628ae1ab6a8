//! What goes into the machine and what comes out of it.

use bytes::Bytes;
pub use common::types::Level;
use common::types::{
    PartitionId, RecordId, RecordVersion, ReplicaId, TaskMark, UpdateId, Version, Wanted,
};

use super::durable::Founding;
use super::fence::{Collected, Fence};
use super::fences::{Forgotten, OVER};
use super::message::{Entry, Message, Outcome, RecordState, Update};
use super::record::RecordChange;
use super::scan::{Listing, Scan, Scanned};
use super::snapshot::Snapshot;
use super::timestamp::Timestamp;
use super::watch::{News, Watch};

/// Names a client's request, so that the reply finds its way back.
pub type Token = u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Read {
        token: Token,
        record: RecordId,
        wanted: Wanted,
        wait_ms: u64,
    },
    /// `above`: the new version's number is higher than this one's. `task` absent: no task makes it.
    Write {
        token: Token,
        id: UpdateId,
        record: RecordId,
        value: Option<Bytes>,
        level: Level,
        above: Version,
        task: Option<TaskMark>,
    },
    UpdateIf {
        token: Token,
        update: Update,
    },
    /// From now on older attempts are refused; answered by what they did.
    Fence {
        token: Token,
        fence: Fence,
    },
    /// What tasks of these origins did is needed no longer.
    Forget {
        token: Token,
        range: Forgotten,
    },
    /// Every version of a record that is kept here.
    History {
        token: Token,
        record: RecordId,
    },
    /// Every record that is kept here, a page at a time.
    List {
        token: Token,
        after: RecordId,
        limit: usize,
    },
    Scan {
        token: Token,
        scan: Scan,
    },
    /// `wait_ms`: for something to tell.
    Watch {
        token: Token,
        watch: Watch,
        wait_ms: u64,
    },
    /// A copy of these partitions as they are now, each covering its timestamp.
    Snapshot {
        token: Token,
        at_least: Vec<(PartitionId, Timestamp)>,
    },
    /// Takes over what a copy holds of records that are not here: all of them or none. `only_check`: none.
    Restore {
        token: Token,
        records: Vec<(RecordId, RecordState)>,
        only_check: bool,
    },
    Peer(Box<Envelope>),
    /// The PCS has reaped this replica's process. `incarnation` 0: whichever lives now. `token` absent: nobody waits
    /// until that is durable.
    CertifyDeath {
        token: Option<Token>,
        replica: ReplicaId,
        incarnation: u64,
    },
    /// Time has passed; several times a second.
    Tick,
    /// A batch of inputs has ended: gossip leaves now.
    Flush,
    /// From now on nothing can be made durable (the reason), or again everything.
    ReadOnly(Option<String>),
}

/// A message and who sent it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Envelope {
    pub from: ReplicaId,
    /// Rises with every start of the sender.
    pub incarnation: u64,
    /// Names the sender's data; 0: memory only.
    pub disk: u64,
    /// The sender's ring and settings, hashed.
    pub ring: u64,
    pub message: Message,
}

/// What is about one record may leave when that record's changes before it are durable, everything else when all are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Persist(Change),
    Send {
        to: ReplicaId,
        message: Message,
    },
    /// An answer about the record; absent: about many.
    Reply {
        token: Token,
        record: Option<RecordId>,
        reply: Result<Reply, Refusal>,
    },
    /// The node must not go on.
    Halt(Halt),
}

impl Output {
    pub fn change(&self) -> Option<&Change> {
        match self {
            Self::Persist(change) => Some(change),
            _ => None,
        }
    }

    /// The record of which alone it tells.
    pub fn record(&self) -> Option<&RecordId> {
        match self {
            Self::Send { message, .. } => message.record(),
            Self::Reply { record, .. } => record.as_ref(),
            Self::Persist(_) | Self::Halt(_) => None,
        }
    }
}

/// Why a node must not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    #[error(
        "replica {me} of this ring had other data, says replica {by}: a promise or vote that it gave may be lost; \
         start it on that data, or with --replace if that is gone for good"
    )]
    WrongDisk { me: ReplicaId, by: ReplicaId },
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
    /// The node has started: the first change of its data, and of each life.
    Founded(Founding),
    /// Which data another replica has.
    Disk { replica: ReplicaId, disk: u64 },
    /// A member has died while this node was one, or has begun a new life.
    Death { replica: ReplicaId, dead: bool },
    /// Older attempts at the tasks of this origin are refused.
    Fenced { origin: String, attempt: u32 },
    /// The tasks of these origins are over.
    Forgotten(Forgotten),
    /// State was copied from another replica up to this timestamp.
    CaughtUp {
        partition: PartitionId,
        timestamp: Timestamp,
    },
    /// The node has become a voting member.
    Joined,
}

impl Change {
    /// The record that it changes; absent: it changes what the node is.
    pub fn record(&self) -> Option<&RecordId> {
        match self {
            Self::Record { record, .. }
            | Self::Entry {
                entry: Entry { record, .. },
                ..
            } => Some(record),
            Self::Founded(_)
            | Self::Disk { .. }
            | Self::Death { .. }
            | Self::Fenced { .. }
            | Self::Forgotten(_)
            | Self::CaughtUp { .. }
            | Self::Joined => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Read(RecordVersion),
    Written(Version),
    Update(Outcome),
    /// `truncated`: older versions were discarded.
    History {
        versions: Vec<RecordVersion>,
        truncated: bool,
    },
    List(Listing),
    Scan(Scanned),
    Watch(News),
    Snapshot(Vec<Snapshot>),
    Restored,
    DeathNoted,
    Collected(Collected),
    Forgotten,
}

/// Why a request was not served; named for what the caller can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this node is no replica of record `{0}`: ask one of its replica set")]
    AskAnother(RecordId),
    #[error("this node is no replica of partition {0}: ask one of its replica set")]
    NotHeld(PartitionId),
    #[error("this node is still joining: ask another replica")]
    Joining,
    #[error("this node was away, and asks which attempts at tasks have begun meanwhile: ask again")]
    Away,
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
    #[error("{}", fenced(.origin, *.attempt))]
    Fenced { origin: String, attempt: u32 },
    #[error("an update of `{0}` is still under way: ask again")]
    UnderWay(String),
    #[error("the queue of {what} is full ({max}): try again in {retry_after_ms} ms")]
    Overloaded {
        what: &'static str,
        max: usize,
        retry_after_ms: u64,
    },
    #[error("this replica can only be read now: {0}")]
    ReadOnly(String),
    #[error("this replica does not have all yet that others have of partition {0}")]
    Behind(PartitionId),
    #[error("record `{0}` exists already, and is not as the copy has it")]
    Exists(RecordId),
    #[error("the outcome was not known in time: ask again with the same update id")]
    Unknown,
}

fn fenced(origin: &str, attempt: u32) -> String {
    match attempt {
        OVER => format!("the task of `{origin}` is over: its updates are refused"),
        attempt => format!(
            "attempt {attempt} has taken the place of this one: its updates of `{origin}` are refused"
        ),
    }
}
