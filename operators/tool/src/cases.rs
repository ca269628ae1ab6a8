//! The table of cases, `cases.toml`: from text to [`Case`]s, or to all that is wrong with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use common::diagnostic::{Diagnostic, did_you_mean};
use common::types::{BlobUrl, Item};
use toml::Spanned;
use toml::de::DeTable;
use worker::host::{Call, Fault, StorageError};

use crate::notes::{Entries, Notes, Value};
use crate::rehearse::{KINDS, Setup};

const CASE: [&str; 15] = [
    "name",
    "class",
    "input",
    "items",
    "options",
    "records",
    "blobs",
    "faults",
    "expect",
    "run",
    "stage",
    "task",
    "attempt",
    "now_ms",
    "timeout_ms",
];
const EXPECT: [&str; 6] = ["output", "error", "kind", "records", "other_records", "log"];
const FAULT: [&str; 5] = ["call", "id", "error", "lose_update", "to"];
const CALLS: [&str; 3] = ["read", "write", "update"];
const ERRORS: [&str; 9] = [
    "not-found",
    "discarded",
    "too-large",
    "overloaded",
    "unavailable",
    "timeout",
    "cancelled",
    "limit-exceeded",
    "other",
];
/// The texts of errors that have one.
const AS_THE_CASE_SAYS: &str = "as the case says";

/// One attempt and what shall come of it.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// Where it stands in the table, from 1.
    pub line: usize,
    pub setup: Setup,
    pub expect: Expect,
}

/// What shall come of an attempt.
#[derive(Debug, Default)]
pub struct Expect {
    pub end: End,
    /// The values of these records afterwards.
    pub records: BTreeMap<String, Bytes>,
    /// Whether records that are not listed may change.
    pub others_may_change: bool,
    /// Each is part of a line of the log, in this order.
    pub log: Vec<String>,
}

/// How the attempt shall end.
#[derive(Debug)]
pub enum End {
    /// With these items, or with any.
    Items(Option<Vec<Item>>),
    /// With an error of this kind that has this text in it.
    Error {
        text: Option<String>,
        kind: Option<&'static str>,
    },
}

impl Default for End {
    fn default() -> Self {
        Self::Items(None)
    }
}

/// Reads the table for a component with these classes. Errors: all that is wrong with it.
pub fn read(file: &Path, text: &str, classes: &[String]) -> Result<Vec<Case>, Vec<Diagnostic>> {
    let mut notes = Notes::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    // One mistake of syntax makes more of what follows it.
    let start = |error: &toml::de::Error| error.span().map_or(0, |place| place.start);
    if let Some(error) = errors.iter().min_by_key(|error| start(error)) {
        notes.error(&error.span().unwrap_or(0..0), error.message());
        return Err(notes.into_diagnostics());
    }
    let mut table = notes.root(table, &["case"]);
    let mut reader = Reader {
        classes,
        names: BTreeMap::new(),
    };
    let cases = table.take("case");
    let cases =
        cases.map(|value| notes.list(value, "case", |notes, value| reader.case(notes, value)));
    if cases.is_none() {
        let hint = Some("a case begins with the line [[case]]".to_owned());
        notes.error_with(&table.place, "the table has no case", hint);
    }
    match notes.into_diagnostics() {
        wrong if wrong.is_empty() => Ok(cases.unwrap_or_default()),
        wrong => Err(wrong),
    }
}

struct Reader<'c> {
    classes: &'c [String],
    /// The names of cases so far, and their lines.
    names: BTreeMap<String, usize>,
}

