//! What one run or script sees (DESIGN.md §7): its own writes, never something older than before, and, if its reads are
//! repeatable, what it saw first.
//!
//! An update is ordered with all others and not by its session: it may be tested against a version older than what a
//! session has read at a replica or written there. It takes the session along, to what it made or found.

use std::collections::BTreeMap;
use std::fmt::Display;

use common::types::Version;

use crate::operation::{Action, Operation, ReadKind};
use crate::record::RecordHistory;
use crate::violation::{Kind, Violation};
use common::types::Level;

pub fn check(record: &RecordHistory) -> Vec<Violation> {
    let mut sessions: BTreeMap<&str, Seen> = BTreeMap::new();
    let mut found = Vec::new();
    for operation in &record.operations {
        let (Some(session), Some(version)) = (&operation.session, operation.version()) else {
            continue;
        };
        if is_of_any_age(operation) {
            continue;
        }
        let next = Seen { version, operation };
        let Some(seen) = sessions.get_mut(session.as_str()) else {
            sessions.insert(session, next);
            continue;
        };
        // What is gone with its replica is gone for the session too, and its next read finds something older.
        let is_lost = record.history.may_be_lost(seen.version, Level::One);
        if !is_lost && let Some((kind, message)) = seen.broken_by(&next) {
            let evidence: [&dyn Display; 2] = [seen.operation, operation];
            found.push(record.violation(kind, message, &evidence));
        }
        let takes_along = matches!(operation.action, Action::Update { .. });
        if takes_along || is_lost || version >= seen.version {
            *seen = next;
        }
    }
    found
}

fn is_of_any_age(operation: &Operation) -> bool {
    let Action::Read { kind, .. } = &operation.action else {
        return false;
    };
    *kind == ReadKind::Exactly
}

/// The last version that a session has read, made or found of a record.
struct Seen<'a> {
    version: Version,
    operation: &'a Operation,
}

impl Seen<'_> {
    fn broken_by(&self, next: &Self) -> Option<(Kind, String)> {
        let (seen, version) = (self.version, next.version);
        match &next.operation.action {
            Action::Read { .. } if version < seen => Some(match self.operation.action {
                Action::Read { .. } => (
                    Kind::ReadWentBack,
                    format!("a session has read {seen}, then the older {version}"),
                ),
                Action::Write { .. } | Action::Update { .. } => (
                    Kind::OwnWriteUnseen,
                    format!("a session has written or found {seen}, then read the older {version}"),
                ),
            }),
            Action::Read {
                kind: ReadKind::Pinned,
                ..
            } if version != seen => Some((
                Kind::NotRepeatable,
                format!("a run has pinned {seen}, then read {version}"),
            )),
            // Its number, not only its place in the order: the number is what the session gave along.
            Action::Write { .. } if version.number <= seen.number => Some((
                Kind::WriteBelowSeen,
                format!("a session has seen {seen}, then its write was given {version}"),
            )),
            _ => None,
        }
    }
}
