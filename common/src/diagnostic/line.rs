//! Lines and words of the line-based languages: scripts, application files and data files.
//!
//! All three are UTF-8 text. A byte-order mark and carriage returns are dropped, blank lines are skipped. A comment
//! is `#`, `;` or `//` at the start of a line or after a blank, and goes to the end of the line; so the `//` of
//! `http://…` starts none. A word that starts with `"` goes to the next `"` and may hold blanks; in it `\"` and `\\`
//! stand for `"` and `\`. Positions are counted in characters, from 1.

use super::{Diagnostic, Severity};
use std::sync::Arc;

/// One line of a file, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub file: Arc<str>,
    /// Counted from 1.
    pub number: usize,
    pub text: String,
}

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Without quotes and with escapes resolved.
    pub text: String,
    /// In characters, counted from 1, of the quote if there is one.
    pub column: usize,
    /// In characters, with the quotes.
    pub length: usize,
    pub quoted: bool,
}

impl Word {
    /// The column behind the word.
    pub fn end_column(&self) -> usize {
        self.column + self.length
    }

    /// Whether this is the bare word `text`; a quoted word is always meant literally.
    pub fn is_bare(&self, text: &str) -> bool {
        !self.quoted && self.text == text
    }
}

/// The word of a line that means this text, whatever it holds but line breaks.
pub fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// The lines of a file that hold more than blanks and comments.
pub fn lines(file: &str, text: &str) -> Vec<Line> {
    let file: Arc<str> = Arc::from(file);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines()
        .enumerate()
        .map(|(index, line)| Line {
            file: Arc::clone(&file),
            number: index + 1,
            text: line.trim_end_matches('\r').to_owned(),
        })
        .filter(|line| !line.content().trim().is_empty())
        .collect()
}

impl Line {
    /// The line without its comment. Quotes are respected, so that a quoted `#` starts none.
    pub fn content(&self) -> &str {
        let end = scan(&self.text).end_byte;
        self.text.get(..end).unwrap_or(&self.text)
    }

    /// The words of the line, or what is wrong with its quotes.
    pub fn words(&self) -> Result<Vec<Word>, Diagnostic> {
        let Scan { words, fault, .. } = scan(&self.text);
        match fault {
            None => Ok(words),
            Some((word, message)) => Err(self.at(&word, message).hint(
                "a quoted word ends with `\"` and is followed by a blank; inside, write `\\\"` for a quote",
            )),
        }
    }

    /// An error about one word.
    pub fn at(&self, word: &Word, message: impl Into<String>) -> Diagnostic {
        self.error(word.column, word.length, message.into())
    }

    /// An error about something that is missing at the end of the line.
    pub fn at_end(&self, message: impl Into<String>) -> Diagnostic {
        let column = self.content().trim_end().chars().count() + 2;
        self.error(column, 1, message.into())
    }

    /// An error about `length` characters from `column` on.
    pub fn at_columns(
        &self,
        column: usize,
        length: usize,
        message: impl Into<String>,
    ) -> Diagnostic {
        self.error(column, length.max(1), message.into())
    }

    fn error(&self, column: usize, length: usize, message: String) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: Arc::clone(&self.file),
            line: self.number,
            column,
            length,
            source: self.text.clone(),
            message,
            hint: None,
        }
    }
}

