//! Application files: the chain of stages that a run goes through.
//!
//! ```text
//! operator AddOperator 0
//! operator UpdateAndChainOperator 1 timeout=2s retries=3
//! grant file:///data/words/
//! ```
//!
//! The parser promises that the stages of an [`Application`] are numbered 0, 1, 2, … without gap or repetition and
//! that their options are in range, and that it reports every wrong line at once. It does no I/O. It does not know
//! which operator classes exist: that is asked of the scheduler, which reports it with [`Stage::unknown_class`].

use crate::diagnostic::{Diagnostic, Line, Word, did_you_mean, lines};
use crate::types::BlobUrl;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

/// An application has at most this many stages.
pub const STAGES_MAX: u32 = 1024;
/// A class name has at most this many characters.
pub const CLASS_CHARS_MAX: usize = 128;
/// A stage runs for at most this long.
pub const TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// A task is retried at most this often.
pub const RETRIES_MAX: u32 = 100;
/// A `reduce` stage has at most this many partitions.
pub const PARTITIONS_MAX: u32 = 4096;
/// A `map` task gets at most this many items.
pub const CHUNK_ITEMS_MAX: u32 = 1_000_000;

/// An application grants at most this many prefixes.
pub const GRANTS_MAX: usize = 64;
/// A granted prefix has at most this many bytes.
pub const GRANT_BYTES_MAX: usize = 2048;

const SYNTAX: &str =
    "operator|map|reduce CLASS N [timeout=2s] [retries=3] [partitions=4] [chunk=100] [reuse=yes]";
const OPTIONS: [&str; 5] = ["timeout", "retries", "partitions", "chunk", "reuse"];
const GRANT: &str = "grant";
const GRANT_SYNTAX: &str = "grant URL, such as grant file:///data/ or grant s3://bucket/data/";

/// A chain of stages, in the order in which they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    pub stages: Vec<Stage>,
    /// Prefixes of the URLs that its operators may open, in normal form.
    pub grants: Vec<String>,
}

/// How the items of the stage before are dealt to tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageKind {
    /// One task sees all items.
    Operator,
    /// One task per chunk of items.
    Map,
    /// One task per partition of the items' keys.
    Reduce,
}

/// One line of an application file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub kind: StageKind,
    /// The operator's class name.
    pub class: String,
    /// The place in the chain, from 0.
    pub number: u32,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How often a failed task is tried again.
    pub retries: Option<u32>,
    /// Tasks of a `reduce` stage.
    pub partitions: Option<u32>,
    /// Items of one task of a `map` stage.
    pub chunk: Option<u32>,
    /// All options as they are written, by name: what the operator sees of them.
    pub options: BTreeMap<String, String>,
    /// Where the stage was written, for later diagnostics.
    line: Line,
    class_word: Word,
    number_word: Word,
}

impl StageKind {
    const ALL: [Self; 3] = [Self::Operator, Self::Map, Self::Reduce];

    /// The word that stands for it in application files.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Map => "map",
            Self::Reduce => "reduce",
        }
    }
}

impl Stage {
    /// An error about this stage's class, with a caret under its name.
    pub fn wrong(&self, message: impl Into<String>) -> Diagnostic {
        self.line.at(&self.class_word, message)
    }

    /// The error for a class that is not among the `known` ones, with the nearest of their names.
    pub fn unknown_class<'a>(&self, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
        self.wrong(format!("unknown operator class `{}`", self.class))
            .maybe_hint(did_you_mean(&self.class, known))
    }

    fn wrong_number(&self, message: impl Into<String>) -> Diagnostic {
        self.line.at(&self.number_word, message)
    }
}

