//! The durable state of one record, changed only by applying a [`RecordChange`].
//!
//! Invariants: decided slots are consecutive and never change (I1); `promised` never goes back (I10); `versions` are
//! the newest `max_versions` of all that were merged; `highest_number` is never lowered by discarding (I12).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use common::types::{RecordVersion, UpdateId, Version};

use super::message::{Accepted, Ballot, Digest, JoinRecord, LogRecord, Outcome, RecordState};

/// Decided updates kept per record for lagging replicas, and successful ones remembered for the answers to repeats.
pub const LOG_RECORDS_MAX: usize = 1024;
/// Bytes of values kept in a record's log.
pub const LOG_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    pub promised: Ballot,
    pub accepted: Option<Accepted>,
    /// Slots decided in all; the log holds the last of them.
    pub decided: u64,
    log: VecDeque<LogRecord>,
    log_bytes: usize,
    executed: BTreeMap<UpdateId, Executed>,
    /// Successful updates that left the log for its size, oldest first: remembered without their values.
    shed: VecDeque<(UpdateId, u64)>,
    versions: BTreeMap<Version, Option<Bytes>>,
    /// The newest version that was discarded; the null version: none.
    pub floor: Version,
    pub highest_number: u64,
}

/// What is remembered of a decided update.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Executed {
    slot: u64,
    outcome: Outcome,
}

/// A step of a record's durable state; what the write-ahead log will hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    Promise(Ballot),
    Accept(Accepted),
    Decide(LogRecord),
    /// The log below this slot is not to be had any more: go on from here.
    SkipTo(u64),
    Merge(RecordVersion),
    /// What another replica has discarded, and the highest number it knew.
    Bounds {
        floor: Version,
        highest_number: u64,
    },
}

/// What a read of one version finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    Found(RecordVersion),
    Discarded,
    NotYet,
}

impl Record {
    pub fn apply(&mut self, change: &RecordChange, max_versions: usize) {
        match change {
            RecordChange::Promise(ballot) => {
                debug_assert!(*ballot >= self.promised, "I10: a promise went back");
                self.promised = *ballot;
            }
            RecordChange::Accept(accepted) => {
                debug_assert_eq!(
                    accepted.proposal.slot,
                    self.decided + 1,
                    "accepted out of order"
                );
                self.accepted = Some(accepted.clone());
            }
            RecordChange::Decide(decided) => self.decide(decided, max_versions),
            RecordChange::SkipTo(slot) => {
                self.log_bytes = 0;
                for record in std::mem::take(&mut self.log) {
                    self.shed(record);
                }
                self.set_decided(*slot);
            }
            RecordChange::Merge(version) => self.insert(version, max_versions),
            RecordChange::Bounds {
                floor,
                highest_number,
            } => {
                self.highest_number = self.highest_number.max(*highest_number);
                self.raise_floor(*floor);
            }
        }
    }

    fn decide(&mut self, record: &LogRecord, max_versions: usize) {
        debug_assert_eq!(record.slot, self.decided + 1, "I1: decided out of order");
        let executed = Executed {
            slot: record.slot,
            outcome: record.outcome.clone(),
        };
        self.executed.insert(record.id.clone(), executed);
        self.log_bytes += value_bytes(record);
        self.log.push_back(record.clone());
        while self.log.len() > LOG_RECORDS_MAX
            || (self.log_bytes > LOG_BYTES_MAX && self.log.len() > 1)
        {
            if let Some(oldest) = self.log.pop_front() {
                self.log_bytes -= value_bytes(&oldest);
                self.shed(oldest);
            }
        }
        self.set_decided(record.slot);
        if let Outcome::Updated { base, made } = &record.outcome {
            debug_assert_eq!(
                base.successor(),
                made.version,
                "I3: not the immediate successor"
            );
            self.insert(made, max_versions);
        }
    }

    /// The answer to a repeat names the version that was made, so its value can go; a mismatch is nothing without its
    /// value, and to test a failed update anew harms nobody.
    fn shed(&mut self, oldest: LogRecord) {
        let LogRecord { slot, id, .. } = oldest;
        match self.executed.get_mut(&id) {
            Some(Executed {
                slot: of,
                outcome: Outcome::Updated { made, .. },
            }) if *of == slot => {
                made.value = None;
                self.shed.push_back((id, slot));
            }
            _ => self.forget(&id, slot),
        }
        if self.shed.len() > LOG_RECORDS_MAX
            && let Some((id, slot)) = self.shed.pop_front()
        {
            self.forget(&id, slot);
        }
    }

    fn forget(&mut self, id: &UpdateId, slot: u64) {
        if self
            .executed
            .get(id)
            .is_some_and(|known| known.slot == slot)
        {
            self.executed.remove(id);
        }
    }

    fn set_decided(&mut self, slot: u64) {
        self.decided = slot;
        if self
            .accepted
            .as_ref()
            .is_some_and(|accepted| accepted.proposal.slot <= slot)
        {
            self.accepted = None;
        }
    }

