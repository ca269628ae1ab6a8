//! Which parts of the state a checkpoint has to save, a little at a time, while the node goes on.
//!
//! A checkpoint begins at a sequence number of the log and is complete when everything that was changed up to there has
//! been saved as it is *now*, with the sequence number of now. Recovery applies a logged change to a part only when it
//! is newer than what was saved of that part; so parts may be of different ages, and a checkpoint that was cut short
//! does no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use common::types::{PartitionId, RecordId};

use crate::codec::disk::{
    encode_disk_entry, encode_disk_node, encode_disk_record, encode_disk_spread,
};
use crate::core::Change;
use crate::core::durable::Durable;

/// A checkpoint begins when the log has grown by this much.
pub const CHECKPOINT_BYTES: u64 = 64 << 20;
/// Parts of the state in one slice, at most.
const SLICE_PARTS_MAX: usize = 256;
/// A slice closes when it has this share of the log that begins a checkpoint.
const SLICES: u64 = 64;

/// Puts and deletes that belong together.
#[derive(Debug, Default)]
pub struct Slice {
    /// Absent value: delete.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The checkpoint is complete: changes up to this sequence number are no longer needed from the log.
    pub covers: Option<u64>,
}

/// What is saved as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Node,
    Spread(PartitionId),
    Record(RecordId),
}

#[derive(Debug, Default)]
pub struct Checkpointer {
    dirty: BTreeSet<Part>,
    /// The checkpoint under way: what it covers, and what is left to save.
    running: Option<(u64, BTreeSet<Part>)>,
    /// Indices of the gossip entries that were saved.
    saved: BTreeMap<PartitionId, Range<u64>>,
}

impl Checkpointer {
    /// What a checkpoint holds of the gossip's entries already.
    pub(super) fn saved(&mut self, saved: BTreeMap<PartitionId, Range<u64>>) {
        self.saved = saved;
    }

    /// A change was made; also for those that recovery has found in the log.
    pub fn note(&mut self, change: &Change) {
        match change {
            Change::Record { record, .. } => {
                self.dirty.insert(Part::Record(record.clone()));
            }
            Change::Entry { partition, entry } => {
                self.dirty.insert(Part::Spread(*partition));
                self.dirty.insert(Part::Record(entry.record.clone()));
            }
            Change::CaughtUp { partition, .. } => {
                self.dirty.insert(Part::Spread(*partition));
            }
            Change::Joined
            | Change::Founded(_)
            | Change::Disk { .. }
            | Change::Death { .. }
            | Change::Fenced { .. }
            | Change::Forgotten(_) => {
                self.dirty.insert(Part::Node);
            }
        }
    }

    /// Begins a checkpoint of all that was changed up to `sequence`, unless one is under way.
    pub fn begin(&mut self, sequence: u64) {
        if self.running.is_none() {
            self.running = Some((sequence, std::mem::take(&mut self.dirty)));
        }
    }

    /// The next part of the checkpoint under way. `sequence`: of the last change in `durable`; `checkpoint_bytes`: how
    /// much the log grows between checkpoints.
    pub fn slice(
        &mut self,
        durable: &Durable,
        sequence: u64,
        checkpoint_bytes: u64,
    ) -> Option<Slice> {
        let (covers, mut left) = self.running.take()?;
        let mut slice = Slice::default();
        let mut bytes = 0;
        for _ in 0..SLICE_PARTS_MAX {
            if bytes > checkpoint_bytes / SLICES {
                break;
            }
            let Some(part) = left.pop_first() else {
                break;
            };
            let before = slice.writes.len();
            self.save(&part, durable, sequence, &mut slice);
            let written = slice.writes.iter().skip(before);
            bytes += written
                .map(|(_, value)| value.as_ref().map_or(0, Vec::len) as u64)
                .sum::<u64>();
        }
        if left.is_empty() {
            slice.covers = Some(covers);
        } else {
            self.running = Some((covers, left));
        }
        Some(slice)
    }

    fn save(&mut self, part: &Part, durable: &Durable, sequence: u64, slice: &mut Slice) {
        match part {
            Part::Node => {
                let node = encode_disk_node(sequence, durable);
                slice.writes.push((key::NODE.to_vec(), Some(node)));
            }
            Part::Record(id) => {
                if let Some(record) = durable.record(id) {
                    let value = encode_disk_record(sequence, id, record);
                    slice.writes.push((key::record(id), Some(value)));
                }
            }
            Part::Spread(partition) => self.save_spread(*partition, durable, sequence, slice),
        }
    }

