//! What of a record goes to another replica, or into a checkpoint, and how that is taken over.

use bytes::Bytes;
use common::types::{RecordVersion, UpdateId, Version};

use super::message::{Ballot, Digest, JoinRecord, LogRecord, RecordState};
use super::record::{Record, RecordChange};
use super::retained::Retained;

impl Record {
    /// What a replica with this digest lacks.
    pub fn lacking(&self, digest: &Digest) -> RecordState {
        let updates = self.updates();
        let log = updates.log_after(digest.decided);
        let in_log = |version| {
            log.iter()
                .flat_map(LogRecord::made)
                .any(|made| made.version == version)
        };
        let lacks = |made: &&RecordVersion| {
            !digest.versions.contains(&made.version) && !in_log(made.version)
        };
        // A replica that has to skip slots gets to know which updates they held.
        let (remembered, retained) = if digest.decided < updates.skipped() {
            (updates.remembered(), self.all_retained())
        } else {
            Default::default()
        };
        RecordState {
            versions: self.versions().filter(lacks).cloned().collect(),
            remembered,
            retained,
            decided: updates.decided,
            log,
            writes: Vec::new(),
            floor: self.floor,
            highest_number: self.highest_number,
        }
    }

    /// Roughly what it takes to send all of it.
    pub fn size_bytes(&self) -> usize {
        let values = self.versions.iter().filter_map(|made| made.value.as_ref());
        64 + values.map(Bytes::len).sum::<usize>()
            + self.updates().log_bytes()
            + 32 * self.versions.len()
            + 64 * self.writes.len()
            + self.retained_size().bytes
    }

    /// All of it, as a joining replica or a checkpoint needs it.
    pub fn to_join(&self, record: &str) -> JoinRecord {
        let updates = self.updates();
        JoinRecord {
            record: record.to_owned(),
            promised: updates.promised,
            accepted: updates.accepted.clone(),
            state: RecordState {
                remembered: updates.remembered(),
                writes: self.writes.clone(),
                retained: self.all_retained(),
                ..self.lacking(&Digest::default())
            },
        }
    }

    /// The record that [`to_join`](Self::to_join) has described.
    pub fn restore(join: JoinRecord, max_versions: usize) -> Self {
        let mut record = Self::default();
        for change in record.merge(join.state) {
            record.apply(change, max_versions);
        }
        if join.promised != Ballot::default() {
            record.apply(RecordChange::Promise(join.promised), max_versions);
        }
        if let Some(accepted) = join.accepted {
            record.apply(RecordChange::Accept(accepted), max_versions);
        }
        record
    }

    /// The changes that bring this record up to what another replica knows. Idempotent.
    pub fn merge(&self, state: RecordState) -> Vec<RecordChange> {
        let mut changes = Vec::new();
        let mut decided = self.updates().decided;
        let first = state
            .log
            .first()
            .map_or(state.decided + 1, |first| first.slot);
        if first > decided + 1 {
            decided = first - 1;
            changes.push(RecordChange::SkipTo(decided));
        }
        let unknown = |record: &LogRecord| {
            let mut decisions = record.decisions.iter();
            decisions.any(|of| self.updates().executed(&of.id).is_none())
        };
        let remembered: Vec<_> = state.remembered.into_iter().filter(unknown).collect();
        if !remembered.is_empty() {
            changes.push(RecordChange::Remember(remembered));
        }
        for record in state.log {
            if record.slot == decided + 1 {
                decided += 1;
                changes.push(RecordChange::Decide(record));
            }
        }
        let unknown = |made: &RecordVersion| !self.has(made.version);
        changes.extend(
            state
                .versions
                .into_iter()
                .filter(unknown)
                .map(RecordChange::Merge),
        );
        let unknown = |(id, _): &(UpdateId, Version)| self.written(id).is_none();
        let writes = state.writes.into_iter().filter(unknown);
        changes.extend(writes.map(|(id, version)| RecordChange::Wrote(id, version)));
        let unknown = |update: &Retained| self.retained(&update.id).is_none();
        let retained: Vec<_> = state.retained.into_iter().filter(unknown).collect();
        if !retained.is_empty() {
            changes.push(RecordChange::Retain(retained));
        }
        if state.floor > self.floor || state.highest_number > self.highest_number {
            changes.push(RecordChange::Bounds {
                floor: state.floor,
                highest_number: state.highest_number,
            });
        }
        changes
    }
}
