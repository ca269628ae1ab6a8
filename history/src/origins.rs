//! Nothing is seen that was never made: each version comes from a write or an update that was invoked before.
//!
//! What has no known maker may be the work of an operation whose outcome is unknown. Such an operation makes one
//! version at most, so each value needs as many of them as there are versions to explain.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;

use bytes::Bytes;
use common::types::Version;

use crate::operation::Test;
use crate::record::{Answered, Named, RecordHistory, Source};
use crate::violation::{Kind, Violation};
use common::types::Outcome;

pub fn check(record: &RecordHistory) -> Vec<Violation> {
    let makers = first(record.made());
    let mut seen = record.seen();
    seen.extend(compared_by_value(record));
    let seen = first(seen);
    let mut unknown = Unknown::new(record);
    let mut found = Vec::new();
    let mut report = |message: String, evidence: &[&dyn Display]| {
        found.push(record.violation(Kind::Phantom, message, evidence));
    };
    for (base, answer) in compared_by_version(record) {
        match makers.get(&base) {
            Some(made) if made.at > answer.at => report(too_early(base), &[answer.operation, made]),
            None if !seen.contains_key(&base) && !unknown.may_explain(base, answer.at) => {
                report(from_nowhere(base), &[answer.operation]);
            }
            _ => {}
        }
    }
    let mut orphans = Vec::new();
    for seen in seen.into_values() {
        match makers.get(&seen.version) {
            None => orphans.push(seen),
            Some(made) if made.at > seen.at => report(too_early(seen.version), &[&seen, made]),
            Some(_) => {}
        }
    }
    orphans.sort_by_key(|seen| seen.at);
    for orphan in orphans {
        if !unknown.explains(&orphan) {
            report(from_nowhere(orphan.version), &[&orphan]);
        }
    }
    found
}

fn too_early(version: Version) -> String {
    format!("version {version} was seen before it was asked for")
}

fn from_nowhere(version: Version) -> String {
    format!("nothing that was asked for by then can have made version {version}")
}

/// Of each version, who made or saw it first.
fn first(named: Vec<Named>) -> BTreeMap<Version, Named> {
    let mut first: BTreeMap<Version, Named> = BTreeMap::new();
    for named in named {
        if first
            .get(&named.version)
            .is_none_or(|known| named.at < known.at)
        {
            first.insert(named.version, named);
        }
    }
    first
}

/// The bases of successful updates.
fn bases<'r, 'a>(
    record: &'r RecordHistory<'a>,
) -> impl Iterator<Item = (&'a Test, Version, &'r Answered<'a, Outcome>)> {
    record.updates.iter().flat_map(|update| {
        let answers = update.answers.iter();
        answers.filter_map(|answer| match answer.result {
            Outcome::Updated { base, .. } => Some((update.test, *base, answer)),
            Outcome::Mismatch { .. } => None,
        })
    })
}

/// They must have existed, with the value that was compared.
fn compared_by_value<'a>(record: &RecordHistory<'a>) -> impl Iterator<Item = Named<'a>> {
    bases(record).filter_map(|(test, version, answer)| match test {
        Test::Value(old) => Some(Named {
            version,
            value: old.as_ref(),
            at: answer.at,
            source: Source::Operation(answer.operation),
        }),
        Test::Version(_) => None,
    })
}

/// Of these nobody may know the value.
fn compared_by_version<'r, 'a>(
    record: &'r RecordHistory<'a>,
) -> impl Iterator<Item = (Version, &'r Answered<'a, Outcome>)> {
    let by_version = bases(record).filter(|(test, ..)| matches!(test, Test::Version(_)));
    by_version.map(|(_, base, answer)| (base, answer))
}

/// When the operations without outcome were invoked, in order of time; by what they would make.
struct Unknown<'a> {
    writes: BTreeMap<Option<&'a Bytes>, VecDeque<u64>>,
    updates: BTreeMap<Option<&'a Bytes>, VecDeque<u64>>,
}

impl<'a> Unknown<'a> {
    fn new(record: &RecordHistory<'a>) -> Self {
        let writes = record.writes().filter(|write| write.answer.is_none());
        let updates = record
            .updates
            .iter()
            .filter(|update| update.answers.is_empty());
        Self {
            writes: by_value(writes.map(|write| (write.value, write.operation.invoked_at))),
            updates: by_value(updates.map(|update| (update.new, update.invoked_at))),
        }
    }

    fn may_explain(&self, version: Version, at: u64) -> bool {
        let operations = if version.step == 0 {
            &self.writes
        } else {
            &self.updates
        };
        operations
            .values()
            .flatten()
            .any(|invoked_at| *invoked_at <= at)
    }

    /// Asked in order of time, so that the earliest operation is always as good as any.
    fn explains(&mut self, orphan: &Named<'a>) -> bool {
        let operations = if orphan.version.step == 0 {
            &mut self.writes
        } else {
            &mut self.updates
        };
        operations.get_mut(&orphan.value).is_some_and(|invoked| {
            let exists = invoked.front().is_some_and(|first| *first <= orphan.at);
            exists && invoked.pop_front().is_some()
        })
    }
}

fn by_value<'a>(
    operations: impl Iterator<Item = (Option<&'a Bytes>, u64)>,
) -> BTreeMap<Option<&'a Bytes>, VecDeque<u64>> {
    let mut invoked: Vec<_> = operations.collect();
    invoked.sort_by_key(|(_, invoked_at)| *invoked_at);
    let mut by_value: BTreeMap<_, VecDeque<_>> = BTreeMap::new();
    for (value, invoked_at) in invoked {
        by_value.entry(value).or_default().push_back(invoked_at);
    }
    by_value
}