/// What one pass over a line finds.
struct Scan {
    words: Vec<Word>,
    /// Where the comment starts, or the end of the line.
    end_byte: usize,
    fault: Option<(Word, &'static str)>,
}

fn scan(text: &str) -> Scan {
    let mut found = Scan {
        words: Vec::new(),
        end_byte: text.len(),
        fault: None,
    };
    let mut rest = text;
    let mut column = 1;
    loop {
        let trimmed = rest.trim_start();
        column += rest.chars().take_while(|c| c.is_whitespace()).count();
        if trimmed.is_empty() {
            return found;
        }
        if ["#", ";", "//"].iter().any(|c| trimmed.starts_with(c)) {
            found.end_byte = text.len() - trimmed.len();
            return found;
        }
        let (word, bytes, fault) = if trimmed.starts_with('"') {
            quoted_word(trimmed, column)
        } else {
            let end = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
            let bare = trimmed.get(..end).unwrap_or(trimmed);
            (new_word(bare.to_owned(), column, bare, false), end, None)
        };
        if found.fault.is_none() {
            found.fault = fault.map(|message| (word.clone(), message));
        }
        column += word.length;
        found.words.push(word);
        rest = trimmed.get(bytes..).unwrap_or("");
    }
}

fn new_word(text: String, column: usize, raw: &str, quoted: bool) -> Word {
    Word {
        text,
        column,
        length: raw.chars().count(),
        quoted,
    }
}

/// The quoted word at the start of `text`: the word, its bytes, and what is wrong with it.
fn quoted_word(text: &str, column: usize) -> (Word, usize, Option<&'static str>) {
    let mut value = String::new();
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            '"' | '\\' if escaped => value.push(c),
            '"' => {
                let end = index + c.len_utf8();
                let (raw, after) = text.split_at(end);
                let apart = after.is_empty() || after.starts_with(char::is_whitespace);
                let fault = (!apart).then_some("this quoted word goes on behind its quote");
                return (new_word(value, column, raw, true), end, fault);
            }
            '\\' => {}
            _ if escaped => value.extend(['\\', c]),
            _ => value.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    let word = new_word(value, column, text, true);
    (word, text.len(), Some("this quoted word has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::fmt::Write as _;

    fn check(text: &str, expected: &Expect) {
        let mut found = String::new();
        for line in lines("f", text) {
            match line.words() {
                Ok(words) => {
                    let words: Vec<String> = words
                        .iter()
                        .map(|w| {
                            format!(
                                "{}[{}@{}+{}]",
                                w.text,
                                u8::from(w.quoted),
                                w.column,
                                w.length
                            )
                        })
                        .collect();
                    let _ = writeln!(found, "{}: {}", line.number, words.join(" "));
                }
                Err(diagnostic) => {
                    let _ = writeln!(found, "{diagnostic}");
                }
            }
        }
        expected.assert_eq(&found);
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_are_dropped_and_blank_lines_skipped() {
        check(
            "\u{feff}debug\r\n\r\n  \t\r\nstatus\r\n",
            &expect![[r"
                1: debug[0@1+5]
                4: status[0@1+6]
            "]],
        );
    }

    #[test]
    fn a_comment_starts_only_where_a_word_could() {
        check(
            "# a\n; b\n// c\n  # d\nread a#b // e\nscheduler http://h:1;x # f",
            &expect![[r"
                5: read[0@1+4] a#b[0@6+3]
                6: scheduler[0@1+9] http://h:1;x[0@11+12]
            "]],
        );
    }

    #[test]
    fn what_is_quoted_is_read_as_it_was() {
        for text in ["", "a b", r#"say "x" # y"#, r"C:\dir\", r#"\""#, "é"] {
            let line = lines("file", &quoted(text)).remove(0);
            assert_eq!(line.words().unwrap()[0].text, text);
        }
    }

    #[test]
    fn a_quoted_word_may_hold_blanks_comments_and_escapes() {
        check(
            r#"write k "a b # \"c\" \\ \n" "" x"y"#,
            &expect![[r#"
                1: write[0@1+5] k[0@7+1] a b # "c" \ \n[1@9+19] [1@29+2] x"y[0@32+3]
            "#]],
        );
    }

    #[test]
    fn faulty_quotes_are_reported() {
        check(
            "write k \"a b\nwrite k \"a\"b \n",
            &expect![[r#"
                f:1:9: this quoted word has no end (a quoted word ends with `"` and is followed by a blank; inside, write `\"` for a quote)
                f:2:9: this quoted word goes on behind its quote (a quoted word ends with `"` and is followed by a blank; inside, write `\"` for a quote)
            "#]],
        );
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        check(
            "écho ünï 日本 x",
            &expect![[r"
            1: écho[0@1+4] ünï[0@6+3] 日本[0@10+2] x[0@13+1]
        "]],
        );
    }
}
