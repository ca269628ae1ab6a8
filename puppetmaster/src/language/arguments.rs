//! Reads the words of one line as the typed arguments of its command.
//!
//! Every reader takes the next argument of the command's entry in the table, so that a message about a missing or a
//! wrong word can name the argument and show the command's syntax.
//!
//! - `runs`: those that concern runs; `settings`: those of `set`.

mod runs;
mod settings;

use super::command::{Command, Condition, Name, NewNode, Role, Target};
use super::parse::parse_command;
use super::table::{Argument, Entry};
use common::diagnostic::{Diagnostic, Line, Word, did_you_mean};
use common::fabric::{Address, FAULT_DELAY_MS_MAX};
use common::types::{RECORD_ID_BYTES_MAX, VALUE_BYTES_MAX, Version};
use std::str::FromStr;
use std::time::Duration;

/// The longest time that a script can name, in milliseconds: a day.
const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// A node's name has at most this many characters.
const NODE_NAME_CHARS_MAX: usize = 64;
/// A command is repeated at most this often.
const REPEAT_COUNT_MAX: u32 = 1_000_000;
/// The bare word for "no such record".
pub const ABSENT: &str = "-";

/// Begins the number of records that are wanted.
const LIMIT: &str = "limit=";

/// Stands between two groups of names.
const GROUP_END: &str = "|";

/// What is left to read of a line.
pub struct Arguments<'a> {
    line: &'a Line,
    entry: &'static Entry,
    words: &'a [Word],
    specs: &'static [Argument],
    notices: &'a mut Vec<Diagnostic>,
}

impl<'a> Arguments<'a> {
    /// `words` are those behind the command's name.
    pub fn new(
        line: &'a Line,
        entry: &'static Entry,
        words: &'a [Word],
        notices: &'a mut Vec<Diagnostic>,
    ) -> Self {
        Self {
            line,
            entry,
            words,
            specs: entry.arguments,
            notices,
        }
    }

    /// To be called when the command was read: nothing may be left.
    pub fn finish(self) -> Result<(), Diagnostic> {
        debug_assert!(
            self.specs.is_empty(),
            "`{}` does not read all its arguments",
            self.entry.name
        );
        match self.words.first() {
            None => Ok(()),
            Some(extra) => {
                let message = format!("`{}` is too much for `{}`", extra.text, self.entry.name);
                Err(self.wrong(extra, message))
            }
        }
    }

    pub fn new_node(&mut self, role: Role) -> Result<NewNode, Diagnostic> {
        let name = self.node()?;
        let url = self.required()?;
        let address = Address::parse(&url.text).map_err(|error| {
            self.wrong(url, error.to_string())
                .hint("a URL is http://HOST:PORT, such as http://localhost:4000")
        })?;
        let gossip_delay_ms = match role {
            Role::Scheduler => {
                self.ignored();
                0
            }
            Role::Storage | Role::Worker => self.milliseconds()?,
        };
        Ok(NewNode {
            role,
            name,
            url: Name(url.clone()),
            address,
            gossip_delay_ms,
        })
    }

    pub fn node(&mut self) -> Result<Name, Diagnostic> {
        let word = self.required()?;
        self.node_name(word)
    }

    /// Groups of names with `|` between them, and commas or blanks between names.
    pub fn groups(&mut self) -> Result<Vec<Vec<Name>>, Diagnostic> {
        let first = self.required()?;
        let rest = std::mem::take(&mut self.words);
        let pieces = std::iter::once(first).chain(rest).flat_map(pieces);
        let mut groups = vec![Vec::new()];
        for piece in pieces {
            match groups.last_mut() {
                Some(group) if piece.text != GROUP_END => group.push(self.node_name(&piece)?),
                _ => groups.push(Vec::new()),
            }
        }
        if groups.len() < 2 || groups.iter().any(Vec::is_empty) {
            let message = format!("`{}` needs two or more groups of nodes", self.entry.name);
            return Err(self.wrong(first, message));
        }
        Ok(groups)
    }

    pub fn link_delay_ms(&mut self) -> Result<u32, Diagnostic> {
        let word = self.required()?;
        self.number(word, 0, FAULT_DELAY_MS_MAX, " of milliseconds")
    }

    pub fn percent(&mut self) -> Result<u32, Diagnostic> {
        let word = self.required()?;
        self.number(word, 0, 100, " of percent")
    }

