//! Puts the durable state together again: what the last checkpoints have saved of each part, and the log's changes since.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use common::types::{PartitionId, RecordId};

use super::Recovered;
use super::checkpoint::{Checkpointer, key};
use crate::codec::disk::{
    DiskSpread, decode_change, decode_disk_entry, decode_disk_node, decode_disk_record,
};
use crate::core::Change;
use crate::core::durable::{Durable, Parts};
use crate::core::message::{Entry, JoinRecord};
use crate::core::record::Record;

/// What an offline check asks of what it reads; the error says what is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Examine {
    /// Of the table.
    pub record: fn(&JoinRecord) -> Result<(), String>,
    /// Of the log, before it is applied to what was made so far.
    pub change: fn(&Durable, &Change, Parts) -> Result<(), String>,
}

/// Puts the state together from the table and the log.
#[derive(Default)]
pub struct Recovery {
    /// Looks at what was read before it is taken over.
    examine: Option<Examine>,
    durable: Option<Durable>,
    /// The log's entries up to here are all in the table.
    covers: u64,
    sequence: u64,
    node: u64,
    entries: BTreeMap<PartitionId, BTreeMap<u64, Entry>>,
    /// What was saved after the last complete checkpoint, with its sequence.
    spreads: BTreeMap<PartitionId, u64>,
    records: BTreeMap<RecordId, u64>,
    saved: BTreeMap<PartitionId, Range<u64>>,
    changed: Checkpointer,
}

impl Recovery {
    /// Refuses what does not hold what must hold of durable state.
    pub fn examining(examine: Examine) -> Self {
        Self {
            examine: Some(examine),
            ..Self::default()
        }
    }

    /// The log's entries up to here are all in the table; known when the table was read.
    pub fn covers(&self) -> u64 {
        self.covers
    }

    /// A key of the table with its value; in their order. The error says what is wrong with it.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let value = Bytes::copy_from_slice(value);
        let wrong = |status: common::status::Status| status.message;
        match key {
            key::NODE => {
                let node = decode_disk_node(value).map_err(wrong)?;
                let mut durable = Durable::new(node.founding);
                durable.joined = node.joined;
                durable.disks = node.disks.into_iter().collect();
                durable.dead = node.dead.into_iter().collect();
                durable.fences = node.fences;
                self.node = node.sequence;
                self.durable = Some(durable);
            }
            key::COVERS => {
                let covers = value.as_ref().try_into();
                self.covers = u64::from_be_bytes(covers.map_err(|_| "not a number".to_owned())?);
                self.sequence = self.covers;
            }
            _ => match key::parse(key) {
                Some(key::Parsed::Entry(partition, index)) => {
                    let entry = decode_disk_entry(value).map_err(wrong)?;
                    self.entries
                        .entry(partition)
                        .or_default()
                        .insert(index, entry);
                }
                Some(key::Parsed::Spread(partition)) => {
                    let spread = DiskSpread::decode(value).map_err(wrong)?;
                    self.restore_spread(partition, spread)?;
                }
                Some(key::Parsed::Record) => {
                    let (sequence, join) = decode_disk_record(value).map_err(wrong)?;
                    self.examine.map_or(Ok(()), |look| (look.record)(&join))?;
                    if sequence > self.covers {
                        self.records.insert(join.record.clone(), sequence);
                    }
                    let id = join.record.clone();
                    let durable = self.durable()?;
                    let max_versions = durable.founding.ring.max_versions as usize;
                    durable.restore_record(id, Record::restore(join, max_versions));
                }
                None => return Err("not a key of this program".to_owned()),
            },
        }
        Ok(())
    }

    fn restore_spread(&mut self, partition: PartitionId, spread: DiskSpread) -> Result<(), String> {
        let indices = spread.entries();
        let mut entries = self.entries.remove(&partition).unwrap_or_default();
        let log: VecDeque<Entry> = indices
            .clone()
            .map_while(|index| entries.remove(&index))
            .collect();
        if (log.len() as u64) < indices.end - indices.start {
            return Err(format!(
                "an entry of partition {partition} is missing between {} and {}",
                indices.start, indices.end
            ));
        }
        if spread.sequence() > self.covers {
            self.spreads.insert(partition, spread.sequence());
        }
        self.saved.insert(partition, indices);
        self.durable()?.restore_spread(partition, spread.with(log));
        Ok(())
    }

    fn durable(&mut self) -> Result<&mut Durable, String> {
        let missing = || "it does not say yet which node this is".to_owned();
        self.durable.as_mut().ok_or_else(missing)
    }

    /// An entry of the log; in their order, after the table. The error says what is wrong with it.
    pub fn replay(&mut self, sequence: u64, entry: &[u8]) -> Result<(), String> {
        let change =
            decode_change(Bytes::copy_from_slice(entry)).map_err(|status| status.message)?;
        self.sequence = sequence;
        if let (None, Change::Founded(founding)) = (&self.durable, &change) {
            self.durable = Some(Durable::new(founding.clone()));
        }
        let newer = |saved: Option<&u64>| saved.is_none_or(|saved| sequence > *saved);
        let parts = match &change {
            Change::Record { record, .. } => Parts {
                record: newer(self.records.get(record)),
                spread: false,
            },
            Change::Entry { partition, entry } => Parts {
                record: newer(self.records.get(&entry.record)),
                spread: newer(self.spreads.get(partition)),
            },
            Change::CaughtUp { partition, .. } => Parts {
                record: false,
                spread: newer(self.spreads.get(partition)),
            },
            Change::Joined
            | Change::Founded(_)
            | Change::Disk { .. }
            | Change::Death { .. }
            | Change::Fenced { .. }
            | Change::Forgotten(_) => {
                if sequence <= self.node {
                    return Ok(());
                }
                Parts::ALL
            }
        };
        let examine = self.examine;
        let durable = self.durable()?;
        examine.map_or(Ok(()), |look| (look.change)(durable, &change, parts))?;
        durable.apply_parts(&change, parts);
        self.changed.note(&change);
        Ok(())
    }

    /// Absent: the data has not begun.
    pub fn done(mut self) -> Option<Recovered> {
        self.changed.saved(self.saved);
        Some(Recovered {
            durable: self.durable?,
            sequence: self.sequence,
            checkpointer: self.changed,
        })
    }
}
