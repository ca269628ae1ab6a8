//! The durable state of one record, changed only by applying a [`RecordChange`].
//!
//! Invariants: `versions` are the newest of all that were merged, at most `max_versions` and [`VERSIONS_BYTES_MAX`]; `highest_number` is never lowered by
//! discarding (I12); a version names one value for ever (I8).

use std::collections::BTreeSet;

use bytes::Bytes;
use common::types::{RecordVersion, UpdateId, Version};
use xxhash_rust::xxh3::Xxh3;

use super::message::{Accepted, Ballot, Digest, LogRecord, Outcome};
use super::retained::{Did, Retained, RetainedUpdates, Size};
use super::updates::{NONE, Updates};

/// Ids of plain writes remembered per record, so that a repeat makes no second version.
pub const WRITES_MAX: usize = 64;
/// Bytes of values that the versions of a record keep; a longer one is kept alone. All of a record goes into one message:
/// its versions, its log, and what it has accepted.
pub const VERSIONS_BYTES_MAX: usize = 12 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Oldest first.
    pub(super) versions: Vec<RecordVersion>,
    /// The newest version that was discarded; the null version: none.
    pub floor: Version,
    pub highest_number: u64,
    /// Absent until the first update: most records have none.
    updates: Option<Box<Updates>>,
    /// Ids of the latest plain writes and the versions that they made, oldest first.
    pub(super) writes: Vec<(UpdateId, Version)>,
    /// What tasks did; absent: nothing.
    retained: Option<Box<RetainedUpdates>>,
}

/// A step of a record's durable state, as the write-ahead log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    Promise(Ballot),
    Accept(Accepted),
    Decide(LogRecord),
    /// The log below this slot is not to be had any more: go on from here.
    SkipTo(u64),
    /// Another replica's memory of updates that left the log.
    Remember(Vec<LogRecord>),
    Merge(RecordVersion),
    /// A plain write with this id made the version.
    Wrote(UpdateId, Version),
    /// Tasks did this.
    Retain(Vec<Retained>),
    /// What tasks of these origins did is needed no longer.
    Forget(Vec<String>),
    /// What another replica has discarded, and the highest number it knew.
    Bounds {
        floor: Version,
        highest_number: u64,
    },
}

impl RecordChange {
    /// Whose updates the record may begin to retain by it, or cease to.
    pub(super) fn origins(&self) -> BTreeSet<String> {
        let name = |id: &UpdateId| id.origin.clone();
        match self {
            Self::Decide(decided) => {
                let decisions = decided.decisions.iter();
                let retained = decisions.filter(|decision| decision.note.is_some());
                retained.map(|decision| name(&decision.id)).collect()
            }
            Self::Retain(retained) => retained.iter().map(|update| name(&update.id)).collect(),
            Self::Forget(origins) => origins.iter().cloned().collect(),
            _ => BTreeSet::new(),
        }
    }
}

/// What a read of one version finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    Found(RecordVersion),
    Discarded,
    NotYet,
}

impl Record {
    pub fn apply(&mut self, change: RecordChange, max_versions: usize) {
        match change {
            RecordChange::Promise(ballot) => self.updates_mut().promise(ballot),
            RecordChange::Accept(accepted) => self.updates_mut().accept(accepted),
            RecordChange::Decide(decided) => self.decide(decided, max_versions),
            RecordChange::SkipTo(slot) => self.updates_mut().skip_to(slot),
            RecordChange::Remember(remembered) => self.updates_mut().remember(&remembered),
            RecordChange::Merge(version) => self.insert(version, max_versions),
            RecordChange::Wrote(id, version) => self.wrote(id, version),
            RecordChange::Retain(retained) => {
                for update in retained {
                    self.retain(update);
                }
            }
            RecordChange::Forget(origins) => self.forget(&origins),
            RecordChange::Bounds {
                floor,
                highest_number,
            } => {
                self.highest_number = self.highest_number.max(highest_number);
                self.raise_floor(floor);
            }
        }
    }

    fn updates_mut(&mut self) -> &mut Updates {
        self.updates.get_or_insert_default()
    }

    /// The log of the record's updates.
    pub fn updates(&self) -> &Updates {
        self.updates.as_deref().unwrap_or(&NONE)
    }

