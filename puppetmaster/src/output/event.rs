//! What can be said, as data.

use super::deployment::Deployment;
use super::load::Figures;
use super::trace::Told;
use super::{Channel, run_output};
use common::diagnostic::{Diagnostic, Severity};
use common::proto::{NodeStatus, RunReport, RunState};
use common::types::Version;
use history::Verdict;
use serde_json::{Value, json};

/// One version of a record and the nodes that hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    pub key: String,
    pub version: Version,
    /// Absent: the record was deleted by this version.
    pub value: Option<String>,
    pub nodes: Option<Vec<String>>,
}

/// One thing that the puppetmaster says.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Echo(String),
    Help(String),
    /// The answer of `read`, `write`, `updateIf` and, for each record, `scan`.
    Record {
        key: String,
        version: Version,
        value: Option<String>,
    },
    /// What `watch` tells. Absent: the record was deleted.
    Change {
        key: String,
        version: Version,
        value: Option<String>,
    },
    /// `history`, `listServer`, `listGlobal`.
    Records(Vec<RecordRow>),
    /// `status`: a node that answered, or why it did not.
    Nodes(Vec<(NodeStatus, String)>),
    /// The outcome of a run.
    Run(RunReport),
    /// `runs`.
    Runs(Vec<RunReport>),
    /// `load`.
    Load(Figures),
    /// `trace`, `why`.
    OfRun(u64, Told),
    Populated {
        records: usize,
        file: String,
    },
    /// `backup`.
    Copied {
        records: u64,
        versions: u64,
        file: String,
    },
    /// `check`.
    Checked {
        file: String,
        verdict: Verdict,
    },
    /// `restore`.
    Restored {
        records: u64,
        versions: u64,
        file: String,
    },
    Deployment(Deployment),
    NodeReady {
        name: String,
        role: &'static str,
        url: String,
    },
    NodeLost {
        name: String,
        why: String,
    },
    /// A line that a node sends in debug mode.
    Debug {
        node: String,
        line: String,
    },
    Diagnostic(Diagnostic),
    /// The next command in `--step` mode.
    Step {
        place: String,
        text: String,
    },
    Message(String),
}

impl Event {
    pub fn channel(&self) -> Channel {
        match self {
            Self::Echo(_)
            | Self::Help(_)
            | Self::Record { .. }
            | Self::Change { .. }
            | Self::Records(_)
            | Self::Nodes(_)
            | Self::Run(_)
            | Self::Runs(_)
            | Self::Load(_)
            | Self::OfRun(..)
            | Self::Populated { .. }
            | Self::Copied { .. }
            | Self::Checked { .. }
            | Self::Restored { .. }
            | Self::Deployment(_) => Channel::Result,
            Self::NodeReady { .. }
            | Self::NodeLost { .. }
            | Self::Debug { .. }
            | Self::Diagnostic(_)
            | Self::Step { .. }
            | Self::Message(_) => Channel::Message,
        }
    }

    /// One object, with the kind of event as `event`.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Echo(text) => json!({"event": "echo", "text": text}),
            Self::Help(text) => json!({"event": "help", "text": text}),
            Self::Record {
                key,
                version,
                value,
            } => {
                json!({"event": "record", "key": key, "version": version.to_string(), "value": value})
            }
            Self::Change {
                key,
                version,
                value,
            } => {
                json!({"event": "change", "key": key, "version": version.to_string(), "value": value})
            }
            Self::Records(rows) => {
                let rows: Vec<Value> = rows.iter().map(record_json).collect();
                json!({"event": "records", "records": rows})
            }
            Self::Nodes(rows) => {
                let rows = rows.iter().map(|(status, state)| node_json(status, state));
                let rows: Vec<Value> = rows.collect();
                json!({"event": "status", "nodes": rows})
            }
            Self::Run(report) => {
                let mut object = run_json(report);
                if let Some(object) = object.as_object_mut() {
                    object.insert("event".to_owned(), json!("run"));
                }
                object
            }
            Self::Runs(reports) => {
                let reports: Vec<Value> = reports.iter().map(run_json).collect();
                json!({"event": "runs", "runs": reports})
            }
            Self::Load(figures) => figures.to_json(),
            Self::OfRun(run, told) => told.to_json(*run),
            Self::Populated { records, file } => {
                json!({"event": "populated", "records": records, "file": file})
            }
            Self::Copied {
                records,
                versions,
                file,
            } => {
                json!({"event": "backup", "records": records, "versions": versions, "file": file})
            }
            Self::Checked { file, verdict } => verdict.json(file),
            Self::Restored {
                records,
                versions,
                file,
            } => {
                json!({"event": "restore", "records": records, "versions": versions, "file": file})
            }
            Self::Deployment(deployment) => deployment.to_json(),
            Self::NodeReady { name, role, url } => {
                json!({"event": "node_ready", "node": name, "role": role, "url": url})
            }
            Self::NodeLost { name, why } => json!({"event": "node_lost", "node": name, "why": why}),
            Self::Debug { node, line } => json!({"event": "debug", "node": node, "line": line}),
            Self::Diagnostic(diagnostic) => diagnostic_json(diagnostic),
            Self::Step { place, text } => json!({"event": "step", "place": place, "text": text}),
            Self::Message(text) => json!({"event": "message", "text": text}),
        }
    }
}

fn record_json(row: &RecordRow) -> Value {
    json!({"key": row.key, "version": row.version.to_string(), "value": row.value, "nodes": row.nodes})
}

fn node_json(status: &NodeStatus, state: &str) -> Value {
    let details: serde_json::Map<String, Value> = status
        .details
        .iter()
        .map(|detail| (detail.name.clone(), json!(detail.value)))
        .collect();
    let peers: Vec<Value> = status
        .peers
        .iter()
        .map(|peer| json!({"node": peer.name, "state": peer.state, "silent_ms": peer.silent_ms}))
        .collect();
    json!({
        "node": status.name, "role": status.role, "url": status.url, "state": state,
        "uptime_ms": status.uptime_ms, "details": details, "peers": peers,
    })
}

/// The word for a run's state.
pub fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Unspecified => "unknown",
        RunState::Running => "running",
        RunState::Completed => "completed",
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
        RunState::Expired => "expired",
    }
}

fn run_json(report: &RunReport) -> Value {
    let stages: Vec<Value> = report
        .stages
        .iter()
        .map(|stage| {
            json!({
                "order": stage.order, "class": stage.class, "worker": stage.worker, "attempts": stage.attempts,
                "queue_ms": stage.queue_ms, "run_ms": stage.run_ms, "cold_ms": stage.cold_ms, "done": stage.done,
            })
        })
        .collect();
    json!({
        "run": report.run, "input": report.input, "application": report.application_name,
        "state": state_name(report.state()), "output": run_output(report), "error": report.error,
        "elapsed_ms": report.elapsed_ms, "stages": stages,
    })
}

fn diagnostic_json(diagnostic: &Diagnostic) -> Value {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Notice => "notice",
    };
    json!({
        "event": severity, "file": &*diagnostic.file, "line": diagnostic.line, "column": diagnostic.column,
        "length": diagnostic.length, "message": diagnostic.message, "hint": diagnostic.hint,
    })
}
