//! Runs and what they did, in JSON.

use common::proto;
use serde::Serialize;
use utoipa::ToSchema;

use super::shapes::{Content, VersionText};

/// One execution of an application on an input.
#[derive(Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "it is called so everywhere")]
pub struct Run {
    run: u64,
    application_name: String,
    input: String,
    state: RunState,
    /// Why it has no output: of a run that has failed or expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    elapsed_ms: u64,
    stages: Vec<Stage>,
    /// What the last stage returned; of a completed run, not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    output: Option<Vec<Item>>,
    /// Each record that it has read or written, with the version; of a completed run, not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    records: Option<Vec<Pin>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RunState {
    Running,
    Completed,
    Failed,
    Cancelled,
    Expired,
}

#[derive(Debug, Serialize, ToSchema)]
struct Stage {
    order: u32,
    class: String,
    /// Absent: it is not placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    worker: Option<String>,
    done: bool,
    /// Attempts made, 1 when nothing failed.
    attempts: u32,
    queue_ms: u64,
    /// Until the operator was ready to run: fetched, compiled.
    cold_ms: u64,
    /// In the operator, with `cold_ms`.
    run_ms: u64,
    /// Of a `map` or `reduce` that has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tasks: Option<Tasks>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Tasks {
    all: u32,
    done: u32,
}

#[derive(Debug, Serialize, ToSchema)]
struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
    value: Content,
}

#[derive(Debug, Serialize, ToSchema)]
struct Pin {
    id: String,
    version: VersionText,
}

/// Runs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Runs {
    runs: Vec<Run>,
}

/// What became of a run's tasks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Trace {
    /// In the order in which their ends became known; at most the 10,000 newest.
    tasks: Vec<Task>,
    /// What the run waits for, or that it has ended; for people.
    waits_for: String,
}

/// One attempt that has ended: at a stage, or at a task of a `map` or `reduce`.
#[derive(Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "it is called so everywhere")]
struct Task {
    order: u32,
    /// The number of the task within a `map` or `reduce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    task: Option<u32>,
    class: String,
    worker: String,
    attempt: u32,
    queue_ms: u64,
    cold_ms: u64,
    run_ms: u64,
    /// Absent: it returned items.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// Its first storage calls, at most 64.
    calls: Vec<Call>,
    /// All its storage calls.
    calls_count: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Call {
    kind: CallKind,
    record: String,
    /// Read or made; of a failed comparison, what was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    version: Option<VersionText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CallKind {
    Read,
    Write,
    Update,
}

impl From<proto::RunReport> for Run {
    fn from(report: proto::RunReport) -> Self {
        let state = match report.state() {
            proto::RunState::Completed => RunState::Completed,
            proto::RunState::Failed => RunState::Failed,
            proto::RunState::Cancelled => RunState::Cancelled,
            proto::RunState::Expired => RunState::Expired,
            proto::RunState::Running | proto::RunState::Unspecified => RunState::Running,
        };
        Self {
            run: report.run,
            application_name: report.application_name,
            input: report.input,
            state,
            error: told(report.error),
            elapsed_ms: report.elapsed_ms,
            stages: report.stages.into_iter().map(Stage::from).collect(),
            output: some(report.output),
            records: some(report.pins),
        }
    }
}

impl From<proto::RunsResponse> for Runs {
    fn from(response: proto::RunsResponse) -> Self {
        Self {
            runs: response.runs.into_iter().map(Run::from).collect(),
        }
    }
}

impl From<proto::TraceResponse> for Trace {
    fn from(response: proto::TraceResponse) -> Self {
        Self {
            tasks: response.tasks.into_iter().map(Task::from).collect(),
            waits_for: response.waits_for,
        }
    }
}

fn some<M, T: From<M>>(messages: Vec<M>) -> Option<Vec<T>> {
    let shapes = messages.into_iter().map(T::from).collect();
    Some(shapes).filter(|shapes: &Vec<T>| !shapes.is_empty())
}

fn told(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl From<proto::StageSummary> for Stage {
    fn from(stage: proto::StageSummary) -> Self {
        Self {
            order: stage.order,
            class: stage.class,
            worker: told(stage.worker),
            done: stage.done,
            attempts: stage.attempts,
            queue_ms: stage.queue_ms,
            cold_ms: stage.cold_ms,
            run_ms: stage.run_ms,
            tasks: (stage.tasks > 0).then_some(Tasks {
                all: stage.tasks,
                done: stage.tasks_done,
            }),
        }
    }
}

impl From<proto::Item> for Item {
    fn from(item: proto::Item) -> Self {
        Self {
            key: item.key,
            value: item.value.into(),
        }
    }
}

impl From<proto::Pin> for Pin {
    fn from(pin: proto::Pin) -> Self {
        Self {
            id: pin.record,
            version: VersionText(pin.version.unwrap_or_default().into()),
        }
    }
}

impl From<proto::TracedTask> for Task {
    fn from(task: proto::TracedTask) -> Self {
        let calls = task.calls.unwrap_or_default();
        Self {
            order: task.order,
            task: task.task,
            class: task.class,
            worker: task.worker,
            attempt: task.attempt,
            queue_ms: task.queue_ms,
            cold_ms: task.cold_ms,
            run_ms: task.run_ms,
            error: told(task.error),
            calls: calls.first.into_iter().map(Call::from).collect(),
            calls_count: calls.count,
        }
    }
}

impl From<proto::StorageCall> for Call {
    fn from(call: proto::StorageCall) -> Self {
        let kind = match call.kind() {
            proto::CallKind::Write => CallKind::Write,
            proto::CallKind::Update => CallKind::Update,
            proto::CallKind::Read | proto::CallKind::Unspecified => CallKind::Read,
        };
        Self {
            kind,
            record: call.record,
            version: call.version.map(|version| VersionText(version.into())),
            error: told(call.error),
        }
    }
}