impl Application {
    /// Reads the text of an application file; `file` is its name in diagnostics.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut stages: BTreeMap<u32, Stage> = BTreeMap::new();
        let mut grants = Vec::new();
        let mut diagnostics = Vec::new();
        for line in lines(file, text) {
            let parsed = match parse_line(&line) {
                Ok(Parsed::Grant(_)) if grants.len() == GRANTS_MAX => Err(line.at_end(format!(
                    "an application grants at most {GRANTS_MAX} prefixes"
                ))),
                Ok(Parsed::Grant(prefix)) => {
                    grants.push(prefix);
                    Ok(())
                }
                Ok(Parsed::Stage(stage)) => take_stage(&mut stages, *stage),
                Err(diagnostic) => Err(diagnostic),
            };
            diagnostics.extend(parsed.err());
        }
        // A gap may be the fault of a line that could not be read: it is reported only when all lines could.
        if diagnostics.is_empty() {
            diagnostics.extend(gaps(&stages));
            if stages.is_empty() {
                diagnostics.push(
                    Diagnostic::of_file(file, "this application has no stages")
                        .hint(format!("a stage is a line `{SYNTAX}`")),
                );
            }
        }
        if diagnostics.is_empty() {
            let stages = stages.into_values().collect();
            Ok(Self { stages, grants })
        } else {
            Err(diagnostics)
        }
    }
}

fn take_stage(stages: &mut BTreeMap<u32, Stage>, stage: Stage) -> Result<(), Diagnostic> {
    match stages.entry(stage.number) {
        Entry::Occupied(first) => Err(duplicate(&stage, first.get())),
        Entry::Vacant(place) => {
            place.insert(stage);
            Ok(())
        }
    }
}

fn duplicate(stage: &Stage, first: &Stage) -> Diagnostic {
    let message = format!(
        "stage {} is already `{}` in line {}",
        stage.number, first.class, first.line.number
    );
    stage
        .wrong_number(message)
        .hint("number the stages 0, 1, 2, … in the order in which they run")
}

fn gaps(stages: &BTreeMap<u32, Stage>) -> Vec<Diagnostic> {
    let mut expected = 0;
    let mut found = Vec::new();
    for (number, stage) in stages {
        if *number != expected {
            let missing = match *number - expected {
                1 => format!("stage {expected} is missing"),
                _ => format!("stages {expected} to {} are missing", number - 1),
            };
            found.push(
                stage
                    .wrong_number(format!("{missing} before stage {number}"))
                    .hint("stages are numbered from 0 without gaps"),
            );
        }
        expected = *number + 1;
    }
    found
}

/// What a line says.
enum Parsed {
    Stage(Box<Stage>),
    Grant(String),
}

fn parse_line(line: &Line) -> Result<Parsed, Diagnostic> {
    let words = line.words()?;
    match words.split_first() {
        Some((keyword, rest)) if keyword.text.eq_ignore_ascii_case(GRANT) => {
            parse_grant(line, rest).map(Parsed::Grant)
        }
        _ => parse_stage(line, &words).map(|stage| Parsed::Stage(Box::new(stage))),
    }
}

/// The prefix in the form in which the URLs of operators are compared with it.
fn parse_grant(line: &Line, words: &[Word]) -> Result<String, Diagnostic> {
    let [word] = words else {
        let message = "this line needs one URL prefix";
        return Err(line.at_end(message).hint(GRANT_SYNTAX));
    };
    let url = if word.text.len() > GRANT_BYTES_MAX {
        Err(format!("a prefix has at most {GRANT_BYTES_MAX} bytes"))
    } else {
        BlobUrl::parse(&word.text)
    };
    url.map(|url| url.to_string())
        .map_err(|message| line.at(word, message).hint(GRANT_SYNTAX))
}

fn parse_stage(line: &Line, words: &[Word]) -> Result<Stage, Diagnostic> {
    let mut words = words.iter();
    let needs = |what: &str| line.at_end(format!("this line needs {what}")).hint(SYNTAX);
    let keyword = words.next().ok_or_else(|| needs("a keyword"))?;
    let kind = parse_kind(line, keyword)?;
    let class_word = words.next().ok_or_else(|| needs("CLASS and N"))?;
    let number_word = words
        .next()
        .ok_or_else(|| needs("N, the number of the stage"))?;
    let mut stage = Stage {
        kind,
        class: parse_class(line, class_word)?,
        number: parse_number(line, number_word, &number_word.text, 0, STAGES_MAX - 1)?,
        timeout: None,
        retries: None,
        partitions: None,
        chunk: None,
        options: BTreeMap::new(),
        line: line.clone(),
        class_word: class_word.clone(),
        number_word: number_word.clone(),
    };
    for word in words {
        parse_option(line, word, &mut stage)?;
    }
    Ok(stage)
}

