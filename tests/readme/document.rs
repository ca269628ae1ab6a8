//! The little of Markdown that the documents use: headings, fenced blocks, words in backticks.

const FENCE: &str = "```";
/// How the REPL prompts.
const PROMPT: &str = "marionette> ";
const EXIT_STATUS: &str = "# exit status ";

/// What stands between two headings: its background processes and variables end with it.
#[derive(Debug, Default)]
pub struct Section {
    pub title: String,
    pub parts: Vec<Part>,
}

#[derive(Debug)]
pub enum Part {
    File {
        name: String,
        text: String,
    },
    Commands(Vec<Command>),
    /// What the last command prints.
    Output(Vec<String>),
    /// What was typed at the prompt, and what it printed.
    Dialogue {
        typed: String,
        output: Vec<String>,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// For messages: `README.md:23`.
    pub place: String,
    pub text: String,
    pub in_background: bool,
    pub exit_status: i32,
}

#[derive(Debug)]
pub struct Document {
    pub sections: Vec<Section>,
}

/// A fenced block, and what stands before it.
struct Block {
    /// Of the line behind the fence.
    first_line: usize,
    language: String,
    file: Option<String>,
    lines: Vec<String>,
}

impl Document {
    pub fn parse(path: &str, text: &str) -> Self {
        let mut sections = vec![Section::default()];
        let mut introduction = "";
        let mut lines = (1..).zip(text.lines());
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.strip_prefix(FENCE) {
                let block = Block {
                    first_line: number + 1,
                    language: language.to_owned(),
                    file: file_name(introduction),
                    lines: lines
                        .by_ref()
                        .map(|(_, line)| line.to_owned())
                        .take_while(|line| line != FENCE)
                        .collect(),
                };
                let part = block.part(path);
                sections.last_mut().unwrap().parts.push(part);
            } else if line.starts_with('#') {
                sections.push(Section {
                    title: format!("{path}:{number}: {line}"),
                    parts: Vec::new(),
                });
            }
            if !line.trim().is_empty() {
                introduction = line;
            }
        }
        Self { sections }
    }
}

/// The file of which a line says that it follows: `` `NAME`, and so on: ``.
fn file_name(introduction: &str) -> Option<String> {
    let (name, rest) = introduction.strip_prefix('`')?.split_once('`')?;
    (name.contains('.') && rest.ends_with(':')).then(|| name.to_owned())
}

impl Block {
    fn part(self, path: &str) -> Part {
        if let Some(name) = self.file {
            let text = self.lines.join("\n") + "\n";
            return Part::File { name, text };
        }
        let is_typed = |line: &String| line.starts_with(PROMPT);
        match self.language.as_str() {
            "sh" => {
                let lines = (self.first_line..).zip(&self.lines);
                Part::Commands(
                    lines
                        .filter_map(|(number, line)| command(format!("{path}:{number}"), line))
                        .collect(),
                )
            }
            "text" if self.lines.iter().any(is_typed) => {
                let (typed, output): (Vec<_>, Vec<_>) = self.lines.into_iter().partition(is_typed);
                let typed: Vec<&str> = typed.iter().map(|line| &line[PROMPT.len()..]).collect();
                Part::Dialogue {
                    typed: typed.join("\n") + "\n",
                    output,
                }
            }
            "text" => Part::Output(self.lines),
            other => panic!(
                "{path}:{}: a block `{other}` is neither a file nor sh nor text",
                self.first_line
            ),
        }
    }
}

/// `None`: a comment, or nothing.
fn command(place: String, line: &str) -> Option<Command> {
    let (text, comment) = match line.find('#') {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let text = text.trim();
    let foreground = text.strip_suffix('&').map(str::trim);
    (!text.is_empty()).then(|| Command {
        place,
        text: foreground.unwrap_or(text).to_owned(),
        in_background: foreground.is_some(),
        exit_status: comment
            .strip_prefix(EXIT_STATUS)
            .map_or(0, |status| status.trim().parse().unwrap()),
    })
}

/// The words in backticks outside of blocks.
pub fn code_words(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut words = Vec::new();
    for line in text.lines() {
        in_block ^= line.starts_with(FENCE);
        if !in_block {
            words.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

#[test]
fn a_document_is_read_as_its_conventions_say() {
    let text = "# T\n`a.pm`:\n```\necho\n```\nDo:\n```sh\n# first\nx & # on\ny  # exit status 2\n```\n```text\n1\n```\n";
    let document = Document::parse("D", text);
    let [_, section] = &document.sections[..] else {
        panic!("{document:?}")
    };
    let [
        Part::File { name, text },
        Part::Commands(commands),
        Part::Output(output),
    ] = &section.parts[..]
    else {
        panic!("{section:?}")
    };
    assert_eq!((name.as_str(), text.as_str()), ("a.pm", "echo\n"));
    let command = |place: &str, text: &str, in_background, exit_status| Command {
        place: place.to_owned(),
        text: text.to_owned(),
        in_background,
        exit_status,
    };
    assert_eq!(
        *commands,
        [command("D:9", "x", true, 0), command("D:10", "y", false, 2)]
    );
    assert_eq!(*output, ["1"]);
}