    fn decide(&mut self, record: LogRecord, max_versions: usize) {
        for decision in &record.decisions {
            if let Some(note) = &decision.note {
                self.retain(Retained {
                    id: decision.id.clone(),
                    did: Did::update(decision.outcome.clone()),
                    note: note.clone(),
                });
            }
            if let Outcome::Updated { base, made } = &decision.outcome {
                debug_assert!(
                    cfg!(feature = "planted-bugs") || base.successor() == made.version,
                    "I3: not the immediate successor"
                );
                self.insert(made.clone(), max_versions);
            }
        }
        self.updates_mut().decide(record);
    }

    fn wrote(&mut self, id: UpdateId, version: Version) {
        if self.writes.iter().all(|(known, _)| *known != id) {
            if self.writes.len() >= WRITES_MAX {
                self.writes.remove(0);
            }
            self.writes.reserve_exact(1);
            self.writes.push((id, version));
        }
    }

    fn retain(&mut self, update: Retained) {
        self.retained.get_or_insert_default().retain(update);
    }

    fn forget(&mut self, origins: &[String]) {
        if let Some(updates) = &mut self.updates {
            updates.forget_notes(origins);
        }
        let Some(retained) = &mut self.retained else {
            return;
        };
        for origin in origins {
            retained.forget(origin);
        }
        if retained.size().updates == 0 {
            self.retained = None;
        }
    }

    pub fn retained(&self, id: &UpdateId) -> Option<&Retained> {
        self.retained.as_ref()?.get(id)
    }

    /// Of exactly this origin, in their order.
    pub fn retained_of<'a>(&'a self, origin: &'a str) -> impl Iterator<Item = &'a Retained> {
        let retained = self.retained.iter();
        retained.flat_map(move |retained| retained.of(origin))
    }

    pub fn retained_size(&self) -> Size {
        self.retained
            .as_ref()
            .map_or(Size::default(), |of| of.size())
    }

    pub fn retained_origins(&self) -> BTreeSet<String> {
        let retained = self.retained.iter().flat_map(|retained| retained.all());
        retained.map(|update| update.id.origin.clone()).collect()
    }

    pub(super) fn all_retained(&self) -> Vec<Retained> {
        let retained = self.retained.iter();
        retained
            .flat_map(|retained| retained.all().cloned())
            .collect()
    }

    fn insert(&mut self, made: RecordVersion, max_versions: usize) {
        self.highest_number = self.highest_number.max(made.version.number);
        if made.version <= self.floor {
            return;
        }
        match self.position(made.version) {
            Ok(known) => debug_assert!(
                cfg!(feature = "planted-bugs") || self.versions.get(known) == Some(&made),
                "I8: a version names two values"
            ),
            Err(place) => {
                // Most records have one version, and there are many records.
                self.versions.reserve_exact(1);
                self.versions.insert(place, made);
            }
        }
        let discarded = self.versions.len() - self.kept(max_versions);
        if let Some(newest_discarded) = self.versions.drain(..discarded).next_back() {
            self.floor = newest_discarded.version;
        }
    }

    /// How many of the newest versions stay: as many as are wanted and fit, at least one. The same at all replicas, in
    /// whatever order the versions came: each one can only push out older ones.
    fn kept(&self, max_versions: usize) -> usize {
        let mut bytes = 0;
        let fits = |made: &&RecordVersion| {
            bytes += made.value.as_ref().map_or(0, Bytes::len);
            bytes <= VERSIONS_BYTES_MAX
        };
        let newest = self.versions.iter().rev().take(max_versions);
        newest.take_while(fits).count().max(1)
    }

    fn position(&self, version: Version) -> Result<usize, usize> {
        self.versions
            .binary_search_by_key(&version, |made| made.version)
    }

    /// The newest version stays, whatever another replica has discarded.
    fn raise_floor(&mut self, floor: Version) {
        let newest = self.newest().version;
        self.versions
            .retain(|made| made.version > floor || made.version == newest);
        if floor < newest {
            self.floor = self.floor.max(floor);
        }
    }

