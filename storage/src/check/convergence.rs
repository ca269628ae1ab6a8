//! In the end all replicas of a record hold the same (I7), and every acknowledged version is among it (I4).
//!
//! Says nothing about versions up to a floor: they were discarded, at different times by different replicas.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::types::{ReplicaId, Version};

use super::history::{FinalState, Operation};
use super::record::RecordHistory;
use super::violation::{Kind, Violation, text};

pub fn check(record: &RecordHistory) -> Vec<Violation> {
    let mut found = missing(record);
    found.extend(diverged(record));
    found
}

/// What must be in every final state.
fn acknowledged<'a>(record: &RecordHistory<'a>) -> BTreeMap<Version, &'a Operation> {
    let history = record.history;
    let writes = record.writes().filter_map(|write| {
        let version = *write.answer?.result;
        let is_kept = !history.may_be_lost(version, write.level);
        is_kept.then_some((version, write.operation))
    });
    let answers = record.updates.iter().flat_map(|update| &update.answers);
    let updates = answers.filter_map(|answer| Some((answer.result.made()?, answer.operation)));
    writes.chain(updates).collect()
}

fn missing(record: &RecordHistory) -> Vec<Violation> {
    if record.history.finals.is_empty() {
        return Vec::new();
    }
    let acknowledged = acknowledged(record);
    let mut found = Vec::new();
    if let (None, Some((version, operation))) =
        (record.finals().next(), acknowledged.last_key_value())
    {
        let message = format!("no replica of the record is left, nor version {version}");
        found.push(record.violation(Kind::Missing, message, &[operation]));
    }
    for (replica, state) in record.finals() {
        let held = held_above(state, state.floor);
        let is_missing = |version: Version| version > state.floor && !held.contains_key(&version);
        for (version, operation) in &acknowledged {
            if is_missing(*version) {
                let message =
                    format!("version {version} was acknowledged and is not at replica {replica}");
                found.push(record.violation(Kind::Missing, message, &[operation]));
            }
        }
    }
    found
}

/// One violation for each replica that differs from the first one.
fn diverged(record: &RecordHistory) -> Vec<Violation> {
    let floors = record.finals().map(|(_, state)| state.floor);
    let floor = floors.max().unwrap_or_default();
    let mut replicas = record.finals().map(|(replica, state)| Held {
        replica,
        versions: held_above(state, floor),
    });
    let Some(first) = replicas.next() else {
        return Vec::new();
    };
    let differ = replicas.filter(|other| other.versions != first.versions);
    differ
        .map(|other| {
            let message = format!(
                "replicas {} and {} differ in what they hold above version {floor}",
                first.replica, other.replica
            );
            let (one, two) = (first.beside(&other), other.beside(&first));
            record.violation(Kind::Diverged, message, &[&one, &two])
        })
        .collect()
}

fn held_above(state: &FinalState, floor: Version) -> BTreeMap<Version, Option<&Bytes>> {
    let versions = state.versions.iter();
    versions
        .filter(|held| held.version > floor)
        .map(|held| (held.version, held.value.as_ref()))
        .collect()
}

struct Held<'a> {
    replica: ReplicaId,
    versions: BTreeMap<Version, Option<&'a Bytes>>,
}

impl Held<'_> {
    /// What only this one of the two holds.
    fn beside(&self, other: &Self) -> String {
        let own = self.versions.iter();
        let own = own.filter(|(version, value)| other.versions.get(version) != Some(value));
        let own: Vec<_> = own
            .map(|(version, value)| format!("{version} = {}", text(*value)))
            .collect();
        if own.is_empty() {
            format!("replica {}: nothing that the other lacks", self.replica)
        } else {
            format!("only replica {}: {}", self.replica, own.join(", "))
        }
    }
}
