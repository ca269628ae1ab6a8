//! Contradictions of a history with itself, on which no checker can build.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::operation::{Action, History, Operation, Test};
use crate::record::RecordHistory;
use crate::violation::{Kind, Violation};

pub fn check(history: &History) -> Vec<Violation> {
    let mut found = wrong_times(history);
    for record in RecordHistory::all(history) {
        for update in &record.updates {
            let Some((first, repeats)) = update.calls.split_first() else {
                continue;
            };
            if let Some(other) = repeats.iter().find(|call| asked(call) != asked(first)) {
                let message = "calls with one id ask for different updates";
                found.push(malformed(message, &[first, other]));
            }
        }
    }
    found
}

fn wrong_times(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut last_of: BTreeMap<&str, &Operation> = BTreeMap::new();
    for operation in &history.operations {
        let answered_at = operation.answered_at().unwrap_or(u64::MAX);
        if answered_at < operation.invoked_at {
            found.push(malformed("answered before it was invoked", &[operation]));
        }
        let Some(session) = &operation.session else {
            continue;
        };
        if let Some(last) = last_of.insert(session, operation)
            && last.answered_at().unwrap_or(last.invoked_at) > operation.invoked_at
        {
            let message = "operations of one session overlap, or are out of order";
            found.push(malformed(message, &[last, operation]));
        }
    }
    found
}

/// What an update compares, and what it writes.
fn asked(operation: &Operation) -> Option<(&Test, Option<&Bytes>)> {
    match &operation.action {
        Action::Update { test, new, .. } => Some((test, new.as_ref())),
        Action::Read { .. } | Action::Write { .. } => None,
    }
}

/// The last one is the one that does not fit.
fn malformed(message: &str, evidence: &[&Operation]) -> Violation {
    Violation {
        kind: Kind::Malformed,
        record: evidence
            .last()
            .map_or_else(String::new, |operation| operation.record.clone()),
        message: message.to_owned(),
        evidence: evidence.iter().map(ToString::to_string).collect(),
    }
}