    /// The newest visible version: a plain write or a decided update, never an accepted one. Null: no such record.
    pub fn newest(&self) -> RecordVersion {
        self.versions.last().cloned().unwrap_or(RecordVersion {
            version: Version::NULL,
            value: None,
        })
    }

    pub fn look_up(&self, version: Version) -> Lookup {
        match self.position(version) {
            Ok(place) => self
                .versions
                .get(place)
                .cloned()
                .map_or(Lookup::NotYet, Lookup::Found),
            Err(_) if version.is_null() => Lookup::Found(RecordVersion {
                version,
                value: None,
            }),
            Err(_) if version <= self.floor => Lookup::Discarded,
            Err(_) => Lookup::NotYet,
        }
    }

    pub fn has(&self, version: Version) -> bool {
        version <= self.floor || self.position(version).is_ok()
    }

    /// Newest first.
    pub fn versions(&self) -> impl Iterator<Item = &RecordVersion> {
        self.versions.iter().rev()
    }

    /// The version that a plain write with this id has made, if it is still remembered.
    pub fn written(&self, id: &UpdateId) -> Option<Version> {
        let known = self.writes.iter().find(|(known, _)| known == id);
        let retained = || match self.retained(id)?.did {
            Did::Write(version) => Some(version),
            Did::Update { .. } => None,
        };
        known.map(|(_, version)| *version).or_else(retained)
    }

    /// The outcome of an update that was decided here and is still remembered. Error: the version that it found, whose
    /// value is here no longer.
    pub fn executed(&self, id: &UpdateId) -> Option<Result<Outcome, Version>> {
        if let Some(outcome) = self.updates().executed(id) {
            return Some(Ok(outcome.clone()));
        }
        let Did::Update { outcome, is_cut } = &self.retained(id)?.did else {
            return None;
        };
        let found = outcome.newest().version;
        Some(match self.look_up(found) {
            _ if !is_cut => Ok(outcome.clone()),
            Lookup::Found(found) => Ok(Outcome::Mismatch { found }),
            Lookup::Discarded | Lookup::NotYet => Err(found),
        })
    }

    /// True when the update was decided here and is still remembered.
    pub fn has_executed(&self, id: &UpdateId) -> bool {
        let is_update = |of: &Retained| matches!(of.did, Did::Update { .. });
        self.updates().executed(id).is_some() || self.retained(id).is_some_and(is_update)
    }

    pub fn digest(&self) -> Digest {
        Digest {
            decided: self.updates().decided,
            versions: self.versions.iter().map(|made| made.version).collect(),
        }
    }

    /// Equal at all replicas that hold the same versions, have discarded the same ones, and know the same updates to be
    /// decided.
    pub fn hash(&self, record: &str) -> u64 {
        let mut hasher = Xxh3::new();
        hasher.update(record.as_bytes());
        hasher.update(&self.updates().decided.to_le_bytes());
        let versions = self.versions.iter().map(|made| made.version);
        for version in versions.chain([self.floor]) {
            hasher.update(&version.number.to_le_bytes());
            hasher.update(&version.replica.to_le_bytes());
            hasher.update(&version.step.to_le_bytes());
        }
        hasher.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_values_the_same_versions_stay_in_whatever_order_they_came() {
        let long = Bytes::from(vec![0; VERSIONS_BYTES_MAX / 2]);
        let made = |number| RecordVersion {
            version: Version::write(number, 1),
            value: Some(long.clone()),
        };
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
            let mut record = Record::default();
            for number in order {
                record.apply(RecordChange::Merge(made(number)), 10);
            }
            let versions: Vec<_> = record.versions().cloned().collect();
            assert_eq!(versions, [made(3), made(2)]);
            assert_eq!(record.floor, made(1).version);
        }
    }

    #[test]
    fn a_value_that_is_longer_than_all_may_be_stays_alone() {
        let mut record = Record::default();
        for (number, bytes) in [(0, 1), (1, VERSIONS_BYTES_MAX + 1)] {
            let version = Version::write(number, 1);
            let value = Some(Bytes::from(vec![0; bytes]));
            record.apply(RecordChange::Merge(RecordVersion { version, value }), 10);
        }
        assert_eq!(record.versions().count(), 1);
        assert_eq!(record.newest().version, Version::write(1, 1));
    }
}