impl Reader<'_> {
    fn case(&mut self, notes: &mut Notes<'_>, value: Value<'_>) -> Option<Case> {
        let mut entries = notes.entries(value, "a case", &CASE)?;
        let line = notes.line(&entries.place);
        let name = self.name(notes, &mut entries, line);
        let class = self.class(notes, &mut entries);
        let mut setup = setup(notes, &mut entries);
        let expect = entries.take("expect");
        let expect = expect.map_or_else(Expect::default, |value| expected(notes, value));
        setup.class = class?;
        Some(Case {
            name: name?,
            line,
            setup,
            expect,
        })
    }

    fn name(
        &mut self,
        notes: &mut Notes<'_>,
        entries: &mut Entries<'_>,
        line: usize,
    ) -> Option<String> {
        let Some(value) = entries.take("name") else {
            notes.error(&entries.place, "a case has a `name`");
            return None;
        };
        let place = value.span();
        let name = notes.text(value, "name")?;
        if let Some(first) = self.names.insert(name.clone(), line) {
            notes.error(
                &place,
                format!("the case in line {first} has this name, too"),
            );
        }
        Some(name)
    }

    fn class(&self, notes: &mut Notes<'_>, entries: &mut Entries<'_>) -> Option<String> {
        let known = self.classes.iter().map(String::as_str);
        let all = || format!("it has: {}", self.classes.join(", "));
        let Some(value) = entries.take("class") else {
            if let [class] = self.classes {
                return Some(class.clone());
            }
            let message = "which `class`? The component has more than one";
            notes.error_with(&entries.place, message, Some(all()));
            return None;
        };
        let place = value.span();
        let class = notes.text(value, "class")?;
        if self.classes.contains(&class) {
            return Some(class);
        }
        let hint = did_you_mean(&class, known).unwrap_or_else(all);
        let message = format!("the component has no class `{class}`");
        notes.error_with(&place, message, Some(hint));
        None
    }
}

/// All of an attempt but its class.
fn setup(notes: &mut Notes<'_>, entries: &mut Entries<'_>) -> Setup {
    let mut setup = Setup::default();
    let mut number = |notes: &mut Notes<'_>, name: &str, min: u64| {
        let value = entries.take(name)?;
        notes.number::<u64>(&value, name, min)
    };
    setup.run = number(notes, "run", 1).unwrap_or(setup.run);
    setup.submitted_unix_ms = number(notes, "now_ms", 0).unwrap_or_default();
    let timeout_ms = number(notes, "timeout_ms", 1);
    setup.timeout = timeout_ms.map_or(setup.timeout, Duration::from_millis);
    for (name, min, place) in [
        ("stage", 0, &mut setup.stage),
        ("task", 0, &mut setup.task),
        ("attempt", 1, &mut setup.attempt),
    ] {
        if let Some(number) = entries.take(name) {
            *place = notes.number(&number, name, min).unwrap_or(*place);
        }
    }
    if let Some(value) = entries.take("input") {
        setup.input = notes.word(value, "input").unwrap_or_default();
    }
    if let Some(value) = entries.take("items") {
        setup.items = notes.list(value, "items", item);
    }
    if let Some(value) = entries.take("options") {
        setup.options = notes.map(value, "options", |notes, name, value| {
            let word = notes.word(value, name.get_ref())?;
            Some(((*name.get_ref()).to_owned(), word))
        });
    }
    if let Some(value) = entries.take("records") {
        setup.records = notes.map(value, "records", record);
    }
    if let Some(value) = entries.take("blobs") {
        setup.blobs = notes.map(value, "blobs", blob);
    }
    if let Some(value) = entries.take("faults") {
        setup.faults = notes.list(value, "faults", fault);
    }
    setup
}

/// A value, or `{ key = …, value = … }`.
fn item(notes: &mut Notes<'_>, value: Value<'_>) -> Option<Item> {
    let has_key = |value: &Value<'_>| {
        let table = value.get_ref().as_table();
        table.is_some_and(|table| table.contains_key("key") || table.contains_key("value"))
    };
    if !has_key(&value) {
        return notes.bytes(value, "item").map(Item::plain);
    }
    let mut entries = notes.entries(value, "an item", &["key", "value"])?;
    let Some(value) = entries.take("value") else {
        notes.error(&entries.place, "an item has a `value`");
        return None;
    };
    let value = notes.bytes(value, "value")?;
    let key = match entries.take("key") {
        Some(key) => Some(notes.word(key, "key")?),
        None => None,
    };
    Some(Item { key, value })
}