    fn save_spread(
        &mut self,
        partition: PartitionId,
        durable: &Durable,
        sequence: u64,
        slice: &mut Slice,
    ) {
        let Some(spread) = durable.spread(partition) else {
            return;
        };
        let saved = self.saved.entry(partition).or_insert(0..0);
        for index in saved.start..spread.first().min(saved.end) {
            slice.writes.push((key::entry(partition, index), None));
        }
        for (index, entry) in (spread.first()..).zip(spread.log()) {
            if index >= saved.end {
                let value = encode_disk_entry(entry);
                slice
                    .writes
                    .push((key::entry(partition, index), Some(value)));
            }
        }
        *saved = spread.first()..spread.end();
        let value = encode_disk_spread(sequence, spread);
        slice.writes.push((key::spread(partition), Some(value)));
    }
}

/// The keys of the checkpoint's table. Their order is the order of recovery: a record's changes need the ring, and a
/// partition its entries.
pub mod key {
    use common::types::PartitionId;

    pub const NODE: &[u8] = b"0";
    /// The sequence number that the last complete checkpoint covers.
    pub const COVERS: &[u8] = b"0c";

    #[derive(Debug, PartialEq, Eq)]
    pub enum Parsed {
        Entry(PartitionId, u64),
        Spread(PartitionId),
        Record,
    }

    pub fn entry(partition: PartitionId, index: u64) -> Vec<u8> {
        let (partition, index) = (partition.to_be_bytes(), index.to_be_bytes());
        [b"1".as_slice(), &partition, &index].concat()
    }

    pub fn spread(partition: PartitionId) -> Vec<u8> {
        [b"2".as_slice(), &partition.to_be_bytes()].concat()
    }

    pub fn record(id: &str) -> Vec<u8> {
        [b"3", id.as_bytes()].concat()
    }

    pub fn parse(key: &[u8]) -> Option<Parsed> {
        match key.split_first()? {
            (b'1', rest) => {
                let (partition, index) = rest.split_first_chunk()?;
                let index = u64::from_be_bytes(index.try_into().ok()?);
                Some(Parsed::Entry(u32::from_be_bytes(*partition), index))
            }
            (b'2', rest) => Some(Parsed::Spread(u32::from_be_bytes(rest.try_into().ok()?))),
            (b'3', _) => Some(Parsed::Record),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail")]

    use common::fabric::Address;
    use common::types::{CommitMode, Ring};

    use super::*;
    use crate::core::durable::Founding;
    use crate::core::record::RecordChange;

    /// A slice that is full must not lose what it has no room for.
    #[test]
    fn every_part_is_saved_in_some_slice() {
        let address = Address::parse("localhost:1").unwrap();
        let founding = Founding {
            replica: 1,
            ring: Ring::new(
                vec![("s1".to_owned(), address)],
                None,
                CommitMode::Majority,
                10,
            )
            .unwrap(),
            disk: 1,
            replaces: false,
            incarnation: 1,
        };
        let mut durable = Durable::new(founding.clone());
        let mut checkpointer = Checkpointer::default();
        let records = (0..2_000).map(|number| Change::Record {
            record: format!("r{number}"),
            change: RecordChange::SkipTo(number),
        });
        let changes: Vec<_> = [Change::Founded(founding)]
            .into_iter()
            .chain(records)
            .collect();
        for change in &changes {
            durable.apply(change);
            checkpointer.note(change);
        }
        for checkpoint_bytes in [0, 1_000, 10_000, CHECKPOINT_BYTES] {
            for change in &changes {
                checkpointer.note(change);
            }
            checkpointer.begin(7);
            let (mut saved, mut slices) = (BTreeSet::new(), 0);
            loop {
                let slice = checkpointer.slice(&durable, 7, checkpoint_bytes).unwrap();
                saved.extend(slice.writes.into_iter().map(|(key, _)| key));
                slices += 1;
                if let Some(covers) = slice.covers {
                    assert_eq!(covers, 7);
                    break;
                }
            }
            assert_eq!(saved.len(), changes.len(), "{slices} slices");
            assert!(slices > 1);
        }
    }
}
