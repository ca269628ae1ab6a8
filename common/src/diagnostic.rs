//! What a person is told about a wrong line of a file: cause, place and hint.
//!
//! Scripts, application files and data files all report through [`Diagnostic`], so that they look alike wherever
//! they are read (the puppetmaster reads scripts, the scheduler reads applications). A reader of a file collects
//! *all* its diagnostics before it gives up. The renderer is plain text and pure; colour is used only when asked.
//!
//! [`line`] holds what the three languages have in common: lines, words, quotes and comments.

pub mod line;

use std::fmt::Write as _;
use std::sync::Arc;

pub use line::{Line, Word, lines, quoted};

/// A line longer than this is shown as a window around the place that is meant.
const SNIPPET_CHARS_MAX: usize = 160;
/// At most this many names are offered in a "did you mean" hint.
const SUGGESTIONS_MAX: usize = 3;

const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const BLUE: &str = "\u{1b}[1;34m";
const PLAIN: &str = "\u{1b}[0m";

/// Whether a diagnostic stops the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file is used, but something in it has no effect.
    Notice,
}

/// One remark about one place of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: Arc<str>,
    /// Counted from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// In characters, at least 1.
    pub length: usize,
    /// The line itself, so that rendering needs no second look at the file.
    pub source: String,
    pub message: String,
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error about a file as a whole, such as "there is no such file".
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: Arc::from(file),
            line: 0,
            column: 1,
            length: 1,
            source: String::new(),
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint, if there is one.
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The same as a notice.
    pub fn notice(mut self) -> Self {
        self.severity = Severity::Notice;
        self
    }

    /// Cause, place with a caret, and hint; several lines, each ended by a newline.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &'static str| if colour { code } else { "" };
        let (label, label_colour) = match self.severity {
            Severity::Error => ("error", RED),
            Severity::Notice => ("notice", YELLOW),
        };
        let (accent, strong, end) = (paint(BLUE), paint(label_colour), paint(PLAIN));
        let mut text = format!("{strong}{label}{end}: {}\n", printable(&self.message));
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        if self.line == 0 {
            let _ = writeln!(text, "{accent} -->{end} {}", self.file);
        } else {
            let (snippet, skipped) = self.snippet();
            let lead = caret_lead(&snippet, self.column.saturating_sub(skipped + 1));
            let carets = "^".repeat(self.length.clamp(1, SNIPPET_CHARS_MAX));
            let _ = writeln!(
                text,
                "{margin}{accent}-->{end} {}:{}:{}",
                self.file, self.line, self.column
            );
            let _ = writeln!(text, "{margin} {accent}|{end}");
            let _ = writeln!(text, "{accent}{number} |{end} {}", printable(&snippet));
            let _ = writeln!(text, "{margin} {accent}|{end} {lead}{strong}{carets}{end}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{margin} {accent}={end} hint: {}", printable(hint));
        }
        text
    }

    /// The part of the line that is shown, and how many characters were left out before it.
    fn snippet(&self) -> (String, usize) {
        let length = self.source.chars().count();
        if length <= SNIPPET_CHARS_MAX {
            return (self.source.clone(), 0);
        }
        let first_wanted = self.column.saturating_sub(SNIPPET_CHARS_MAX / 2);
        let skipped = first_wanted.min(length - SNIPPET_CHARS_MAX);
        let window = self.source.chars().skip(skipped).take(SNIPPET_CHARS_MAX);
        (window.collect(), skipped)
    }
}

/// One line `file:line:column: message`, for logs and for answers of services.
impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            write!(
                f,
                "{}:{}:{}: {}",
                self.file, self.line, self.column, self.message
            )?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// All diagnostics, one after another with an empty line between them.
pub fn render_all(diagnostics: &[Diagnostic], colour: bool) -> String {
    let rendered: Vec<String> = diagnostics.iter().map(|d| d.render(colour)).collect();
    rendered.join("\n")
}

