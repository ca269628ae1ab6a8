//! Versions, records, items and ids, with their bounds; and their conversion from and to `proto`.

mod blob;
mod calls;
mod chain;
mod convert;
mod hash;
mod origin;
mod ring;
mod sync;
mod update;
mod version;

pub use blob::BlobUrl;
pub use calls::{CALLS_TOLD_MAX, CallKind, CallLog, StorageCall};
pub use chain::{Dealing, Link, Part, Source, WorkerAddress, partition_of_key};
pub use convert::{record_id, required, update_id, value_bounds};
pub use hash::ComponentHash;
pub use origin::{
    EXCEPT_MAX, LeaderOrigin, NOTE_BYTES_MAX, RECOVERIES_MAX, RunOrigin, TaskMark, TaskOrigin,
    first_attempt, is_below, paths_to, recoveries_before,
};
pub use ring::{CommitMode, Ring, RingError, RingNode};
pub use sync::SyncMode;
pub use update::{Level, Outcome};
pub use version::Version;

use bytes::Bytes;

use crate::fabric::MESSAGE_BYTES_MAX;

/// Longest record id in bytes that a storage node can be told to accept, and that it accepts unless it is told.
pub const RECORD_ID_BYTES_MAX: usize = 16 << 10;
pub const RECORD_ID_BYTES_DEFAULT: usize = 1 << 10;
/// Longest value in bytes that a storage node can be told to accept: an update carries two, and what else a replica lacks
/// has to fit into the same message. And the longest that it accepts unless it is told.
pub const VALUE_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4;
pub const VALUE_BYTES_DEFAULT: usize = 1 << 20;
/// Records that begin so are Marionette's own: operators cannot reach them, and listings leave them out.
pub const RESERVED_PREFIX: &str = "_marionette/";
/// Those of them that hold runs: they are one scheduler's, and no part of a copy for another cluster.
pub const RUNS_PREFIX: &str = "_marionette/run/";
/// Tells which scheduler leads; also below [`RUNS_PREFIX`].
pub const LEASE_RECORD: &str = "_marionette/run/lease";
/// Longest origin of an update id, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 256;

/// Records that one run may touch, with those that its submitter has seen: they travel together.
pub const PINS_MAX: usize = 8_192;

/// A storage node's number in the ring, from 1; breaks ties between versions.
pub type ReplicaId = u32;
/// Index of a partition, below `Ring::partitions`.
pub type PartitionId = u32;
pub type RecordId = String;

/// One version of a record. Without a value it is a tombstone: the record was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordVersion {
    pub version: Version,
    pub value: Option<Bytes>,
}

/// A record as an operator sees it: it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub version: Version,
    pub value: Bytes,
}

/// The version of a record that a run has read or written; the null version for an absent record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub record: RecordId,
    pub version: Version,
    /// The run has not touched the record yet: its first read is not older than this version.
    pub is_floor: bool,
}

/// Which version a read wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// The newest at the replica, but none older than this one.
    Newest {
        not_older: Version,
    },
    Exactly(Version),
}

impl Wanted {
    /// The newest at the replica, whatever it is.
    pub const NEWEST: Self = Self::Newest {
        not_older: Version::NULL,
    };

    /// The version without which the read cannot be answered.
    pub fn needs(self) -> Version {
        let (Self::Newest { not_older: version } | Self::Exactly(version)) = self;
        version
    }
}

/// What flows between stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub key: Option<String>,
    pub value: Bytes,
}

impl Item {
    /// An item without a key.
    pub fn plain(value: impl Into<Bytes>) -> Self {
        Self {
            key: None,
            value: value.into(),
        }
    }
}

/// The caller's id of an update, the same in every retry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpdateId {
    /// Names the run's task or the client.
    pub origin: String,
    pub sequence: u64,
}