    pub fn file(&mut self) -> Result<Name, Diagnostic> {
        let word = self.required()?;
        if word.text.is_empty() {
            return Err(self.wrong(word, "a file's name is not empty"));
        }
        Ok(Name(word.clone()))
    }

    pub fn text(&mut self) -> Result<String, Diagnostic> {
        Ok(self.required()?.text.clone())
    }

    pub fn key(&mut self) -> Result<String, Diagnostic> {
        let word = self.required()?;
        match word.text.len() {
            1..=RECORD_ID_BYTES_MAX => Ok(word.text.clone()),
            _ => Err(self.wrong(word, format!("a key has 1 to {RECORD_ID_BYTES_MAX} bytes"))),
        }
    }

    /// What keys begin with; without it, all of them do.
    pub fn prefix(&mut self) -> Result<String, Diagnostic> {
        if self.words.first().is_none_or(is_limit) {
            self.skip();
            return Ok(String::new());
        }
        let word = self.required()?;
        if word.text.len() > RECORD_ID_BYTES_MAX {
            let message = format!("a prefix has at most {RECORD_ID_BYTES_MAX} bytes");
            return Err(self.wrong(word, message));
        }
        Ok(word.text.clone())
    }

    /// `limit=N`, if it is there.
    pub fn limit(&mut self) -> Result<Option<u32>, Diagnostic> {
        let number = self.behind(LIMIT);
        number
            .map(|number| self.number(&number, 1, u32::MAX, ""))
            .transpose()
    }

    /// What stands behind `NAME=`, if such a word is next.
    fn behind(&mut self, start: &str) -> Option<Word> {
        self.skip();
        let (word, rest) = self.words.split_first()?;
        let text = word.text.strip_prefix(start).filter(|_| !word.quoted)?;
        self.words = rest;
        let text = text.to_owned();
        Some(Word {
            text,
            ..word.clone()
        })
    }

    pub fn value(&mut self) -> Result<String, Diagnostic> {
        let word = self.required()?;
        if word.text.len() > VALUE_BYTES_MAX {
            return Err(self.wrong(word, format!("a value has at most {VALUE_BYTES_MAX} bytes")));
        }
        Ok(word.text.clone())
    }

    /// A value, or the bare word `-` for "no such record".
    pub fn value_or_absent(&mut self) -> Result<Option<String>, Diagnostic> {
        if self.words.first().is_some_and(|word| word.is_bare(ABSENT)) {
            self.required()?;
            return Ok(None);
        }
        self.value().map(Some)
    }

    pub fn optional_version(&mut self) -> Result<Option<Version>, Diagnostic> {
        if self.words.first().is_none_or(|word| word.is_bare("at")) {
            self.skip();
            return Ok(None);
        }
        let word = self.required()?;
        let version =
            Version::from_str(&word.text).map_err(|error| self.wrong(word, error.to_string()))?;
        Ok(Some(version))
    }

    /// `at ID`, if it is there.
    pub fn target(&mut self) -> Result<Target, Diagnostic> {
        let Some((first, rest)) = self
            .words
            .split_first()
            .filter(|(first, _)| first.is_bare("at"))
        else {
            self.skip();
            return Ok(None);
        };
        let Some(word) = rest.first() else {
            let message = format!("`{}` needs the name of a storage node here", first.text);
            return Err(self.line.at_end(message).hint(self.entry.syntax()));
        };
        self.skip();
        self.words = rest.get(1..).unwrap_or_default();
        self.node_name(word).map(Some)
    }

    pub fn milliseconds(&mut self) -> Result<u64, Diagnostic> {
        let word = self.required()?;
        self.number(word, 0, TIME_MS_MAX, " of milliseconds")
    }

    pub fn optional_limit(&mut self) -> Result<Option<Duration>, Diagnostic> {
        if self.words.is_empty() {
            self.skip();
            return Ok(None);
        }
        let word = self.required()?;
        let limit_ms = self.number(word, 1, TIME_MS_MAX, " of milliseconds")?;
        Ok(Some(Duration::from_millis(limit_ms)))
    }

    pub fn count(&mut self) -> Result<u32, Diagnostic> {
        let word = self.required()?;
        self.number(word, 1, REPEAT_COUNT_MAX, "")
    }

