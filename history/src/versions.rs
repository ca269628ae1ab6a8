//! What versions say by themselves: adjacency (I2, I3), one value for ever (I8), and whether tests were made rightly.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;

use bytes::Bytes;
use common::types::Version;

use crate::operation::Test;
use crate::record::{Named, RecordHistory, Update};
use crate::violation::{Kind, Violation, name, text};
use common::types::Outcome;

pub fn check(record: &RecordHistory) -> Vec<Violation> {
    let mut found = wrong_versions(record);
    found.extend(two_successors(record));
    found.extend(reused_versions(record));
    found.extend(wrong_tests(record));
    found
}

/// Not `Version::successor`: a history from a file may hold the last step that there is.
pub(crate) fn is_successor(base: Version, made: Version) -> bool {
    let parts = |version: Version| (version.number, version.replica);
    parts(base) == parts(made) && base.step.checked_add(1) == Some(made.step)
}

fn wrong_versions(record: &RecordHistory) -> Vec<Violation> {
    let mut found = Vec::new();
    for write in record.writes() {
        if let Some(answer) = &write.answer
            && (answer.result.number == 0 || answer.result.step > 0)
        {
            let message = format!("no plain write makes version {}", answer.result);
            found.push(record.violation(Kind::WrongVersion, message, &[write.operation]));
        }
    }
    for answer in record.updates.iter().flat_map(|update| &update.answers) {
        if let Outcome::Updated { base, made } = answer.result
            && !is_successor(*base, made.version)
        {
            let made = made.version;
            let message = format!("an update made {made}, not the successor of its base {base}");
            found.push(record.violation(Kind::WrongVersion, message, &[answer.operation]));
        }
    }
    found
}

fn two_successors(record: &RecordHistory) -> Vec<Violation> {
    let mut first: BTreeMap<Version, &Update> = BTreeMap::new();
    let mut found = Vec::new();
    for update in &record.updates {
        let Some(answer) = update.answers.first() else {
            continue;
        };
        let Outcome::Updated { base, .. } = answer.result else {
            continue;
        };
        let other = first.entry(*base).or_insert(update);
        if let Some(earlier) = other.answers.first().filter(|_| other.id != update.id) {
            let (one, two) = (name(other.id), name(update.id));
            let message = format!("updates {one} and {two} have both succeeded on version {base}");
            let evidence: [&dyn Display; 2] = [earlier.operation, answer.operation];
            found.push(record.violation(Kind::TwoSuccessors, message, &evidence));
        }
    }
    found
}

fn reused_versions(record: &RecordHistory) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut writes = BTreeMap::new();
    for write in record.writes() {
        let Some(version) = write.answer.map(|answer| *answer.result) else {
            continue;
        };
        // Two values are reported below.
        if let Some((other, value)) = writes.insert(version, (write.operation, write.value))
            && value == write.value
        {
            let message = format!("two writes were given version {version}");
            found.push(record.violation(Kind::ReusedVersion, message, &[other, write.operation]));
        }
    }
    let mut named: BTreeMap<Version, Named> = BTreeMap::new();
    for claim in record.made().into_iter().chain(record.seen()) {
        match named.entry(claim.version) {
            Entry::Vacant(vacant) => {
                vacant.insert(claim);
            }
            Entry::Occupied(first) if first.get().value != claim.value => {
                let (one, two) = (text(first.get().value), text(claim.value));
                let message = format!("version {} names {one} and {two}", claim.version);
                let evidence: [&dyn Display; 2] = [first.get(), &claim];
                found.push(record.violation(Kind::ReusedVersion, message, &evidence));
            }
            Entry::Occupied(_) => {}
        }
    }
    found
}

fn wrong_tests(record: &RecordHistory) -> Vec<Violation> {
    let mut known: BTreeMap<Version, Option<&Bytes>> = BTreeMap::new();
    for claim in record.made().into_iter().chain(record.seen()) {
        known.entry(claim.version).or_insert(claim.value);
    }
    let mut found = Vec::new();
    for update in &record.updates {
        for answer in &update.answers {
            let message = match (answer.result, update.test) {
                (Outcome::Updated { base, .. }, Test::Version(tested)) if base != tested => {
                    format!("the update tests for version {tested} and has succeeded on {base}")
                }
                (Outcome::Updated { base, .. }, Test::Value(old)) => match known.get(base) {
                    Some(value) if *value != old.as_ref() => {
                        let (old, value) = (text(old.as_ref()), text(*value));
                        format!(
                            "the update tests for {old} and has succeeded on {base}, which is {value}"
                        )
                    }
                    _ => continue,
                },
                (Outcome::Mismatch { found }, test)
                    if test.passes(found.version, found.value.as_ref()) =>
                {
                    "the update has failed, though it found what it tests for".to_owned()
                }
                _ => continue,
            };
            found.push(record.violation(Kind::WrongTest, message, &[answer.operation]));
        }
    }
    found
}