fn parse_kind(line: &Line, word: &Word) -> Result<StageKind, Diagnostic> {
    let keyword = word.text.to_lowercase();
    let kind = StageKind::ALL.into_iter().find(|k| k.keyword() == keyword);
    kind.ok_or_else(|| {
        let names = StageKind::ALL
            .map(StageKind::keyword)
            .into_iter()
            .chain([GRANT]);
        line.at(word, format!("unknown kind of stage `{}`", word.text))
            .hint(format!("a stage is a line `{SYNTAX}`"))
            .maybe_hint(did_you_mean(&word.text, names))
    })
}

/// Class names become file names at the worker: nothing that could leave a directory is let through.
fn parse_class(line: &Line, word: &Word) -> Result<String, Diagnostic> {
    let class = &word.text;
    let good_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let good = class.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && class.chars().all(good_char)
        && class.len() <= CLASS_CHARS_MAX;
    if good {
        return Ok(class.clone());
    }
    Err(line
        .at(word, format!("`{class}` is not the name of a class"))
        .hint(format!(
            "a class name is at most {CLASS_CHARS_MAX} letters, digits, `_`, `-` and `.`, and starts with a letter"
        )))
}

fn parse_number(
    line: &Line,
    word: &Word,
    text: &str,
    min: u32,
    max: u32,
) -> Result<u32, Diagnostic> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(line
            .at(
                word,
                format!("`{text}` is not a number from {min} to {max}"),
            )
            .hint(SYNTAX)),
    }
}

fn parse_option(line: &Line, word: &Word, stage: &mut Stage) -> Result<(), Diagnostic> {
    let Some((name, value)) = word.text.split_once('=') else {
        return Err(line
            .at(word, format!("`{}` is not an option", word.text))
            .hint("an option is NAME=VALUE without blanks, such as timeout=2s"));
    };
    match name {
        "timeout" => stage.timeout = Some(parse_timeout(line, word, value)?),
        "retries" => {
            stage.retries = Some(parse_number(line, word, value, 0, RETRIES_MAX)?);
        }
        "partitions" => {
            only_for(line, word, stage, StageKind::Reduce)?;
            stage.partitions = Some(parse_number(line, word, value, 1, PARTITIONS_MAX)?);
        }
        // What it counts is the operator's own business.
        "chunk" if stage.kind == StageKind::Operator => {
            parse_number(line, word, value, 1, u32::MAX)?;
        }
        "chunk" => {
            only_for(line, word, stage, StageKind::Map)?;
            stage.chunk = Some(parse_number(line, word, value, 1, CHUNK_ITEMS_MAX)?);
        }
        // Whoever runs the stage reads it among the options.
        "reuse" => check_choice(line, word, value)?,
        _ => {
            return Err(line
                .at(word, format!("unknown option `{name}`"))
                .hint(format!("the options are {}", OPTIONS.join(", ")))
                .maybe_hint(did_you_mean(name, OPTIONS)));
        }
    }
    let before = stage.options.insert(name.to_owned(), value.to_owned());
    if before.is_some() {
        return Err(line.at(word, format!("option `{name}` is given twice")));
    }
    Ok(())
}

fn check_choice(line: &Line, word: &Word, text: &str) -> Result<(), Diagnostic> {
    if matches!(text, "yes" | "no") {
        return Ok(());
    }
    Err(line.at(word, format!("`{text}` is neither `yes` nor `no`")))
}

