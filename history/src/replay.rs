//! From the lines of a file to the operations that the checkers look at.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::types::{Level, Outcome, RecordVersion, UpdateId, Version};

use crate::line::{self, Event, Function, Line};
use crate::operation::{Action, Answer, FinalState, History, Operation, ReadKind, Test};
use crate::reader::Recorded;

/// The origin of updates without an id.
pub const UNNAMED: &str = "operation";

/// What the file tells. Times are numbers of lines: their order is all that counts.
pub fn history(recorded: &Recorded) -> History {
    let mut history = History::default();
    let mut invoked: BTreeMap<u64, usize> = BTreeMap::new();
    let mut refused = BTreeSet::new();
    for (at, line) in &recorded.lines {
        let number = line.operation.unwrap_or_default();
        match line.event {
            Event::Invoke => {
                invoked.insert(number, history.operations.len());
                history.operations.push(operation(*at, line));
            }
            Event::Ok | Event::Fail => {
                let index = invoked.get(&number).copied().unwrap_or(usize::MAX);
                if let Some(operation) = history.operations.get_mut(index)
                    && !complete(operation, *at, line)
                {
                    refused.insert(index);
                }
            }
            Event::Unknown => {}
            Event::Initial => {
                let versions = history.initial.entry(record(line)).or_default();
                versions.push(found(line));
            }
            Event::Final => {
                let states = history.finals.entry(record(line)).or_default();
                let versions = line.versions.iter();
                let state = FinalState {
                    versions: versions
                        .filter_map(|held| held.record_version().ok())
                        .collect(),
                    floor: line.floor.unwrap_or_default(),
                };
                states.insert(line.replica.unwrap_or_default(), state);
            }
            Event::Lost => {
                history.lost.insert(line.replica.unwrap_or_default());
            }
        }
    }
    let mut index = 0..;
    history
        .operations
        .retain(|_| index.next().is_none_or(|index| !refused.contains(&index)));
    tell_attempts_apart(&mut history.operations);
    history
}

fn record(line: &Line) -> String {
    line.record.clone().unwrap_or_default()
}

/// The reader has refused what is no base64.
fn value(line: &Line) -> Option<Bytes> {
    line.value_bytes().unwrap_or_default()
}

fn found(line: &Line) -> RecordVersion {
    RecordVersion {
        version: line.version.unwrap_or_default(),
        value: value(line),
    }
}

fn operation(at: u64, line: &Line) -> Operation {
    let number = line.operation.unwrap_or_default();
    let test = match line.function {
        Some(Function::UpdateIfValueIs) => Some(Test::Value(line.old_bytes().unwrap_or_default())),
        Some(Function::UpdateIfVersionIs) => {
            Some(Test::Version(line.old_version.unwrap_or_default()))
        }
        _ => None,
    };
    let action = match (test, line.function) {
        (Some(test), _) => Action::Update {
            id: update_id(line.id.as_deref(), number),
            test,
            new: value(line),
            answer: None,
        },
        (None, Some(Function::Write)) => Action::Write {
            value: value(line),
            level: match line.level.unwrap_or_default() {
                line::Level::One => Level::One,
                line::Level::Majority => Level::Majority,
                line::Level::All => Level::All,
            },
            answer: None,
        },
        _ => Action::Read {
            kind: match line.read.unwrap_or_default() {
                line::Kind::Local => ReadKind::Local,
                line::Kind::Pinned => ReadKind::Pinned,
                line::Kind::Linearizable => ReadKind::Linearizable,
                line::Kind::Exactly => ReadKind::Exactly,
            },
            answer: None,
        },
    };
    Operation {
        process: line.process.clone().unwrap_or_default(),
        session: line.session.clone(),
        record: record(line),
        replica: line.replica,
        invoked_at: at,
        action,
    }
}

/// `w1/7` is number 7 of `w1`. An update without an id is like no other.
fn update_id(id: Option<&str>, number: u64) -> UpdateId {
    let Some(id) = id else {
        return UpdateId {
            origin: UNNAMED.to_owned(),
            sequence: number,
        };
    };
    let split = id.rsplit_once('/').and_then(|(origin, sequence)| {
        let number: u64 = sequence.parse().ok()?;
        (number.to_string() == sequence).then_some((origin, number))
    });
    let (origin, sequence) = split.unwrap_or((id, 0));
    UpdateId {
        origin: origin.to_owned(),
        sequence,
    }
}

/// False: it was refused and has no effect.
fn complete(operation: &mut Operation, at: u64, line: &Line) -> bool {
    let Some(version) = line.version else {
        return false;
    };
    operation.replica = line.replica.or(operation.replica);
    let has_failed = line.event == Event::Fail;
    match &mut operation.action {
        Action::Read { answer, .. } => {
            let result = found(line);
            *answer = Some(Answer { at, result });
        }
        Action::Write { answer, .. } => {
            let result = version;
            *answer = Some(Answer { at, result });
        }
        Action::Update { answer, .. } if has_failed => {
            let result = Outcome::Mismatch { found: found(line) };
            *answer = Some(Answer { at, result });
        }
        Action::Update { answer, new, .. } => {
            // Without a predecessor it is its own base, which is wrong.
            let step = version.step.saturating_sub(1);
            let base = line.base.unwrap_or(Version { step, ..version });
            let value = new.clone();
            let made = RecordVersion { version, value };
            let result = Outcome::Updated { base, made };
            *answer = Some(Answer { at, result });
        }
    }
    true
}

/// A second attempt at a task may ask for something else under the id of an update of the first one, when that has not
/// happened. Where nobody knows what became of the first one, it is taken for an update of its own.
fn tell_attempts_apart(operations: &mut [Operation]) {
    let mut asked: BTreeMap<UpdateId, (Test, Option<Bytes>)> = BTreeMap::new();
    let is_answered = |operation: &Operation| operation.answered_at().is_some();
    let (answered, unknown): (Vec<_>, Vec<_>) = operations
        .iter_mut()
        .partition(|operation| is_answered(operation));
    for (number, operation) in answered.into_iter().chain(unknown).enumerate() {
        let is_unknown = !is_answered(operation);
        let Action::Update { id, test, new, .. } = &mut operation.action else {
            continue;
        };
        let first = asked
            .entry(id.clone())
            .or_insert_with(|| (test.clone(), new.clone()));
        if is_unknown && (&first.0, &first.1) != (&*test, &*new) {
            id.origin = format!("{}, unknown call {number}", id.origin);
        }
    }
}