    pub fn condition(&mut self) -> Result<Condition, Diagnostic> {
        let word = self.required()?;
        let names = Condition::ALL.map(Condition::name);
        let wanted = word.text.to_lowercase();
        Condition::ALL
            .into_iter()
            .find(|condition| condition.name() == wanted)
            .ok_or_else(|| {
                self.wrong(word, format!("`{}` is nothing to wait for", word.text))
                    .hint(format!("await {}", names.join(" | ")))
                    .maybe_hint(did_you_mean(&word.text, names))
            })
    }

    /// The rest of the line as a command of its own.
    pub fn command(&mut self) -> Result<Box<Command>, Diagnostic> {
        let inner = self.words;
        self.required()?;
        self.words = &[];
        parse_command(self.line, inner, self.notices).map(Box::new)
    }

    /// The rest of the line as it was written, without its comment.
    pub fn rest(&mut self) -> Result<String, Diagnostic> {
        self.skip();
        let words = std::mem::take(&mut self.words);
        match words {
            [] => Ok(String::new()),
            [only] => Ok(only.text.clone()),
            [first, ..] => {
                let content = self.line.content().trim_end();
                Ok(content.chars().skip(first.column - 1).collect())
            }
        }
    }

    pub fn optional_text(&mut self) -> Result<Option<String>, Diagnostic> {
        if self.words.is_empty() {
            self.skip();
            return Ok(None);
        }
        self.text().map(Some)
    }

    /// A further number, which older scripts give and which means nothing.
    fn ignored(&mut self) {
        self.skip();
        if let Some((word, rest)) = self
            .words
            .split_first()
            .filter(|(word, _)| word.text.parse::<u64>().is_ok())
        {
            self.words = rest;
            let message = format!(
                "`{}` is ignored: a {} has no gossip delay",
                word.text, self.entry.name
            );
            self.notices.push(self.line.at(word, message).notice());
        }
    }

    /// The next argument is optional and not there.
    fn skip(&mut self) {
        self.specs = self.specs.get(1..).unwrap_or_default();
    }

    fn required(&mut self) -> Result<&'a Word, Diagnostic> {
        let words = self.words;
        let Some((word, rest)) = words.split_first() else {
            let required = self.specs.iter().filter(|spec| !spec.optional);
            let missing: Vec<&str> = required.map(|spec| spec.name).collect();
            let message = format!("`{}` needs {}", self.entry.name, missing.join(" and "));
            return Err(self.line.at_end(message).hint(self.entry.syntax()));
        };
        self.skip();
        self.words = rest;
        Ok(word)
    }

    fn wrong(&self, word: &Word, message: impl Into<String>) -> Diagnostic {
        self.line.at(word, message).hint(self.entry.syntax())
    }

    fn node_name(&self, word: &Word) -> Result<Name, Diagnostic> {
        let good_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let good = !word.text.is_empty()
            && word.text.len() <= NODE_NAME_CHARS_MAX
            && word.text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word.text.chars().all(good_char);
        if good {
            return Ok(Name(word.clone()));
        }
        Err(self.wrong(word, format!("`{}` is not a node's name", word.text)).hint(format!(
            "a name is 1 to {NODE_NAME_CHARS_MAX} letters, digits, `_`, `-` and `.`, and starts with a letter or digit"
        )))
    }

    fn number<N>(&self, word: &Word, min: N, max: N, of_what: &str) -> Result<N, Diagnostic>
    where
        N: FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        match word.text.parse::<N>() {
            Ok(number) if number >= min && number <= max => Ok(number),
            Ok(_) => Err(self.wrong(
                word,
                format!("`{}` is not between {min} and {max}", word.text),
            )),
            Err(_) => Err(self.wrong(
                word,
                format!("`{}` is not a whole number{of_what}", word.text),
            )),
        }
    }
}

fn is_limit(word: &Word) -> bool {
    !word.quoted && word.text.starts_with(LIMIT)
}

/// A word cut into names, without the commas, and group ends.
fn pieces(word: &Word) -> Vec<Word> {
    let mut pieces = Vec::new();
    let mut column = word.column;
    for part in word.text.split_inclusive([',', '|']) {
        let name = part.trim_end_matches([',', '|']);
        let length = name.chars().count();
        let mut add = |text: &str, column, length| {
            pieces.push(Word {
                text: text.to_owned(),
                column,
                length,
                quoted: word.quoted,
            });
        };
        if length > 0 {
            add(name, column, length);
        }
        if part.ends_with(GROUP_END) {
            add(GROUP_END, column + length, 1);
        }
        column += part.chars().count();
    }
    pieces
}
