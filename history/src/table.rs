//! A part of a history as a table, by time and node.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::types::{Outcome, RecordVersion};

use crate::operation::{Action, Answer, History, Operation, ReadKind, Test};
use crate::violation::{printable, shown, text};

/// Versions of a replica that are shown.
const VERSIONS_SHOWN_MAX: usize = 4;
const TITLES: [&str; 3] = ["who", "operation", "result"];

/// What somebody asked, or held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// From the invocation to the answer.
    pub time: String,
    pub who: String,
    pub operation: String,
    pub result: String,
}

/// In order of time. `times`: of the operations' times, in microseconds; without, those are shown themselves.
pub fn rows(history: &History, times: Option<&BTreeMap<u64, u64>>) -> Vec<Row> {
    let row = |time: &str, who: String, record: &String, held: &[RecordVersion]| Row {
        time: time.to_owned(),
        who,
        operation: format!("holds {record}"),
        result: some_of(held),
    };
    let initial = history.initial.iter().filter(|(_, held)| !held.is_empty());
    let before = initial.map(|(record, held)| row("before", "storage".to_owned(), record, held));
    let finals = history.finals.iter().flat_map(|(record, states)| {
        let states = states.iter();
        states.map(move |(replica, state)| {
            row("end", format!("replica {replica}"), record, &state.versions)
        })
    });
    let mut operations: Vec<&Operation> = history.operations.iter().collect();
    operations.sort_by(|a, b| (a.invoked_at, &a.process).cmp(&(b.invoked_at, &b.process)));
    let shown = |at: u64| match times {
        Some(times) => {
            let micros = times.get(&at).copied().unwrap_or_default();
            format!("{}.{:03}", micros / 1000, micros % 1000)
        }
        None => at.to_string(),
    };
    let asked = operations.into_iter().map(|operation| Row {
        time: format!(
            "{}..{}",
            shown(operation.invoked_at),
            operation.answered_at().map(shown).unwrap_or_default()
        ),
        who: who(operation),
        operation: asked(operation),
        result: result(operation),
    });
    before.chain(asked).chain(finals).collect()
}

fn some_of(held: &[RecordVersion]) -> String {
    let mut texts: Vec<String> = held.iter().take(VERSIONS_SHOWN_MAX).map(shown).collect();
    if texts.is_empty() {
        return "nothing".to_owned();
    }
    if held.len() > VERSIONS_SHOWN_MAX {
        texts.push(format!("and {} more", held.len() - VERSIONS_SHOWN_MAX));
    }
    texts.join(", ")
}

fn who(operation: &Operation) -> String {
    let mut who = operation.process.clone();
    if let Some(replica) = operation.replica {
        let _ = write!(who, " at replica {replica}");
    }
    if let Some(session) = &operation.session {
        let _ = write!(who, " in {session}");
    }
    who
}

fn asked(operation: &Operation) -> String {
    let record = &operation.record;
    match &operation.action {
        Action::Read { kind, .. } => match kind {
            ReadKind::Local | ReadKind::Pinned => format!("read {record}"),
            ReadKind::Linearizable => format!("linearizable read {record}"),
            ReadKind::Exactly => format!("read {record}, a version"),
        },
        Action::Write { value, .. } => format!("write {record} := {}", text(value.as_ref())),
        Action::Update { test, new, .. } => {
            let new = text(new.as_ref());
            match test {
                Test::Value(old) => {
                    format!("updateIfValueIs {record}: {} := {new}", text(old.as_ref()))
                }
                Test::Version(version) => format!("updateIfVersionIs {record}: {version} := {new}"),
            }
        }
    }
}

fn result(operation: &Operation) -> String {
    fn told<T>(answer: Option<&Answer<T>>, tell: impl FnOnce(&T) -> String) -> String {
        answer.map_or_else(|| "unknown".to_owned(), |answer| tell(&answer.result))
    }
    match &operation.action {
        Action::Read { answer, .. } => told(answer.as_ref(), shown),
        Action::Write { answer, .. } => told(answer.as_ref(), ToString::to_string),
        Action::Update { answer, .. } => told(answer.as_ref(), |outcome| match outcome {
            Outcome::Updated { base, made } => format!("{} on {base}", made.version),
            Outcome::Mismatch { found } => format!("mismatch, found {}", shown(found)),
        }),
    }
}

/// Indented; `times_are`: the title of the first column.
pub fn table(rows: &[Row], times_are: &str) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let [who, operation, result] = TITLES;
    let mut lines = vec![[times_are, who, operation, result].map(str::to_owned)];
    let cells = rows
        .iter()
        .map(|row| [&row.time, &row.who, &row.operation, &row.result]);
    lines.extend(cells.map(|cells| cells.map(|cell| printable(cell))));
    let mut widths = [0; 4];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(table, "  {cell:<width$}");
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    table
}
