//! An update id is decided once and always answered alike (I5).
//!
//! Relies on repeats coming within the time for which replicas remember outcomes (`storage::core::record::LOG_RECORDS_MAX`).

use std::fmt::Display;

use crate::record::RecordHistory;
use crate::violation::{Kind, Violation, name};
use common::types::Outcome;

pub fn check(record: &RecordHistory) -> Vec<Violation> {
    let mut found = Vec::new();
    for update in &record.updates {
        let Some((first, repeats)) = update.answers.split_first() else {
            continue;
        };
        for repeat in repeats {
            let id = name(update.id);
            let (kind, message) = match (first.result.made(), repeat.result.made()) {
                (Some(one), Some(two)) if one != two => (
                    Kind::ExecutedTwice,
                    format!("update {id} has made versions {one} and {two}"),
                ),
                _ if !are_alike(first.result, repeat.result) => (
                    Kind::DifferentAnswers,
                    format!("calls of update {id} were answered differently"),
                ),
                _ => continue,
            };
            let evidence: [&dyn Display; 2] = [first.operation, repeat.operation];
            found.push(record.violation(kind, message, &evidence));
        }
    }
    found
}

/// The answer to a late repeat names the version that was made, without its value.
fn are_alike(one: &Outcome, two: &Outcome) -> bool {
    match (one, two) {
        (
            Outcome::Updated { base: one, made },
            Outcome::Updated {
                base: two,
                made: repeated,
            },
        ) => (one, made.version) == (two, repeated.version),
        _ => one == two,
    }
}