/// Blanks up to the caret, with tabs kept so that the caret stands under its character.
fn caret_lead(snippet: &str, chars: usize) -> String {
    let blank = |c| if c == '\t' { '\t' } else { ' ' };
    let lead: String = snippet.chars().take(chars).map(blank).collect();
    let missing = chars.saturating_sub(snippet.chars().count());
    lead + &" ".repeat(missing)
}

/// A file must not be able to steer the terminal on which it is shown.
fn printable(text: &str) -> String {
    let safe = |c: char| {
        if c.is_control() && c != '\t' && c != '\n' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(safe).collect()
}

/// The candidates nearest to `name` without regard to case, nearest first; none if nothing is near.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let distance_max = (name.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&name, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= distance_max)
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.truncate(SUGGESTIONS_MAX);
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

/// The hint "did you mean …?" for a wrong name, if any candidate is near.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let near = nearest(name, candidates);
    let (last, before) = near.split_last()?;
    if before.is_empty() {
        return Some(format!("did you mean `{last}`?"));
    }
    let before: Vec<String> = before.iter().map(|name| format!("`{name}`")).collect();
    Some(format!("did you mean {} or `{last}`?", before.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(diagnostic: &Diagnostic, expected: &Expect) {
        expected.assert_eq(&diagnostic.render(false));
    }

    fn line(number: usize, text: &str) -> Line {
        Line {
            file: Arc::from("demo.pm"),
            number,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_word_is_underlined_and_the_hint_follows() {
        let line = line(12, "storge s1 http://localhost:3000 0");
        let word = line.words().unwrap().remove(0);
        check(
            &line
                .at(&word, "unknown command `storge`")
                .maybe_hint(did_you_mean("storge", ["status", "storage"])),
            &expect![[r"
                error: unknown command `storge`
                  --> demo.pm:12:1
                   |
                12 | storge s1 http://localhost:3000 0
                   | ^^^^^^
                   = hint: did you mean `storage`?
            "]],
        );
    }

    #[test]
    fn the_end_of_a_line_is_marked_behind_its_last_word() {
        check(
            &line(3, "\tcrash   # whom?").at_end("`crash` needs ID"),
            &expect![[r"
                error: `crash` needs ID
                 --> demo.pm:3:8
                  |
                3 | 	crash   # whom?
                  | 	      ^
            "]],
        );
    }

    #[test]
    fn a_file_as_a_whole_has_no_snippet() {
        check(
            &Diagnostic::of_file("a.pm", "there is no such file").hint("look twice"),
            &expect![[r"
                error: there is no such file
                 --> a.pm
                  = hint: look twice
            "]],
        );
    }

    #[test]
    fn a_long_line_is_shown_as_a_window_around_the_place() {
        let text = format!("{} wrong {}", "x".repeat(500), "y".repeat(500));
        let line = line(1, &text);
        let word = line.words().unwrap().remove(1);
        let rendered = line.at(&word, "bad").render(false);
        let mut shown = rendered.lines().skip(3);
        let (snippet, caret) = (shown.next().unwrap(), shown.next().unwrap());
        assert_eq!(snippet.find("wrong"), caret.find('^'));
        assert!(snippet.len() < SNIPPET_CHARS_MAX + 10);
    }

    #[test]
    fn control_characters_of_a_file_do_not_reach_the_terminal() {
        let rendered = line(1, "echo \u{1b}[2J").at_end("x").render(false);
        assert!(!rendered.contains('\u{1b}'));
    }

    #[test]
    fn colour_is_used_only_when_asked() {
        let diagnostic = Diagnostic::of_file("a.pm", "m");
        assert!(diagnostic.render(true).contains('\u{1b}'));
        assert!(!diagnostic.render(false).contains('\u{1b}'));
    }

    #[test]
    fn suggestions_are_near_and_in_order() {
        let near = |name: &str| nearest(name, ["AddOperator", "CounterOperator", "add"]).join(" ");
        expect!["AddOperator"].assert_eq(&near("addoperater"));
        expect!["add"].assert_eq(&near("ad"));
        expect![""].assert_eq(&near("sort"));
        expect!["did you mean `b` or `a`?"].assert_eq(&did_you_mean("b", ["a", "b"]).unwrap());
    }
}
