//! Everything of a node that survives a crash. Changed only by [`Durable::apply`], so that recovery, which applies the
//! logged changes again, ends in the state that the node had.
//!
//! Derived beside it: hashes of what each partition holds, by which replicas find out that they differ, and the set of
//! records whose latest update is undecided.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::placement::Placement;
use common::types::{PartitionId, RecordId, RecordVersion, ReplicaId, Ring};
use xxhash_rust::xxh3::xxh3_64;

use super::effect::Change;
use super::fences::Fences;
use super::message::{Entry, EntryKind, LogRecord};
use super::record::{Record, RecordChange};
use super::retained::{Did, Retained, Size};
use super::spread::Spread;
use super::updates::{NONE, Updates};

/// Hashes per partition: a difference costs the copy of one of these parts.
pub const BUCKETS: usize = 64;

/// What a node is, beside its records. Written once for each start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    pub replica: ReplicaId,
    pub ring: Ring,
    /// Names this copy of the data, drawn when it began; 0: memory only, gone with the process.
    pub disk: u64,
    /// Takes the place of data that this replica had and lost.
    pub replaces: bool,
    /// Rises with every start.
    pub incarnation: u64,
}

/// Which halves of a change are to be applied.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    pub record: bool,
    pub spread: bool,
}

impl Parts {
    pub const ALL: Self = Self {
        record: true,
        spread: true,
    };
}

#[derive(Debug, Clone)]
pub struct Durable {
    pub founding: Founding,
    pub placement: Placement,
    records: BTreeMap<RecordId, Record>,
    spreads: BTreeMap<PartitionId, Spread>,
    /// Has merged the state of all members once, and votes.
    pub joined: bool,
    /// The data of the other replicas, as they were first heard of.
    pub disks: BTreeMap<ReplicaId, u64>,
    /// Members that have died while this node was one, and did not come back.
    pub dead: BTreeSet<ReplicaId>,
    /// Which updates of tasks are refused.
    pub fences: Fences,
    /// By origin, the records that retain updates of it; and how much all retain.
    retaining: BTreeMap<String, BTreeSet<RecordId>>,
    retained: Size,
    undecided: BTreeSet<RecordId>,
    hashes: BTreeMap<PartitionId, Hashes>,
}

#[derive(Debug, Clone)]
struct Hashes {
    total: u64,
    buckets: [u64; BUCKETS],
}

/// The ring never changes, and what is derived adds nothing.
impl std::hash::Hash for Durable {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        let Founding {
            replica,
            disk,
            replaces,
            incarnation,
            ring: _,
        } = self.founding;
        let founding = (replica, disk, replaces, incarnation);
        let durable = (&self.records, &self.spreads, self.joined, &self.disks);
        std::hash::Hash::hash(&(founding, durable, &self.fences), hasher);
    }
}

impl Durable {
    pub fn new(founding: Founding) -> Self {
        let placement = Placement::new(&founding.ring);
        let held: Vec<PartitionId> = placement.held_by(founding.replica).collect();
        let empty = Hashes {
            total: 0,
            buckets: [0; BUCKETS],
        };
        Self {
            founding,
            placement,
            records: BTreeMap::new(),
            spreads: held.iter().map(|id| (*id, Spread::default())).collect(),
            joined: false,
            disks: BTreeMap::new(),
            dead: BTreeSet::new(),
            fences: Fences::default(),
            retaining: BTreeMap::new(),
            retained: Size::default(),
            undecided: BTreeSet::new(),
            hashes: held.into_iter().map(|id| (id, empty.clone())).collect(),
        }
    }

    pub fn apply(&mut self, change: &Change) {
        self.apply_parts(change, Parts::ALL);
    }

