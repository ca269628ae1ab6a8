//! Reading TOML entry by entry, so that all that is wrong is told at once, each with its place and a hint.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use common::diagnostic::{Diagnostic, Severity, did_you_mean};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and its place.
pub type Value<'i> = Spanned<DeValue<'i>>;
/// Where something stands, in bytes of the text.
pub type Place = Range<usize>;

/// A file that a table names.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A table whose entries are taken out one by one.
pub struct Entries<'i> {
    pub place: Place,
    left: DeTable<'i>,
}

impl<'i> Entries<'i> {
    pub fn take(&mut self, name: &str) -> Option<Value<'i>> {
        self.left.remove(name)
    }
}

/// What is wrong with one file.
pub struct Notes<'t> {
    file: Arc<str>,
    directory: PathBuf,
    text: &'t str,
    found: Vec<Diagnostic>,
}

impl<'t> Notes<'t> {
    pub fn new(file: &Path, text: &'t str) -> Self {
        Self {
            file: file.display().to_string().into(),
            directory: file.parent().unwrap_or(Path::new("")).to_owned(),
            text,
            found: Vec::new(),
        }
    }

    /// All of them, in the order of their places.
    pub fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|note| (note.line, note.column));
        self.found
    }

    pub fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.error_with(place, message, None);
    }

    pub fn error_with(&mut self, place: &Place, message: impl Into<String>, hint: Option<String>) {
        let start = place.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.get(line_start..).unwrap_or_default();
        let source = rest.lines().next().unwrap_or_default();
        let marked = self.text.get(start..place.end.max(start)).unwrap_or("");
        let marked = marked.lines().next().unwrap_or_default();
        self.found.push(Diagnostic {
            severity: Severity::Error,
            file: Arc::clone(&self.file),
            line: self.line(place),
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            length: marked.chars().count().max(1),
            source: source.to_owned(),
            message: message.into(),
            hint,
        });
    }

    /// The line of a place, from 1.
    pub fn line(&self, place: &Place) -> usize {
        let before = self.text.get(..place.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    fn wrong_type(&mut self, place: &Place, what: &str, wanted: &str, found: &DeValue<'_>) {
        let found = match found {
            DeValue::Table(_) => "a table",
            DeValue::Array(_) => "a list",
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
        };
        self.error(place, format!("`{what}` is {wanted}, not {found}"));
    }

    /// The entries of a table that knows these keys.
    pub fn entries<'i>(
        &mut self,
        value: Value<'i>,
        what: &str,
        known: &[&str],
    ) -> Option<Entries<'i>> {
        let place = value.span();
        match value.into_inner() {
            DeValue::Table(table) => {
                self.known_keys(&table, what, known);
                Some(Entries { place, left: table })
            }
            other => {
                self.wrong_type(&place, what, "a table", &other);
                None
            }
        }
    }

    /// The same of the whole file.
    pub fn root<'i>(&mut self, table: Spanned<DeTable<'i>>, known: &[&str]) -> Entries<'i> {
        let place = table.span();
        let table = table.into_inner();
        self.known_keys(&table, "the file", known);
        Entries { place, left: table }
    }

    fn known_keys(&mut self, table: &DeTable<'_>, what: &str, known: &[&str]) {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let hint = did_you_mean(name, known.iter().copied())
                    .unwrap_or_else(|| format!("known are: {}", known.join(", ")));
                let message = format!("unknown key `{name}` in {what}");
                self.error_with(&key.span(), message, Some(hint));
            }
        }
    }

    pub fn text(&mut self, value: Value<'_>, what: &str) -> Option<String> {
        let place = value.span();
        match value.into_inner() {
            DeValue::String(text) => Some(text.into_owned()),
            other => {
                self.wrong_type(&place, what, "a text", &other);
                None
            }
        }
    }

    /// A text, or a number for its digits.
    pub fn word(&mut self, value: Value<'_>, what: &str) -> Option<String> {
        match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            _ => self.text(value, what),
        }
    }

    /// A whole number from `min` on.
    pub fn number<T: TryFrom<u64>>(
        &mut self,
        value: &Value<'_>,
        what: &str,
        min: u64,
    ) -> Option<T> {
        let place = value.span();
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(&place, what, "a whole number", value.get_ref());
            return None;
        };
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        let number = number.filter(|number| *number >= min);
        let number = number.and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.error(&place, format!("`{what}` is a whole number from {min} on"));
        }
        number
    }

    /// One of these words.
    pub fn choice<'c>(
        &mut self,
        value: Value<'_>,
        what: &str,
        choices: &[&'c str],
    ) -> Option<&'c str> {
        let place = value.span();
        let found = self.text(value, what)?;
        let chosen = choices.iter().copied().find(|choice| *choice == found);
        if chosen.is_none() {
            let hint = did_you_mean(&found, choices.iter().copied());
            let message = format!("`{what}` is one of {}, not `{found}`", choices.join(", "));
            self.error_with(&place, message, hint);
        }
        chosen
    }

    /// A text, a whole number, `{ hex = "00ff" }`, or `{ file = "beside the table" }`.
    pub fn bytes(&mut self, value: Value<'_>, what: &str) -> Option<Bytes> {
        if !value.get_ref().is_table() {
            return self.word(value, what).map(Bytes::from);
        }
        let mut entries = self.entries(value, what, &["hex", "file"])?;
        let place = entries.place.clone();
        match (entries.take("hex"), entries.take("file")) {
            (Some(hex), None) => self.hex(hex),
            (None, Some(file)) => self.file(file),
            _ => {
                let message = format!("`{what}` has either `hex` or `file`");
                self.error(&place, message);
                None
            }
        }
    }

    fn hex(&mut self, value: Value<'_>) -> Option<Bytes> {
        let place = value.span();
        let text = self.text(value, "hex")?;
        let digits: Option<Vec<u32>> = text
            .chars()
            .filter(|character| *character != ' ')
            .map(|character| character.to_digit(16))
            .collect();
        let bytes = digits.filter(|digits| digits.len().is_multiple_of(2));
        let byte = |pair: &[u32]| {
            pair.iter()
                .fold(0, |byte, digit| byte << 4 | digit)
                .to_le_bytes()[0]
        };
        let bytes = bytes.map(|digits| digits.chunks(2).map(byte).collect::<Vec<u8>>());
        if bytes.is_none() {
            self.error(&place, "`hex` has two hexadecimal digits for each byte");
        }
        bytes.map(Bytes::from)
    }

    fn file(&mut self, value: Value<'_>) -> Option<Bytes> {
        let place = value.span();
        let name = self.text(value, "file")?;
        let path = self.directory.join(name);
        match read_bounded(&path, FILE_BYTES_MAX) {
            Ok(bytes) => Some(Bytes::from(bytes)),
            Err(reason) => {
                let message = format!("{} cannot be read: {reason}", path.display());
                self.error(&place, message);
                None
            }
        }
    }

    /// A list; entries that are wrong are told and left out.
    pub fn list<'i, T>(
        &mut self,
        value: Value<'i>,
        what: &str,
        mut each: impl FnMut(&mut Self, Value<'i>) -> Option<T>,
    ) -> Vec<T> {
        let place = value.span();
        match value.into_inner() {
            DeValue::Array(values) => values
                .into_iter()
                .filter_map(|value| each(self, value))
                .collect(),
            other => {
                self.wrong_type(&place, what, "a list", &other);
                Vec::new()
            }
        }
    }

    /// A table with any keys; `each` is given the key, its place, and the value.
    pub fn map<'i, T>(
        &mut self,
        value: Value<'i>,
        what: &str,
        mut each: impl FnMut(&mut Self, &Spanned<&str>, Value<'i>) -> Option<(String, T)>,
    ) -> BTreeMap<String, T> {
        let place = value.span();
        match value.into_inner() {
            DeValue::Table(table) => table
                .into_iter()
                .filter_map(|(key, value)| {
                    let name = Spanned::new(key.span(), key.get_ref().as_ref());
                    each(self, &name, value)
                })
                .collect(),
            other => {
                self.wrong_type(&place, what, "a table", &other);
                BTreeMap::new()
            }
        }
    }
}

/// The bytes of a file. Errors: why it cannot be read, or that it is larger than `bytes_max`.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if length.len() > bytes_max {
        return Err(format!("it has more than {bytes_max} bytes"));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}