fn only_for(line: &Line, word: &Word, stage: &Stage, kind: StageKind) -> Result<(), Diagnostic> {
    if stage.kind == kind {
        return Ok(());
    }
    let name = word.text.split('=').next().unwrap_or_default();
    Err(line.at(
        word,
        format!(
            "option `{name}` belongs to `{}`, not to `{}`",
            kind.keyword(),
            stage.kind.keyword()
        ),
    ))
}

fn parse_timeout(line: &Line, word: &Word, text: &str) -> Result<Duration, Diagnostic> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let unit_ms: Option<u64> = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let parsed = digits.parse::<u64>().ok().zip(unit_ms);
    let timeout = parsed.and_then(|(count, ms)| count.checked_mul(ms).map(Duration::from_millis));
    match timeout {
        Some(timeout) if !timeout.is_zero() && timeout <= TIMEOUT_MAX => Ok(timeout),
        _ => Err(line
            .at(word, format!("`{text}` is not a time"))
            .hint("write a number with its unit ms, s or m, such as timeout=2s; at most a day")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::render_all;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: &Expect) {
        let found = match Application::parse("app", text) {
            Err(diagnostics) => render_all(&diagnostics, false),
            Ok(application) => application.stages.iter().map(describe).collect(),
        };
        expected.assert_eq(&found);
    }

    fn describe(stage: &Stage) -> String {
        format!(
            "{} {:?} {} timeout={:?} retries={:?} partitions={:?} chunk={:?}\n",
            stage.number,
            stage.kind,
            stage.class,
            stage.timeout,
            stage.retries,
            stage.partitions,
            stage.chunk
        )
    }

    #[test]
    fn stages_come_out_in_their_order_whatever_the_order_of_lines() {
        check(
            "\u{feff}# word count\r\nreduce SumByKey 2 partitions=2\r\n\r\nOperator SplitText 0 ; first\r\nmap WordCount 1 chunk=10 timeout=500ms\r\n",
            &expect![[r"
                0 Operator SplitText timeout=None retries=None partitions=None chunk=None
                1 Map WordCount timeout=Some(500ms) retries=None partitions=None chunk=Some(10)
                2 Reduce SumByKey timeout=None retries=None partitions=Some(2) chunk=None
            "]],
        );
    }

    #[test]
    fn options_have_units_and_ranges() {
        check(
            "operator A 0 timeout=2s retries=0",
            &expect![[r"
                0 Operator A timeout=Some(2s) retries=Some(0) partitions=None chunk=None
            "]],
        );
    }

    #[test]
    fn every_wrong_line_is_reported() {
        check(
            "operater A 0\noperator ../evil 1\noperator B x\noperator C\noperator D 4 timeout=2\noperator E 5 retry=3\nreduce F 6 chunk=3\noperator G 7 retries=1 retries=2\noperator H 8 fast",
            &expect![[r"
                error: unknown kind of stage `operater`
                 --> app:1:1
                  |
                1 | operater A 0
                  | ^^^^^^^^
                  = hint: did you mean `operator`?

                error: `../evil` is not the name of a class
                 --> app:2:10
                  |
                2 | operator ../evil 1
                  |          ^^^^^^^
                  = hint: a class name is at most 128 letters, digits, `_`, `-` and `.`, and starts with a letter

                error: `x` is not a number from 0 to 1023
                 --> app:3:12
                  |
                3 | operator B x
                  |            ^
                  = hint: operator|map|reduce CLASS N [timeout=2s] [retries=3] [partitions=4] [chunk=100] [reuse=yes]

                error: this line needs N, the number of the stage
                 --> app:4:12
                  |
                4 | operator C
                  |            ^
                  = hint: operator|map|reduce CLASS N [timeout=2s] [retries=3] [partitions=4] [chunk=100] [reuse=yes]

                error: `2` is not a time
                 --> app:5:14
                  |
                5 | operator D 4 timeout=2
                  |              ^^^^^^^^^
                  = hint: write a number with its unit ms, s or m, such as timeout=2s; at most a day

                error: unknown option `retry`
                 --> app:6:14
                  |
                6 | operator E 5 retry=3
                  |              ^^^^^^^
                  = hint: the options are timeout, retries, partitions, chunk, reuse

                error: option `chunk` belongs to `map`, not to `reduce`
                 --> app:7:12
                  |
                7 | reduce F 6 chunk=3
                  |            ^^^^^^^

                error: option `retries` is given twice
                 --> app:8:24
                  |
                8 | operator G 7 retries=1 retries=2
                  |                        ^^^^^^^^^

                error: `fast` is not an option
                 --> app:9:14
                  |
                9 | operator H 8 fast
                  |              ^^^^
                  = hint: an option is NAME=VALUE without blanks, such as timeout=2s
            "]],
        );
    }

    #[test]
    fn numbers_neither_repeat_nor_leave_gaps() {
        check(
            "operator A 0\noperator B 0",
            &expect![[r"
                error: stage 0 is already `A` in line 1
                 --> app:2:12
                  |
                2 | operator B 0
                  |            ^
                  = hint: number the stages 0, 1, 2, … in the order in which they run
            "]],
        );
        check(
            "operator A 1\noperator B 4",
            &expect![[r"
                error: stage 0 is missing before stage 1
                 --> app:1:12
                  |
                1 | operator A 1
                  |            ^
                  = hint: stages are numbered from 0 without gaps

                error: stages 2 to 3 are missing before stage 4
                 --> app:2:12
                  |
                2 | operator B 4
                  |            ^
                  = hint: stages are numbered from 0 without gaps
            "]],
        );
    }

    #[test]
    fn an_empty_file_is_no_application() {
        check(
            "# nothing\n",
            &expect![[r"
                error: this application has no stages
                 --> app
                  = hint: a stage is a line `operator|map|reduce CLASS N [timeout=2s] [retries=3] [partitions=4] [chunk=100] [reuse=yes]`
            "]],
        );
    }

    #[test]
    fn an_unknown_class_is_reported_with_the_nearest_names() {
        let application = Application::parse("app", "operator AddOperater 0").unwrap();
        let known = ["CounterOperator", "AddOperator"];
        expect![[r"
            error: unknown operator class `AddOperater`
             --> app:1:10
              |
            1 | operator AddOperater 0
              |          ^^^^^^^^^^^
              = hint: did you mean `AddOperator`?
        "]]
        .assert_eq(&application.stages[0].unknown_class(known).render(false));
    }

    #[test]
    fn grants_are_prefixes_in_normal_form() {
        let text = "operator A 0\ngrant file:///data/../words\nGRANT s3://bucket/a/\ngrant HTTPS://Host:443";
        let application = Application::parse("app", text).unwrap();
        assert_eq!(
            application.grants,
            ["file:///words", "s3://bucket/a/", "https://host/"]
        );
        check(
            "operator A 0\ngrant /data\ngrant\ngrant file:///a?b\ngrant ftp://host/",
            &expect![[r"
                error: `/data` is not a URL: relative URL without a base
                 --> app:2:7
                  |
                2 | grant /data
                  |       ^^^^^
                  = hint: grant URL, such as grant file:///data/ or grant s3://bucket/data/

                error: this line needs one URL prefix
                 --> app:3:7
                  |
                3 | grant
                  |       ^
                  = hint: grant URL, such as grant file:///data/ or grant s3://bucket/data/

                error: a blob's URL has no `?` and no `#`
                 --> app:4:7
                  |
                4 | grant file:///a?b
                  |       ^^^^^^^^^^^
                  = hint: grant URL, such as grant file:///data/ or grant s3://bucket/data/

                error: `ftp` is none of the schemes of blobs: file, s3, http, https
                 --> app:5:7
                  |
                5 | grant ftp://host/
                  |       ^^^^^^^^^^^
                  = hint: grant URL, such as grant file:///data/ or grant s3://bucket/data/
            "]],
        );
    }
}