    /// Recovery skips what a checkpoint holds already.
    pub fn apply_parts(&mut self, change: &Change, parts: Parts) {
        match change {
            Change::Founded(founding) => self.founding = founding.clone(),
            Change::Joined => self.joined = true,
            Change::Disk { replica, disk } => {
                self.disks.insert(*replica, *disk);
            }
            Change::Death { replica, dead } => {
                if *dead {
                    self.dead.insert(*replica);
                } else {
                    self.dead.remove(replica);
                }
            }
            Change::Fenced { origin, attempt } => self.fences.raise(origin, *attempt),
            Change::Forgotten(range) => self.fences.forget(range),
            Change::CaughtUp {
                partition,
                timestamp,
            } if parts.spread => {
                if let Some(spread) = self.spreads.get_mut(partition) {
                    spread.catch_up(timestamp);
                }
            }
            Change::Record { record, change } if parts.record => {
                self.apply_to_record(record, own_change(change.clone()));
            }
            Change::Entry { partition, entry } => self.apply_entry(*partition, entry, parts),
            Change::CaughtUp { .. } | Change::Record { .. } => {}
        }
    }

    fn apply_entry(&mut self, partition: PartitionId, entry: &Entry, parts: Parts) {
        let mut entry = entry.clone();
        if let EntryKind::Write { made, id, note } = &mut entry.what {
            *made = own(made);
            *note = note.as_ref().map(own_bytes);
            if parts.record {
                let (id, version) = (id.clone(), made.version);
                let wrote = match note.clone() {
                    None => RecordChange::Wrote(id, version),
                    Some(note) => RecordChange::Retain(vec![Retained {
                        id,
                        did: Did::Write(version),
                        note,
                    }]),
                };
                self.apply_to_record(&entry.record, RecordChange::Merge(made.clone()));
                self.apply_to_record(&entry.record, wrote);
            }
        }
        if let EntryKind::Decided(decided) = &mut entry.what {
            own_values(decided);
            if parts.record && self.is_next_slot(&entry.record, decided.slot) {
                let decided = RecordChange::Decide(decided.clone());
                self.apply_to_record(&entry.record, decided);
            }
        }
        if let Some(spread) = self.spreads.get_mut(&partition).filter(|_| parts.spread) {
            spread.push(entry);
        }
    }

    fn apply_to_record(&mut self, id: &str, change: RecordChange) {
        let max_versions = self.founding.ring.max_versions as usize;
        if !self.records.contains_key(id) {
            self.records.insert(id.to_owned(), Record::default());
        }
        let Some(record) = self.records.get_mut(id) else {
            return;
        };
        let is_own = matches!(
            change,
            RecordChange::Promise(_)
                | RecordChange::Accept(_)
                | RecordChange::Wrote(..)
                | RecordChange::Retain(_)
                | RecordChange::Forget(_)
        );
        // What no other replica needs to know does not change the hash.
        let before = (!is_own).then(|| record.hash(id));
        let (origins, retained) = (change.origins(), record.retained_size());
        record.apply(change, max_versions);
        self.retained = self.retained.with(retained, record.retained_size());
        note_origins(&mut self.retaining, id, record, origins);
        let is_undecided = record.updates().accepted.is_some();
        if let Some(before) = before {
            let difference = before ^ record.hash(id);
            self.note_hash(id, difference);
        }
        if is_undecided {
            self.undecided.insert(id.to_owned());
        } else {
            self.undecided.remove(id);
        }
    }

    fn note_hash(&mut self, id: &str, difference: u64) {
        if let Some(hashes) = self.hashes.get_mut(&self.placement.partition(id)) {
            hashes.total ^= difference;
            if let Some(bucket) = hashes.buckets.get_mut(bucket_of(id)) {
                *bucket ^= difference;
            }
        }
    }

