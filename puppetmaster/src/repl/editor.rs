//! The line editor on its thread.

use crate::cluster::Cluster;
use crate::language::complete::{Offer, complete};
use crate::output::{Bars, Output};
use reedline::{
    ColumnarMenu, Completer, CompletionResult, DefaultPrompt, DefaultPromptSegment, Emacs,
    ExternalPrinter, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder, Reedline,
    ReedlineEvent, ReedlineMenu, Signal, Span, Suggestion, default_emacs_keybindings,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Commands that are remembered between sessions.
const HISTORY_COMMANDS_MAX: usize = 10_000;
/// Texts that wait for the editor to print them; when there are more, they are printed where the cursor is.
const PRINTED_MAX: usize = 4096;
/// File names that are offered at once.
const FILES_OFFERED_MAX: usize = 200;
const MENU: &str = "completions";

/// What came from the person.
pub enum Typed {
    /// One line, or several that were pasted.
    Text(String),
    /// The line was given up with Ctrl-C.
    Cancelled,
    /// Ctrl-D, or no terminal any more.
    End,
}

/// Prints above the prompt while there is one.
#[derive(Clone)]
pub struct Printer {
    prompting: Arc<AtomicBool>,
    sender: Arc<Mutex<Option<SyncSender<String>>>>,
    bars: Bars,
}

impl Printer {
    /// And the output, whose texts go above the prompt while there is one.
    pub fn above(output: &Output) -> (Self, Output) {
        let printer = Self {
            prompting: Arc::default(),
            sender: Arc::default(),
            bars: output.bars().clone(),
        };
        let first = printer.clone();
        let output = output.printed_by(move |text| first.print(text));
        (printer, output)
    }

    /// False when there is no prompt at the moment, or it has too much to print.
    fn print(&self, text: &str) -> bool {
        if !self.prompting.load(Ordering::Acquire) {
            return false;
        }
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender
            .as_ref()
            .is_some_and(|sender| sender.try_send(text.to_owned()).is_ok())
    }
}

/// Reads what a person types.
pub struct Editor {
    ask: Sender<()>,
    typed: mpsc::Receiver<Typed>,
    asked: bool,
}

impl Editor {
    pub fn start(printer: Printer, cluster: Arc<Cluster>) -> Self {
        let (ask, asked) = channel();
        let (sender, typed) = mpsc::channel(1);
        std::thread::spawn(move || edit(&asked, &sender, &printer, cluster));
        Self {
            ask,
            typed,
            asked: false,
        }
    }

    /// The next input. Cancel safe: an input is not lost when this is dropped.
    pub async fn read(&mut self) -> Typed {
        if !self.asked {
            self.asked = self.ask.send(()).is_ok();
        }
        let typed = self.typed.recv().await.unwrap_or(Typed::End);
        self.asked = false;
        typed
    }
}

fn edit(
    asked: &Receiver<()>,
    typed: &mpsc::Sender<Typed>,
    printer: &Printer,
    cluster: Arc<Cluster>,
) {
    let external = ExternalPrinter::new(PRINTED_MAX);
    *printer
        .sender
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(external.sender());
    let mut editor = line_editor(cluster).with_external_printer(external);
    let name = DefaultPromptSegment::Basic("marionette".to_owned());
    let prompt = DefaultPrompt::new(name, DefaultPromptSegment::Empty);
    while asked.recv().is_ok() {
        printer.prompting.store(true, Ordering::Release);
        let signal = printer.bars.absent_while(|| editor.read_line(&prompt));
        printer.prompting.store(false, Ordering::Release);
        // Without a place for it there is only this session's history.
        let _ = editor.sync_history();
        let next = match signal {
            Ok(Signal::Success(text)) => Typed::Text(text),
            Ok(Signal::CtrlC) => Typed::Cancelled,
            Ok(_) | Err(_) => Typed::End,
        };
        if typed.blocking_send(next).is_err() {
            return;
        }
    }
}

fn line_editor(cluster: Arc<Cluster>) -> Reedline {
    let mut keys = default_emacs_keybindings();
    let complete = vec![
        ReedlineEvent::Menu(MENU.to_owned()),
        ReedlineEvent::MenuNext,
    ];
    keys.add_binding(
        KeyModifiers::NONE,
        KeyCode::Tab,
        ReedlineEvent::UntilFound(complete),
    );
    let editor = Reedline::create()
        .with_completer(Box::new(ScriptCompleter { cluster }))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(
            ColumnarMenu::default().with_name(MENU),
        )))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_ansi_colors(std::env::var_os("NO_COLOR").is_none())
        .use_bracketed_paste(true);
    // Without a home there is no history of former sessions, which is no reason to refuse a prompt.
    let history = history_file()
        .and_then(|file| FileBackedHistory::with_file(HISTORY_COMMANDS_MAX, file).ok());
    match history {
        Some(history) => editor.with_history(Box::new(history)),
        None => editor,
    }
}

fn history_file() -> Option<PathBuf> {
    let home = |rest: &str| std::env::var_os("HOME").map(|home| Path::new(&home).join(rest));
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| home(".local/state"));
    Some(state?.join("marionette").join("history"))
}

struct ScriptCompleter {
    cluster: Arc<Cluster>,
}

impl Completer for ScriptCompleter {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        let text = line.get(..position).unwrap_or(line);
        // Of a pasted text, only the line at the cursor counts.
        let line_start = text.rfind('\n').map_or(0, |end| end + 1);
        let (start, offer) = complete(
            text.get(line_start..).unwrap_or_default(),
            &self.cluster.names(),
        );
        let span = Span::new(line_start + start, text.len());
        let words = match offer {
            Offer::Words(words) => words,
            Offer::File(beginning) => files(&beginning),
            Offer::Nothing => Vec::new(),
        };
        let suggestions: Vec<Suggestion> = words
            .into_iter()
            .map(|word| suggestion(word, span))
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

fn suggestion(value: String, span: Span) -> Suggestion {
    let append_whitespace = !value.ends_with('/');
    Suggestion {
        value,
        span,
        append_whitespace,
        ..Suggestion::default()
    }
}

/// The files and directories whose names start like this.
fn files(beginning: &str) -> Vec<String> {
    let (directory, start) = match beginning.rfind('/') {
        Some(slash) => beginning.split_at(slash + 1),
        None => ("", beginning),
    };
    let place = if directory.is_empty() {
        Path::new(".")
    } else {
        Path::new(directory)
    };
    let Ok(entries) = std::fs::read_dir(place) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !start.starts_with('.');
            let end = if entry.path().is_dir() { "/" } else { "" };
            (name.starts_with(start) && !hidden).then(|| format!("{directory}{name}{end}"))
        })
        .take(FILES_OFFERED_MAX)
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_directories_are_offered_by_the_start_of_their_names() {
        let place = tempfile::tempdir().unwrap();
        for file in ["data", "data2", ".hidden", "other"] {
            std::fs::write(place.path().join(file), "").unwrap();
        }
        std::fs::create_dir(place.path().join("dir")).unwrap();
        let start = |name: &str| format!("{}/{name}", place.path().display());
        assert_eq!(files(&start("d")), ["data", "data2", "dir/"].map(start));
        assert_eq!(files(&start(".h")), [start(".hidden")]);
        assert!(files(&start("none/")).is_empty());
    }
}
