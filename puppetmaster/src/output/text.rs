//! Events as text for people.

use super::deployment::{Deployment, OperatorRow};
use super::event::{Event, RecordRow, state_name};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use common::proto::{Item, NodeStatus, RunReport, RunState, StageSummary};
use common::types::Version;

/// A value longer than this is cut in tables and outcomes.
const VALUE_CHARS_MAX: usize = 200;
/// Wider cells of a table are wrapped.
const CELL_CHARS_MAX: u16 = 60;

pub fn render(event: &Event, colour: bool) -> String {
    match event {
        Event::Echo(text) | Event::Message(text) => printable(text),
        Event::Help(text) => text.clone(),
        Event::Record {
            key,
            version,
            value,
        } => record(key, *version, value.as_deref()),
        Event::Change {
            key,
            version,
            value,
        } => format!("changed: {}", record(key, *version, value.as_deref())),
        Event::Records(rows) => records(rows),
        Event::Nodes(rows) => nodes(rows),
        Event::Run(report) => outcome(report),
        Event::Runs(reports) => runs(reports),
        Event::Load(figures) => figures.text(),
        Event::OfRun(run, told) => told.text(*run),
        Event::Populated { records, file } => format!("{records} records of {file} written"),
        Event::Copied {
            records,
            versions,
            file,
        } => format!("{} copied to {file}", copies(*records, *versions)),
        Event::Checked { file, verdict } => {
            let text = format!("{file}: {verdict}");
            text.trim_end().to_owned()
        }
        Event::Restored {
            records,
            versions,
            file,
        } => format!("{} restored from {file}", copies(*records, *versions)),
        Event::Deployment(deployment) => deployed(deployment),
        Event::NodeReady { name, role, url } => format!("{role} {name} is ready at {url}"),
        Event::NodeLost { name, why } => format!("error: node `{name}` {}", printable(why)),
        Event::Debug { node, line } => format!("[{}] {}", printable(node), printable(line)),
        // Each ends with an empty line.
        Event::Diagnostic(diagnostic) => diagnostic.render(colour) + "\n",
        Event::Step { place, text } => format!("{place}: {}", printable(text)),
    }
}

fn record(key: &str, version: Version, value: Option<&str>) -> String {
    let value = value.map_or("(deleted)".to_owned(), shown);
    format!("{} = {value} ({version})", shown(key))
}

fn copies(records: u64, versions: u64) -> String {
    let counted = |count, one: &str| match count {
        1 => format!("1 {one}"),
        many => format!("{many} {one}s"),
    };
    let (records, versions) = (counted(records, "record"), counted(versions, "version"));
    format!("{records} with {versions}")
}

/// Without characters that steer a terminal.
pub fn printable(text: &str) -> String {
    let safe = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(safe).collect()
}

/// A value in one line of bounded length.
fn shown(value: &str) -> String {
    let line = value.replace('\n', "\\n").replace('\t', "\\t");
    let mut chars = line.chars();
    let mut cut: String = chars.by_ref().take(VALUE_CHARS_MAX).collect();
    let left = chars.count();
    if left > 0 {
        cut.extend(["… (and ", &left.to_string(), " characters)"]);
    }
    printable(&cut)
}

/// A time of day that sorts; empty when it is none.
fn utc(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).ok();
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(String::new, |time| time.to_string())
}

/// The output of a run: the items of its last stage, `key=value` for those with a key.
pub fn run_output(report: &RunReport) -> String {
    let item = |item: &Item| {
        let value = String::from_utf8_lossy(&item.value);
        match &item.key {
            Some(key) => format!("{key}={value}"),
            None => value.into_owned(),
        }
    };
    let items: Vec<String> = report.output.iter().map(item).collect();
    items.join(", ")
}

fn deployed(deployment: &Deployment) -> String {
    match deployment {
        Deployment::Deployed {
            file,
            classes,
            component,
            bytes,
        } => {
            let classes = classes.join(", ");
            format!("{file} deployed as {component} ({bytes} bytes): {classes}")
        }
        Deployment::RolledBack { class, component } => format!("{class} is {component} again"),
        Deployment::Listed(rows) => operators(rows),
    }
}

