//! Why a command could not begin, and where its words go.

use std::io::{self, Write};

use common::diagnostic::{Diagnostic, render_all};

/// What a command was given cannot be used: exit status 2.
#[derive(Debug)]
pub struct Unusable {
    pub message: String,
    pub hint: Option<String>,
    /// What is wrong in a file, line by line; told before the message.
    pub diagnostics: Vec<Diagnostic>,
}

impl Unusable {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            diagnostics: Vec::new(),
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// All diagnostics as text, each with its place; empty when there are none.
    pub fn rendered(&self, colour: bool) -> String {
        render_all(&self.diagnostics, colour)
    }
}

/// The output cannot be written, as when its reader has gone.
impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::new(format!("the output cannot be written: {error}"))
    }
}

/// Whether all is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exit status 0.
    Good,
    /// A case or the operator failed, or the file is not acceptable: exit status 1.
    Bad,
}

/// Where results and remarks go.
pub struct Terminal<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Remarks.
    pub err: &'a mut dyn Write,
    /// Whether `out` is a terminal that shows colours.
    pub colour: bool,
}

impl Terminal<'_> {
    /// The text in bold green or red, where there are colours.
    pub fn paint(&self, text: &str, is_good: bool) -> String {
        let code = if is_good { "32" } else { "1;31" };
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
