//! A history as Jepsen and its checkers (Knossos, Elle) read it: a map for each event, in EDN.
//!
//! A value is `[key value]`, that of a compare-and-swap `[key [old new]]`; a version in its place is a string. What has no
//! counterpart there is left out: what was there before, what is held in the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::line::{Event, Function, Line};
use crate::reader::Recorded;

/// One map a line. Processes are numbers: one for each session, and for each operation without one, whose process may
/// ask several things at once.
pub fn edn(recorded: &Recorded) -> String {
    let mut text = String::new();
    let mut sessions: BTreeMap<&str, usize> = BTreeMap::new();
    let mut open: BTreeMap<u64, (usize, &Line)> = BTreeMap::new();
    let (mut processes, mut index) = (0, 0);
    for (_, line) in &recorded.lines {
        let Some(number) = line.operation else {
            continue;
        };
        if line.event == Event::Invoke {
            let mut new = || {
                processes += 1;
                processes - 1
            };
            let process = match line.session.as_deref() {
                Some(session) => *sessions.entry(session).or_insert_with(new),
                None => new(),
            };
            open.insert(number, (process, line));
        }
        let Some((process, asked)) = open.get(&number).copied() else {
            continue;
        };
        let kind = match line.event {
            Event::Ok => "ok",
            Event::Fail => "fail",
            Event::Unknown => "info",
            _ => "invoke",
        };
        // Jepsen never uses a process again of whose operation nobody knows the outcome.
        if line.event == Event::Unknown
            && let Some(session) = asked.session.as_deref()
        {
            sessions.remove(session);
        }
        let (function, value) = of(asked, line);
        let nanos = line.time.unwrap_or_default().saturating_mul(1000);
        let _ = writeln!(
            text,
            "{{:process {process}, :type :{kind}, :f :{function}, :value {value}, :time {nanos}, :index {index}}}"
        );
        index += 1;
    }
    text
}

fn of(asked: &Line, line: &Line) -> (&'static str, String) {
    let key = string(asked.record.as_deref().unwrap_or_default());
    let held = |line: &Line| value(line.value.as_ref(), line.value_base64.as_ref());
    match asked.function {
        Some(Function::Write) => ("write", format!("[{key} {}]", held(asked))),
        Some(Function::UpdateIfValueIs | Function::UpdateIfVersionIs) => {
            let old = match asked.old_version {
                Some(version) => string(&version.to_string()),
                None => value(asked.old.as_ref(), asked.old_base64.as_ref()),
            };
            ("cas", format!("[{key} [{old} {}]]", held(asked)))
        }
        Some(Function::Read) | None => {
            let found = match line.event {
                Event::Ok => held(line),
                _ => "nil".to_owned(),
            };
            ("read", format!("[{key} {found}]"))
        }
    }
}

fn value(text: Option<&String>, base64: Option<&String>) -> String {
    let text = text.or(base64);
    text.map_or_else(|| "nil".to_owned(), |text| string(text))
}

/// EDN's escapes are those of Java.
fn string(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