fn operators(rows: &[OperatorRow]) -> String {
    let row = |row: &OperatorRow| {
        let runs: Vec<String> = row.runs.iter().map(u64::to_string).collect();
        vec![
            row.class.clone(),
            row.component.chars().take(12).collect(),
            if row.is_current { "current" } else { "" }.to_owned(),
            row.language.clone(),
            row.bytes.to_string(),
            utc(row.deployed_unix_ms),
            runs.join(" "),
        ]
    };
    let header = [
        "class",
        "component",
        "",
        "language",
        "bytes",
        "deployed",
        "pinned by runs",
    ];
    table(&header, rows.iter().map(row))
}

fn outcome(report: &RunReport) -> String {
    let (run, state) = (report.run, state_name(report.state()));
    match report.state() {
        RunState::Completed => format!("run {run} {state}: {}", shown(&run_output(report))),
        _ if report.error.is_empty() => format!("run {run} {state}"),
        _ => format!("run {run} {state}: {}", printable(&report.error)),
    }
}

pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for column in table.column_iter_mut() {
        column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(
            CELL_CHARS_MAX,
        )));
    }
    table.to_string()
}

fn records(rows: &[RecordRow]) -> String {
    if rows.is_empty() {
        return "no records".to_owned();
    }
    let row = |row: &RecordRow| {
        let value = row.value.as_deref().map_or("(deleted)".to_owned(), shown);
        let mut cells = vec![shown(&row.key), row.version.to_string(), value];
        cells.extend(row.nodes.as_ref().map(|nodes| nodes.join(" ")));
        cells
    };
    let header = ["record", "version", "value", "nodes"];
    let columns = header.len() - usize::from(rows.iter().all(|row| row.nodes.is_none()));
    table(
        header.get(..columns).unwrap_or(&header),
        rows.iter().map(row),
    )
}

fn nodes(rows: &[(NodeStatus, String)]) -> String {
    if rows.is_empty() {
        return "no nodes".to_owned();
    }
    let row = |(status, state): &(NodeStatus, String)| {
        let details: Vec<String> = status
            .details
            .iter()
            .map(|detail| format!("{} {}", detail.name, detail.value))
            .collect();
        let peers: Vec<String> = status
            .peers
            .iter()
            .map(|peer| format!("{} {}", peer.name, peer.state))
            .collect();
        let cells = [
            &status.name,
            &status.role,
            &status.url,
            state,
            &details.join(", "),
            &peers.join(", "),
        ];
        cells.map(|cell| printable(cell)).to_vec()
    };
    table(
        &["node", "role", "url", "state", "details", "sees"],
        rows.iter().map(row),
    )
}

fn runs(reports: &[RunReport]) -> String {
    if reports.is_empty() {
        return "no runs".to_owned();
    }
    let row = |report: &RunReport| {
        let result = match report.state() {
            RunState::Completed => run_output(report),
            _ => report.error.clone(),
        };
        let workers: Vec<String> = report.stages.iter().map(stage).collect();
        vec![
            report.run.to_string(),
            shown(&report.input),
            shown(&report.application_name),
            state_name(report.state()).to_owned(),
            shown(&result),
            workers.join(", "),
            format!("{} ms", report.elapsed_ms),
        ]
    };
    table(
        &[
            "run",
            "input",
            "application",
            "state",
            "result",
            "stages",
            "time",
        ],
        reports.iter().map(row),
    )
}

/// `AddOperator on w1`, with the number of attempts when there was more than one.
fn stage(stage: &StageSummary) -> String {
    let attempts = if stage.attempts > 1 {
        format!(" ({} attempts)", stage.attempts)
    } else {
        String::new()
    };
    format!(
        "{} on {}{attempts}",
        printable(&stage.class),
        printable(&stage.worker)
    )
}
