//! Reads a history from its file, a bounded line at a time, and says everything that is wrong with it.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::Arc;

use common::diagnostic::{Diagnostic, Severity};
use common::types::VALUE_BYTES_MAX;
use serde_json::error::Category;

use crate::line::{Event, FORMAT, FORMAT_VERSION, Function, Header, Line};

/// An update has two values, and JSON may take six bytes for one of theirs.
pub const LINE_BYTES_MAX: usize = 2 * 6 * VALUE_BYTES_MAX + (1 << 20);
pub const LINES_MAX: usize = 2_000_000;
/// Wrong lines that are told.
const WRONG_MAX: usize = 20;

/// A file whose every line is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub header: Header,
    /// With their numbers in the file.
    pub lines: Vec<(u64, Line)>,
}

/// # Errors
/// What is wrong with the lines, the first [`WRONG_MAX`] of them.
pub fn read(file: &str, mut input: impl BufRead) -> Result<Recorded, Vec<Diagnostic>> {
    let mut reader = Reader::new(file);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let mut limited = (&mut input).take(LINE_BYTES_MAX as u64 + 1);
        match limited.read_until(b'\n', &mut bytes) {
            Ok(0) => break,
            Ok(length) if length > LINE_BYTES_MAX || number > LINES_MAX => {
                let message = format!(
                    "line {number} is too much: a history has at most {LINES_MAX} lines, of {LINE_BYTES_MAX} bytes"
                );
                reader.wrong.push(Diagnostic::of_file(file, message));
                break;
            }
            Ok(_) => reader.line(number, &bytes),
            Err(error) => {
                let message = format!("cannot read the history: {error}");
                reader.wrong.push(Diagnostic::of_file(file, message));
                break;
            }
        }
        if reader.wrong.len() >= WRONG_MAX {
            break;
        }
    }
    reader.end()
}

struct Reader {
    file: Arc<str>,
    header: Option<Header>,
    lines: Vec<(u64, Line)>,
    /// What operations do, and whether they are still open.
    operations: BTreeMap<u64, (Function, bool)>,
    time: u64,
    wrong: Vec<Diagnostic>,
}

