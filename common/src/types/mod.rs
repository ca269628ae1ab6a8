//! Versions, records, items and ids, with their bounds; and their conversion from and to `proto`.

mod convert;
mod ring;
mod version;

pub use convert::{record_id, required, update_id, value_bounds};
pub use ring::{CommitMode, Ring, RingError, RingNode};
pub use version::Version;

use bytes::Bytes;

/// Longest record id, in bytes.
pub const RECORD_ID_BYTES_MAX: usize = 1024;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest origin of an update id, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 256;

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