    /// See `Bug::NumberReusedAfterRestart`.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn plant(&mut self, planted: super::planted::Planted) {
        if planted.is(super::planted::Bug::NumberReusedAfterRestart) {
            for record in self.records.values_mut() {
                record.highest_number = record.highest_number.saturating_sub(1);
            }
        }
    }

    /// Puts what a checkpoint holds of a record; before any change is applied.
    pub fn restore_record(&mut self, id: RecordId, record: Record) {
        let fresh = Record::default().hash(&id);
        self.note_hash(&id, fresh ^ record.hash(&id));
        if record.updates().accepted.is_some() {
            self.undecided.insert(id.clone());
        }
        self.retained = self.retained.with(Size::default(), record.retained_size());
        let origins = record.retained_origins();
        note_origins(&mut self.retaining, &id, &record, origins);
        self.records.insert(id, record);
    }

    /// Puts what a checkpoint holds of a partition's gossip; before any change is applied.
    pub fn restore_spread(&mut self, partition: PartitionId, spread: Spread) {
        self.spreads.insert(partition, spread);
    }

    pub fn records(&self) -> &BTreeMap<RecordId, Record> {
        &self.records
    }

    pub fn record(&self, id: &str) -> Option<&Record> {
        self.records.get(id)
    }

    /// The log of a record's updates; of no record, an empty one.
    pub fn updates(&self, id: &str) -> &Updates {
        self.record(id).map_or(&NONE, Record::updates)
    }

    /// True when the slots before this one are known, and this one is not.
    pub fn is_next_slot(&self, id: &str, slot: u64) -> bool {
        slot == self.updates(id).decided + 1
    }

    /// By origin, the records that retain updates of it.
    pub fn retaining(&self) -> &BTreeMap<String, BTreeSet<RecordId>> {
        &self.retaining
    }

    /// What all records retain.
    pub fn retained_size(&self) -> Size {
        self.retained
    }

    /// Records that have accepted an update whose outcome is not known here.
    pub fn undecided(&self) -> &BTreeSet<RecordId> {
        &self.undecided
    }

    pub fn spreads(&self) -> &BTreeMap<PartitionId, Spread> {
        &self.spreads
    }

    /// Absent when this node is no replica of the partition.
    pub fn spread(&self, partition: PartitionId) -> Option<&Spread> {
        self.spreads.get(&partition)
    }

    /// For what is not durable: to forget entries that all replicas have.
    pub(super) fn spread_mut(&mut self, partition: PartitionId) -> Option<&mut Spread> {
        self.spreads.get_mut(&partition)
    }

    /// Equal at replicas that hold the same of this partition.
    pub fn hash(&self, partition: PartitionId) -> u64 {
        self.hashes.get(&partition).map_or(0, |of| of.total)
    }

    /// The hash in its [`BUCKETS`] parts.
    pub fn bucket_hashes(&self, partition: PartitionId) -> Vec<u64> {
        self.hashes
            .get(&partition)
            .map_or_else(Vec::new, |of| of.buckets.to_vec())
    }
}

/// Which part of its partition's hash a record counts in. Other bits than those that choose the partition.
pub fn bucket_of(id: &str) -> usize {
    // Less than 64.
    #[allow(clippy::cast_possible_truncation)]
    let bucket = (xxh3_64(id.as_bytes()) >> 58) as usize;
    bucket
}

/// A record may have begun to retain updates of these origins, or ceased to.
fn note_origins(
    retaining: &mut BTreeMap<String, BTreeSet<RecordId>>,
    id: &str,
    record: &Record,
    origins: BTreeSet<String>,
) {
    for origin in origins {
        if record.retained_of(&origin).next().is_some() {
            let records = retaining.entry(origin).or_default();
            records.insert(id.to_owned());
        } else if let Some(records) = retaining.get_mut(&origin) {
            records.remove(id);
            if records.is_empty() {
                retaining.remove(&origin);
            }
        }
    }
}

fn own_change(change: RecordChange) -> RecordChange {
    match change {
        RecordChange::Merge(made) => RecordChange::Merge(own(&made)),
        RecordChange::Decide(mut decided) => {
            own_values(&mut decided);
            RecordChange::Decide(decided)
        }
        RecordChange::Retain(mut retained) => {
            for Retained { did, note, .. } in &mut retained {
                *note = own_bytes(note);
                if let Did::Update { outcome, .. } = did {
                    let version = outcome.newest_mut();
                    *version = own(version);
                }
            }
            RecordChange::Retain(retained)
        }
        other => other,
    }
}

fn own_values(decided: &mut LogRecord) {
    for decision in &mut decided.decisions {
        let version = decision.outcome.newest_mut();
        *version = own(version);
        decision.note = decision.note.as_ref().map(own_bytes);
    }
}

/// A value in memory of its own: as it came it is a part of a whole message, and would keep that alive.
fn own(made: &RecordVersion) -> RecordVersion {
    RecordVersion {
        value: made.value.as_ref().map(own_bytes),
        version: made.version,
    }
}

fn own_bytes(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