    fn insert(&mut self, made: &RecordVersion, max_versions: usize) {
        self.highest_number = self.highest_number.max(made.version.number);
        if made.version <= self.floor {
            return;
        }
        let previous = self.versions.insert(made.version, made.value.clone());
        debug_assert!(
            previous.is_none_or(|value| value == made.value),
            "I8: a version named two values"
        );
        while self.versions.len() > max_versions {
            if let Some((oldest, _)) = self.versions.pop_first() {
                self.floor = oldest;
            }
        }
    }

    /// The newest version stays, whatever another replica has discarded.
    fn raise_floor(&mut self, floor: Version) {
        while self.versions.len() > 1
            && self
                .versions
                .first_key_value()
                .is_some_and(|(oldest, _)| *oldest <= floor)
        {
            self.versions.pop_first();
        }
        let reaches_newest = self
            .versions
            .last_key_value()
            .is_none_or(|(newest, _)| *newest <= floor);
        if !reaches_newest {
            self.floor = self.floor.max(floor);
        }
    }

    /// The newest visible version: a plain write or a decided update, never an accepted one. Null: no such record.
    pub fn newest(&self) -> RecordVersion {
        self.versions.last_key_value().map_or(
            RecordVersion {
                version: Version::NULL,
                value: None,
            },
            |(version, value)| RecordVersion {
                version: *version,
                value: value.clone(),
            },
        )
    }

    pub fn look_up(&self, version: Version) -> Lookup {
        match self.versions.get(&version) {
            Some(value) => Lookup::Found(RecordVersion {
                version,
                value: value.clone(),
            }),
            None if version.is_null() => Lookup::Found(RecordVersion {
                version,
                value: None,
            }),
            None if version <= self.floor => Lookup::Discarded,
            None => Lookup::NotYet,
        }
    }

    pub fn has(&self, version: Version) -> bool {
        version <= self.floor || self.versions.contains_key(&version)
    }

    /// Newest first.
    pub fn versions(&self) -> Vec<RecordVersion> {
        let version = |(version, value): (&Version, &Option<Bytes>)| RecordVersion {
            version: *version,
            value: value.clone(),
        };
        self.versions.iter().rev().map(version).collect()
    }

    /// The outcome of an update that was decided here and is still remembered; without the value that it made when that
    /// was long ago.
    pub fn executed(&self, id: &UpdateId) -> Option<&Outcome> {
        self.executed.get(id).map(|executed| &executed.outcome)
    }

    pub fn digest(&self) -> Digest {
        Digest {
            decided: self.decided,
            versions: self.versions.keys().copied().collect(),
        }
    }

    /// What a replica with this digest lacks.
    pub fn lacking(&self, digest: &Digest) -> RecordState {
        let log = self.log_after(digest.decided);
        let in_log = |version| {
            log.iter()
                .any(|record| record.outcome.made() == Some(version))
        };
        let versions = self.versions().into_iter();
        RecordState {
            versions: versions
                .filter(|made| !digest.versions.contains(&made.version) && !in_log(made.version))
                .collect(),
            log,
            floor: self.floor,
            highest_number: self.highest_number,
        }
    }

    pub fn log_after(&self, slot: u64) -> Vec<LogRecord> {
        self.log
            .iter()
            .filter(|record| record.slot > slot)
            .cloned()
            .collect()
    }

    /// Roughly what it takes to send all of it.
    pub fn size_bytes(&self) -> usize {
        let values = self
            .versions
            .values()
            .flatten()
            .map(Bytes::len)
            .sum::<usize>();
        64 + values + self.log_bytes + 32 * (self.versions.len() + self.log.len())
    }

    pub fn to_join(&self, record: &str) -> JoinRecord {
        JoinRecord {
            record: record.to_owned(),
            promised: self.promised,
            accepted: self.accepted.clone(),
            state: self.lacking(&Digest::default()),
        }
    }

    /// The changes that bring this record up to what another replica knows. Idempotent.
    pub fn merge(&self, state: &RecordState) -> Vec<RecordChange> {
        let mut changes = Vec::new();
        let mut decided = self.decided;
        if let Some(first) = state.log.first()
            && first.slot > decided + 1
        {
            decided = first.slot - 1;
            changes.push(RecordChange::SkipTo(decided));
        }
        for record in &state.log {
            if record.slot == decided + 1 {
                decided += 1;
                changes.push(RecordChange::Decide(record.clone()));
            }
        }
        let unknown = state.versions.iter().filter(|made| !self.has(made.version));
        changes.extend(unknown.cloned().map(RecordChange::Merge));
        if state.floor > self.floor || state.highest_number > self.highest_number {
            changes.push(RecordChange::Bounds {
                floor: state.floor,
                highest_number: state.highest_number,
            });
        }
        changes
    }
}

fn value_bytes(record: &LogRecord) -> usize {
    let (Outcome::Updated { made: version, .. } | Outcome::Mismatch { found: version }) =
        &record.outcome;
    version.value.as_ref().map_or(0, Bytes::len)
}
