//! A short notation for histories: `span` is when an operation was invoked and answered, `-` an absent value, and what
//! a function does not say can be added by its result's fields.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::types::Level;
use common::types::Outcome;
use common::types::{RecordVersion, ReplicaId, UpdateId, Version};
use history::{Action, Answer, FinalState, History, Kind, Operation, ReadKind, Test, check_all};

pub type Span = (u64, u64);

pub fn value(text: &str) -> Option<Bytes> {
    (text != "-").then(|| Bytes::copy_from_slice(text.as_bytes()))
}

pub fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// `3.1=a`
pub fn held(text: &str) -> RecordVersion {
    let (number, text) = text.split_once('=').unwrap();
    RecordVersion {
        version: version(number),
        value: value(text),
    }
}

pub fn operation(invoked_at: u64, action: Action) -> Operation {
    Operation {
        process: format!("client-{invoked_at}"),
        session: None,
        record: "r".to_owned(),
        replica: None,
        invoked_at,
        action,
    }
}

pub fn id(text: &str) -> UpdateId {
    UpdateId {
        origin: text.to_owned(),
        sequence: 0,
    }
}

pub fn update(
    span: (u64, Option<u64>),
    name: &str,
    test: Test,
    new: &str,
    outcome: Option<Outcome>,
) -> Operation {
    let answer = span
        .1
        .zip(outcome)
        .map(|(at, result)| Answer { at, result });
    operation(
        span.0,
        Action::Update {
            id: id(name),
            test,
            new: value(new),
            answer,
        },
    )
}

pub fn succeeded(base: &str, new: &str) -> Outcome {
    let base = version(base);
    Outcome::Updated {
        base,
        made: RecordVersion {
            version: base.successor(),
            value: value(new),
        },
    }
}

/// The update `name` from `old` to `new` has succeeded on `base`.
pub fn updated(span: Span, name: &str, old: &str, new: &str, base: &str) -> Operation {
    let test = Test::Value(value(old));
    update(
        (span.0, Some(span.1)),
        name,
        test,
        new,
        Some(succeeded(base, new)),
    )
}

/// The update `name` from version `base` to `new` has succeeded.
pub fn updated_version(span: Span, name: &str, base: &str, new: &str) -> Operation {
    let test = Test::Version(version(base));
    update(
        (span.0, Some(span.1)),
        name,
        test,
        new,
        Some(succeeded(base, new)),
    )
}

pub fn failed(span: Span, name: &str, old: &str, new: &str, found: &str) -> Operation {
    let outcome = Outcome::Mismatch { found: held(found) };
    let test = Test::Value(value(old));
    update((span.0, Some(span.1)), name, test, new, Some(outcome))
}

/// An update without answer.
pub fn tried(invoked_at: u64, name: &str, old: &str, new: &str) -> Operation {
    update((invoked_at, None), name, Test::Value(value(old)), new, None)
}

pub fn read(span: Span, found: &str) -> Operation {
    let kind = ReadKind::Local;
    let answer = Some(Answer {
        at: span.1,
        result: held(found),
    });
    operation(span.0, Action::Read { kind, answer })
}

pub fn linearizable_read(span: Span, found: &str) -> Operation {
    let kind = ReadKind::Linearizable;
    let answer = Some(Answer {
        at: span.1,
        result: held(found),
    });
    operation(span.0, Action::Read { kind, answer })
}

/// All reads of one replica are those of a run.
pub fn pin(history: &mut History) {
    for operation in &mut history.operations {
        if let Action::Read { kind, .. } = &mut operation.action
            && *kind == ReadKind::Local
        {
            *kind = ReadKind::Pinned;
        }
    }
}

/// `made`: as in `3.1=a`.
pub fn written(span: Span, level: Level, made: &str) -> Operation {
    let RecordVersion { version, value } = held(made);
    let answer = Some(Answer {
        at: span.1,
        result: version,
    });
    operation(
        span.0,
        Action::Write {
            value,
            level,
            answer,
        },
    )
}

/// A write without answer.
pub fn tried_write(invoked_at: u64, text: &str) -> Operation {
    operation(
        invoked_at,
        Action::Write {
            value: value(text),
            level: Level::One,
            answer: None,
        },
    )
}

pub fn in_session(mut operations: Vec<Operation>) -> Vec<Operation> {
    for operation in &mut operations {
        operation.session = Some("run-1".to_owned());
    }
    operations
}

pub fn at_replica(replica: ReplicaId, mut operation: Operation) -> Operation {
    operation.replica = Some(replica);
    operation
}

pub fn history(operations: Vec<Operation>) -> History {
    History {
        operations,
        ..History::default()
    }
}

/// Each replica from 1 as its floor and what it holds.
pub fn ends(mut history: History, replicas: &[(&str, &[&str])]) -> History {
    let state = |(floor, versions): &(&str, &[&str])| FinalState {
        floor: version(floor),
        versions: versions.iter().map(|text| held(text)).collect(),
    };
    let states: BTreeMap<_, _> = (1..).zip(replicas.iter().map(state)).collect();
    history.finals.insert("r".to_owned(), states);
    history
}

/// The kinds of violations that are found, and the full report.
pub fn report(history: &History) -> (Vec<Kind>, String) {
    let found = check_all(history);
    let mut kinds: Vec<_> = found.iter().map(|violation| violation.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    (kinds, lines.join("\n"))
}

#[track_caller]
pub fn accept(history: &History) {
    let (kinds, report) = report(history);
    assert!(kinds.is_empty(), "a false alarm:\n{report}");
}

/// Exactly these kinds are found, in the order in which `Kind` lists them.
#[track_caller]
pub fn reject(history: &History, expected: &[Kind]) {
    let (kinds, report) = report(history);
    assert_eq!(kinds, expected, "\n{report}");
}
