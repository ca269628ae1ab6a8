//! Changes and checkpoints on disk, from and to `proto`.

use std::collections::VecDeque;

use bytes::Bytes;
use common::fabric::{decode, encode};
use common::proto::{self, Empty};
use common::status::Status;
use common::types::{Ring, record_id, required};

use super::record::{
    decode_accepted, decode_entry, decode_join, decode_log, decode_timestamp, decode_wrote,
    encode_entry, encode_wrote,
};
use super::tasks::{
    decode_fenced, decode_fences, decode_forgotten, decode_retained, encode_fences,
    encode_forgotten,
};
use super::{Decoded, all, encode_partition_timestamp};
use crate::core::Change;
use crate::core::durable::{Durable, Founding};
use crate::core::fences::Fences;
use crate::core::message::{Entry, JoinRecord};
use crate::core::record::{Record, RecordChange};
use crate::core::spread::Spread;

/// A change as the log holds it.
pub fn encode_change(change: &Change) -> Bytes {
    use proto::disk_change::Change as Encoded;
    let change = match change.clone() {
        Change::Record { record, change } => Encoded::Record(encode_record_change(record, change)),
        Change::Entry { partition, entry } => Encoded::Entry(proto::EntryChange {
            partition,
            entry: Some(encode_entry(entry)),
        }),
        Change::CaughtUp {
            partition,
            timestamp,
        } => Encoded::CaughtUp(encode_partition_timestamp((partition, timestamp))),
        Change::Joined => Encoded::Joined(Empty {}),
        Change::Founded(founding) => Encoded::Founded(encode_founding(&founding)),
        Change::Disk { replica, disk } => Encoded::Disk(proto::Disk { replica, disk }),
        Change::Death { replica, dead } => Encoded::Death(proto::Death { replica, dead }),
        Change::Fenced { origin, attempt } => Encoded::Fenced(proto::Fenced { origin, attempt }),
        Change::Forgotten(range) => Encoded::Forgotten(encode_forgotten(range)),
    };
    encode(&proto::DiskChange {
        change: Some(change),
    })
}

fn encode_record_change(record: String, change: RecordChange) -> proto::RecordChange {
    use proto::record_change::Change as Encoded;
    let change = match change {
        RecordChange::Promise(ballot) => Encoded::Promise(ballot.into()),
        RecordChange::Accept(accepted) => Encoded::Accept(accepted.into()),
        RecordChange::Decide(decided) => Encoded::Decide(decided.into()),
        RecordChange::SkipTo(slot) => Encoded::SkipTo(slot),
        RecordChange::Remember(records) => Encoded::Remember(proto::Remembered {
            records: records.into_iter().map(Into::into).collect(),
        }),
        RecordChange::Merge(made) => Encoded::Merge(made.into()),
        RecordChange::Wrote(id, version) => Encoded::Wrote(encode_wrote((id, version))),
        RecordChange::Retain(retained) => Encoded::Retain(proto::RetainedUpdates {
            retained: retained.into_iter().map(Into::into).collect(),
        }),
        RecordChange::Forget(origins) => Encoded::Forget(proto::Origins { origins }),
        RecordChange::Bounds {
            floor,
            highest_number,
        } => Encoded::Bounds(proto::Bounds {
            floor: Some(floor.into()),
            highest_number,
        }),
    };
    proto::RecordChange {
        record,
        change: Some(change),
    }
}

pub fn decode_change(bytes: Bytes) -> Decoded<Change> {
    use proto::disk_change::Change as Encoded;
    let change: proto::DiskChange = decode(bytes)?;
    Ok(match required(change.change, "change")? {
        Encoded::Record(change) => Change::Record {
            record: record_id(change.record)?,
            change: decode_record_change(change.change)?,
        },
        Encoded::Entry(change) => Change::Entry {
            partition: change.partition,
            entry: decode_entry(required(change.entry, "entry")?)?,
        },
        Encoded::CaughtUp(change) => Change::CaughtUp {
            partition: change.partition,
            timestamp: decode_timestamp(change.timestamp),
        },
        Encoded::Joined(Empty {}) => Change::Joined,
        Encoded::Founded(founding) => Change::Founded(decode_founding(founding)?),
        Encoded::Disk(proto::Disk { replica, disk }) => Change::Disk { replica, disk },
        Encoded::Death(proto::Death { replica, dead }) => Change::Death { replica, dead },
        Encoded::Fenced(fenced) => {
            let (origin, attempt) = decode_fenced(fenced)?;
            Change::Fenced { origin, attempt }
        }
        Encoded::Forgotten(range) => Change::Forgotten(decode_forgotten(range)?),
    })
}

