//! In the end all replicas of a record hold the same, and whatever was acknowledged or shown is among it (I4, I7).
//!
//! Says nothing about versions up to a floor: they were discarded, at different times by different replicas.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::types::{ReplicaId, Version};

use crate::operation::FinalState;
use crate::record::{Named, RecordHistory, Source};
use crate::violation::{Kind, Violation, text};
use common::types::Level;

/// Versions that a message shows of each replica.
const EVIDENCE_MAX: usize = 8;

pub fn check(record: &RecordHistory) -> Vec<Violation> {
    let mut found = missing(record);
    found.extend(diverged(record));
    found
}

/// What must be in every final state: whatever was acknowledged, and whatever was shown.
fn kept<'a>(record: &RecordHistory<'a>) -> BTreeMap<Version, Named<'a>> {
    let levels: BTreeMap<Version, Level> = record
        .writes()
        .filter_map(|write| Some((*write.answer?.result, write.level)))
        .collect();
    let is_kept = |named: &Named| {
        let level = levels.get(&named.version).unwrap_or(&Level::One);
        !record.history.may_be_lost(named.version, *level)
            && !matches!(named.source, Source::Final(_))
    };
    let mut kept = BTreeMap::new();
    let named = record.made().into_iter().chain(record.seen());
    for named in named.filter(is_kept) {
        kept.entry(named.version).or_insert(named);
    }
    kept
}

fn missing(record: &RecordHistory) -> Vec<Violation> {
    if record.history.finals.is_empty() {
        return Vec::new();
    }
    let kept = kept(record);
    let mut found = Vec::new();
    if let (None, Some((version, named))) = (record.finals().next(), kept.last_key_value())
        && !version.is_null()
    {
        let message = format!("no replica of the record is left, nor version {version}");
        found.push(record.violation(Kind::Missing, message, &[named]));
    }
    for (replica, state) in record.finals() {
        let held = held_above(state, state.floor);
        let missing = kept
            .iter()
            .filter(|(version, _)| **version > state.floor && !held.contains_key(version));
        for (version, named) in missing {
            let message = format!("version {version} was there and is not at replica {replica}");
            found.push(record.violation(Kind::Missing, message, &[named]));
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
            .take(EVIDENCE_MAX)
            .collect();
        if own.is_empty() {
            format!("replica {}: nothing that the other lacks", self.replica)
        } else {
            format!("only replica {}: {}", self.replica, own.join(", "))
        }
    }
}