/// What is wrong with a line, and the field that is meant.
type Wrong = (&'static str, String);

impl Reader {
    fn new(file: &str) -> Self {
        Self {
            file: Arc::from(file),
            header: None,
            lines: Vec::new(),
            operations: BTreeMap::new(),
            time: 0,
            wrong: Vec::new(),
        }
    }

    fn end(mut self) -> Result<Recorded, Vec<Diagnostic>> {
        match self.header {
            Some(header) if self.wrong.is_empty() => Ok(Recorded {
                header,
                lines: self.lines,
            }),
            None if self.wrong.is_empty() => {
                let nothing = Diagnostic::of_file(&self.file, "there is no history in it");
                Err(vec![nothing.hint(first_line())])
            }
            _ => {
                self.wrong.truncate(WRONG_MAX);
                Err(self.wrong)
            }
        }
    }

    fn line(&mut self, number: usize, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim().is_empty() {
            return;
        }
        if self.header.is_none() {
            return self.header(number, text);
        }
        match serde_json::from_str::<Line>(text) {
            Ok(line) => match self.accept(&line) {
                Ok(()) => self.lines.push((number as u64, line)),
                Err((field, message)) => {
                    let quoted = format!("\"{field}\"");
                    let at = text.find(&quoted).unwrap_or(0);
                    let length = if at == 0 { 1 } else { quoted.chars().count() };
                    let column = text.get(..at).map_or(0, |before| before.chars().count());
                    self.tell(number, text, column + 1, length, message);
                }
            },
            Err(error) => self.not_json(number, text, &error),
        }
    }

    fn header(&mut self, number: usize, text: &str) {
        let header = match serde_json::from_str::<Header>(text) {
            Ok(header) if header.format == FORMAT && header.version == FORMAT_VERSION => header,
            Ok(header) => {
                let (format, version) = (&header.format, header.version);
                let message = format!("format `{format}` version {version} is not known");
                self.tell(number, text, 1, 1, message);
                header
            }
            Err(error) => {
                self.not_json(number, text, &error);
                Header::new("", Vec::new())
            }
        };
        if let Some(wrong) = self.wrong.last_mut() {
            wrong.hint = Some(first_line());
        }
        self.header = Some(header);
    }

    fn not_json(&mut self, number: usize, text: &str, error: &serde_json::Error) {
        let message = error.to_string();
        let end = message.rfind(" at line ").unwrap_or(message.len());
        let message = message.get(..end).unwrap_or_default();
        let message = match error.classify() {
            Category::Eof => format!("the line is cut off: {message}"),
            _ => message.to_owned(),
        };
        // In bytes, and 0 when it does not know.
        let before = text.get(..error.column().saturating_sub(1));
        let column = before.map_or(1, |before| before.chars().count() + 1);
        self.tell(number, text, column, 1, message);
    }

    fn tell(&mut self, line: usize, text: &str, column: usize, length: usize, message: String) {
        self.wrong.push(Diagnostic {
            severity: Severity::Error,
            file: Arc::clone(&self.file),
            line,
            column,
            length,
            source: text.to_owned(),
            message,
            hint: None,
        });
    }

    fn accept(&mut self, line: &Line) -> Result<(), Wrong> {
        if let Some(time) = line.time {
            if time < self.time {
                let message = format!("time goes back, from {} to {time}", self.time);
                return Err(("time", message));
            }
            self.time = time;
        }
        line.value_bytes()
            .map_err(|why| ("value_base64", why))
            .and_then(|_| line.old_bytes().map_err(|why| ("old_base64", why)))?;
        for held in &line.versions {
            held.record_version().map_err(|why| ("versions", why))?;
        }
        match line.event {
            Event::Invoke => self.invoked(line),
            Event::Ok | Event::Fail | Event::Unknown => self.completed(line),
            Event::Initial => needs(line, &["record", "version"]),
            Event::Final => needs(line, &["record", "replica"]),
            Event::Lost => needs(line, &["replica"]),
        }
    }

    fn invoked(&mut self, line: &Line) -> Result<(), Wrong> {
        needs(line, &["operation", "process", "f", "record"])?;
        let (Some(operation), Some(function)) = (line.operation, line.function) else {
            return Ok(());
        };
        if function == Function::UpdateIfVersionIs {
            needs(line, &["old_version"])?;
        }
        if self.operations.contains_key(&operation) {
            let message = format!("operation {operation} was invoked before");
            return Err(("operation", message));
        }
        self.operations.insert(operation, (function, true));
        Ok(())
    }

    fn completed(&mut self, line: &Line) -> Result<(), Wrong> {
        needs(line, &["operation"])?;
        let number = line.operation.unwrap_or_default();
        let Some((function, is_open)) = self.operations.get_mut(&number) else {
            return Err(("operation", format!("operation {number} was not invoked")));
        };
        if !*is_open {
            return Err(("operation", format!("operation {number} has ended before")));
        }
        *is_open = false;
        let is_update = !matches!(function, Function::Read | Function::Write);
        if line.event == Event::Fail && line.version.is_some() && !is_update {
            let message = "only an update whose test failed has found a version";
            return Err(("version", message.to_owned()));
        }
        match line.event {
            Event::Ok => needs(line, &["version"]),
            _ => Ok(()),
        }
    }
}

fn needs(line: &Line, fields: &[&'static str]) -> Result<(), Wrong> {
    let is_there = |field: &str| match field {
        "operation" => line.operation.is_some(),
        "process" => line.process.is_some(),
        "f" => line.function.is_some(),
        "record" => line.record.is_some(),
        "version" => line.version.is_some(),
        "old_version" => line.old_version.is_some(),
        "replica" => line.replica.is_some(),
        _ => false,
    };
    let missing = fields.iter().find(|field| !is_there(field));
    missing.map_or(Ok(()), |field| {
        Err(("event", format!("`{field}` is missing")))
    })
}

fn first_line() -> String {
    format!("the first line is {{\"format\":\"{FORMAT}\",\"version\":{FORMAT_VERSION}}}")
}