fn record(notes: &mut Notes<'_>, id: &Spanned<&str>, value: Value<'_>) -> Option<(String, Bytes)> {
    let value = notes.bytes(value, id.get_ref())?;
    Some(((*id.get_ref()).to_owned(), value))
}

fn blob(notes: &mut Notes<'_>, url: &Spanned<&str>, value: Value<'_>) -> Option<(String, Bytes)> {
    let value = notes.bytes(value, url.get_ref());
    match BlobUrl::parse(url.get_ref()) {
        Ok(url) => Some((url.to_string(), value?)),
        Err(message) => {
            notes.error(&url.span(), message);
            None
        }
    }
}

/// `{ call = …, id = …, error = … }` or `{ lose_update = ID, to = VALUE }`.
fn fault(notes: &mut Notes<'_>, value: Value<'_>) -> Option<Fault> {
    let mut entries = notes.entries(value, "a fault", &FAULT)?;
    let mut take = |name| entries.take(name);
    match (
        take("call"),
        take("id"),
        take("error"),
        take("lose_update"),
        take("to"),
    ) {
        (Some(call), Some(id), Some(error), None, None) => {
            let call = notes.choice(call, "call", &CALLS);
            let id = notes.text(id, "id");
            let error = notes.choice(error, "error", &ERRORS);
            Some(Fault::Fail {
                call: call_of(call?),
                id: id?,
                error: storage_error(error?),
            })
        }
        (None, None, None, Some(id), Some(to)) => {
            let id = notes.text(id, "lose_update");
            let value = notes.bytes(to, "to");
            Some(Fault::Race {
                id: id?,
                value: value?,
            })
        }
        _ => {
            let message = "a fault has `call`, `id` and `error`, or `lose_update` and `to`";
            notes.error(&entries.place, message);
            None
        }
    }
}

fn call_of(name: &str) -> Call {
    match name {
        "read" => Call::Read,
        "write" => Call::Write,
        _ => Call::Update,
    }
}

fn storage_error(name: &str) -> StorageError {
    match name {
        "not-found" => StorageError::NotFound,
        "discarded" => StorageError::Discarded,
        "too-large" => StorageError::TooLarge { bytes_max: 0 },
        "overloaded" => StorageError::Overloaded,
        "unavailable" => StorageError::Unavailable(AS_THE_CASE_SAYS.to_owned()),
        "timeout" => StorageError::Timeout,
        "cancelled" => StorageError::Cancelled,
        "limit-exceeded" => StorageError::LimitExceeded(AS_THE_CASE_SAYS.to_owned()),
        _ => StorageError::Other(AS_THE_CASE_SAYS.to_owned()),
    }
}

fn expected(notes: &mut Notes<'_>, value: Value<'_>) -> Expect {
    let Some(mut entries) = notes.entries(value, "`expect`", &EXPECT) else {
        return Expect::default();
    };
    let end = end(notes, &mut entries);
    let records = entries.take("records");
    let log = entries.take("log");
    let others = entries.take("other_records");
    let others =
        others.and_then(|value| notes.choice(value, "other_records", &["unchanged", "any"]));
    Expect {
        end,
        records: records.map_or_else(BTreeMap::new, |value| notes.map(value, "records", record)),
        others_may_change: others == Some("any"),
        log: log.map_or_else(Vec::new, |value| {
            notes.list(value, "log", |notes, value| notes.text(value, "log"))
        }),
    }
}

fn end(notes: &mut Notes<'_>, entries: &mut Entries<'_>) -> End {
    let (text, kind) = (entries.take("error"), entries.take("kind"));
    let output = entries.take("output");
    if text.is_none() && kind.is_none() {
        return End::Items(output.map(|value| notes.list(value, "output", item)));
    }
    if let Some(output) = output {
        let message = "a case expects either `output` or an error";
        notes.error(&output.span(), message);
    }
    End::Error {
        text: text.and_then(|value| notes.text(value, "error")),
        kind: kind.and_then(|value| notes.choice(value, "kind", &KINDS)),
    }
}
