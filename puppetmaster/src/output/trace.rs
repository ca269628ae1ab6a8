//! What is told of one run, as text and as JSON.

use common::proto::{CallKind, StorageCall, TracedTask};
use common::types::Version;
use serde_json::{Value, json};

use super::text::{printable, table};

#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// What became of its tasks.
    Tasks(Vec<TracedTask>),
    WaitsFor(String),
}

impl Told {
    pub(super) fn text(&self, run: u64) -> String {
        match self {
            Self::Tasks(tasks) if tasks.is_empty() => format!("no task of run {run} has ended"),
            Self::Tasks(tasks) => table(&HEADER, tasks.iter().map(row)),
            Self::WaitsFor(what) => printable(what),
        }
    }

    pub(super) fn to_json(&self, run: u64) -> Value {
        match self {
            Self::Tasks(tasks) => {
                let tasks: Vec<Value> = tasks.iter().map(task_json).collect();
                json!({"event": "trace", "run": run, "tasks": tasks})
            }
            Self::WaitsFor(what) => json!({"event": "why", "run": run, "waits_for": what}),
        }
    }
}

const HEADER: [&str; 9] = [
    "stage", "operator", "worker", "attempt", "queue", "cold", "run", "result", "storage",
];

fn row(task: &TracedTask) -> Vec<String> {
    let result = match task.error.as_str() {
        "" => "done".to_owned(),
        error => printable(error),
    };
    let stage = match task.task {
        Some(number) => format!("{}.{number}", task.order),
        None => task.order.to_string(),
    };
    vec![
        stage,
        printable(&task.class),
        printable(&task.worker),
        task.attempt.to_string(),
        format!("{} ms", task.queue_ms),
        format!("{} ms", task.cold_ms),
        format!("{} ms", task.run_ms),
        result,
        calls(task).join(", "),
    ]
}

fn task_json(task: &TracedTask) -> Value {
    json!({
        "stage": task.order, "task": task.task, "class": task.class, "worker": task.worker, "attempt": task.attempt,
        "queue_ms": task.queue_ms, "cold_ms": task.cold_ms, "run_ms": task.run_ms,
        "error": (!task.error.is_empty()).then_some(&task.error), "calls": calls(task),
    })
}

/// `read 13 (1.1)`, and how many were left out.
fn calls(task: &TracedTask) -> Vec<String> {
    let Some(calls) = &task.calls else {
        return Vec::new();
    };
    let mut told: Vec<String> = calls.first.iter().map(call).collect();
    let left_out = calls.count.saturating_sub(calls.first.len() as u64);
    if left_out > 0 {
        told.push(format!("and {left_out} more"));
    }
    told
}

fn call(call: &StorageCall) -> String {
    let what = match call.kind() {
        CallKind::Write => "write",
        CallKind::Update => "update",
        CallKind::Read | CallKind::Unspecified => "read",
    };
    let version = call.version.map(Version::from);
    let version = match version {
        Some(version) if version.is_null() => " (absent)".to_owned(),
        Some(version) => format!(" ({version})"),
        None => String::new(),
    };
    let error = match call.error.as_str() {
        // An absent record is no failure.
        error if error.is_empty() || version == " (absent)" => String::new(),
        error => format!(": {}", printable(error)),
    };
    format!("{what} {}{version}{error}", printable(&call.record))
}