fn decode_record_change(change: Option<proto::record_change::Change>) -> Decoded<RecordChange> {
    use proto::record_change::Change as Encoded;
    Ok(match required(change, "change")? {
        Encoded::Promise(ballot) => RecordChange::Promise(ballot.into()),
        Encoded::Accept(accepted) => RecordChange::Accept(decode_accepted(accepted)?),
        Encoded::Decide(decided) => RecordChange::Decide(decode_log(decided)?),
        Encoded::SkipTo(slot) => RecordChange::SkipTo(slot),
        Encoded::Remember(remembered) => {
            RecordChange::Remember(all(remembered.records, decode_log)?)
        }
        Encoded::Merge(made) => RecordChange::Merge(made.into()),
        Encoded::Wrote(wrote) => {
            let (id, version) = decode_wrote(wrote)?;
            RecordChange::Wrote(id, version)
        }
        Encoded::Retain(retained) => RecordChange::Retain(all(retained.retained, decode_retained)?),
        Encoded::Forget(of) => RecordChange::Forget(of.origins),
        Encoded::Bounds(bounds) => RecordChange::Bounds {
            floor: bounds.floor.unwrap_or_default().into(),
            highest_number: bounds.highest_number,
        },
    })
}

fn encode_founding(founding: &Founding) -> proto::Founding {
    proto::Founding {
        replica: founding.replica,
        ring: Some((&founding.ring).into()),
        disk: founding.disk,
        replaces: founding.replaces,
        incarnation: founding.incarnation,
    }
}

fn decode_founding(founding: proto::Founding) -> Decoded<Founding> {
    let ring = Ring::try_from(required(founding.ring, "ring")?);
    Ok(Founding {
        replica: founding.replica,
        ring: ring.map_err(|error| Status::invalid(error.to_string()))?,
        disk: founding.disk,
        replaces: founding.replaces,
        incarnation: founding.incarnation,
    })
}

/// A record as a checkpoint holds it, with all changes up to `sequence`.
pub fn encode_disk_record(sequence: u64, id: &str, record: &Record) -> Vec<u8> {
    encode(&proto::DiskRecord {
        sequence,
        record: Some(record.to_join(id).into()),
    })
    .into()
}

pub fn decode_disk_record(bytes: Bytes) -> Decoded<(u64, JoinRecord)> {
    let record: proto::DiskRecord = decode(bytes)?;
    let join = decode_join(required(record.record, "record")?)?;
    Ok((record.sequence, join))
}

pub fn encode_disk_spread(sequence: u64, spread: &Spread) -> Vec<u8> {
    encode(&proto::DiskSpread {
        sequence,
        timestamp: Some(spread.timestamp.clone().into()),
        dropped: Some(spread.dropped.clone().into()),
        first: spread.first(),
        end: spread.end(),
    })
    .into()
}

/// A partition's gossip without its entries, and the indices of those.
#[derive(Debug)]
pub struct DiskSpread(proto::DiskSpread);

impl DiskSpread {
    pub fn decode(bytes: Bytes) -> Decoded<Self> {
        decode(bytes).map(Self)
    }

    /// It holds all changes up to here.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    pub fn entries(&self) -> std::ops::Range<u64> {
        self.0.first..self.0.end
    }

    pub fn with(self, log: VecDeque<Entry>) -> Spread {
        Spread::restore(
            decode_timestamp(self.0.timestamp),
            decode_timestamp(self.0.dropped),
            self.0.first,
            log,
        )
    }
}

pub fn encode_disk_entry(entry: &Entry) -> Vec<u8> {
    encode(&encode_entry(entry.clone())).into()
}

pub fn decode_disk_entry(bytes: Bytes) -> Decoded<Entry> {
    decode_entry(decode(bytes)?)
}

/// What is kept of a node besides its records and its gossip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskNode {
    pub sequence: u64,
    pub founding: Founding,
    pub joined: bool,
    pub disks: Vec<(u32, u64)>,
    pub dead: Vec<u32>,
    pub fences: Fences,
}

pub fn encode_disk_node(sequence: u64, durable: &Durable) -> Vec<u8> {
    let disk = |(replica, disk): (&u32, &u64)| proto::Disk {
        replica: *replica,
        disk: *disk,
    };
    encode(&proto::DiskNode {
        sequence,
        founding: Some(encode_founding(&durable.founding)),
        joined: durable.joined,
        disks: durable.disks.iter().map(disk).collect(),
        dead: durable.dead.iter().copied().collect(),
        fences: Some(encode_fences(&durable.fences)),
    })
    .into()
}

pub fn decode_disk_node(bytes: Bytes) -> Decoded<DiskNode> {
    let node: proto::DiskNode = decode(bytes)?;
    Ok(DiskNode {
        sequence: node.sequence,
        founding: decode_founding(required(node.founding, "founding")?)?,
        joined: node.joined,
        disks: node
            .disks
            .into_iter()
            .map(|of| (of.replica, of.disk))
            .collect(),
        dead: node.dead,
        fences: decode_fences(node.fences)?,
    })
}
