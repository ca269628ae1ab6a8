//! A whole script: checked first, then executed; and the reader of keys for `--step`.

use crate::interpreter::{Flow, Interpreter};
use crate::language::check::check_script;
use crate::language::files::Disk;
use crate::language::parse::Parsed;
use crate::outcome::Outcome;
use crate::output::{Event, Output};
use std::io::BufRead;
use tokio::sync::{mpsc, oneshot};

/// Reads and checks a text; the errors are said, and then there is nothing to execute.
pub fn prepare(interpreter: &Interpreter, file: &str, text: &str) -> Result<Parsed, Outcome> {
    let cluster = interpreter.cluster();
    let parsed = check_script(file, text, &cluster.known(), &Disk);
    for diagnostic in parsed.errors.iter().chain(&parsed.notices) {
        cluster.output.say(&Event::Diagnostic(diagnostic.clone()));
    }
    if parsed.errors.is_empty() {
        Ok(parsed)
    } else {
        Err(Outcome::WrongScript)
    }
}

/// Executes the statements of a script; true when it said `exit`.
pub async fn execute(
    interpreter: &mut Interpreter,
    parsed: &Parsed,
    mut step: Option<Stepper>,
) -> Flow {
    for statement in &parsed.statements {
        if let Some(stepper) = &mut step {
            let place = format!("{}:{}", statement.line.file, statement.line.number);
            let text = statement.line.content().trim().to_owned();
            interpreter
                .cluster()
                .output
                .say(&Event::Step { place, text });
            stepper.pause().await;
        }
        if interpreter.execute(statement).await == Flow::End {
            return Flow::End;
        }
    }
    Flow::Next
}

/// Waits for the person between two commands.
pub struct Stepper {
    /// Closed when no more keys can be read: then nothing is waited for.
    lines: mpsc::Receiver<()>,
}

impl Stepper {
    /// Reads from standard input, or from the terminal when the script itself came from there.
    pub fn new(script_is_stdin: bool, output: &Output) -> Self {
        output.message("step: the Enter key executes the command that is shown");
        let (sender, lines) = mpsc::channel(1);
        std::thread::spawn(move || {
            let reader: Box<dyn BufRead> = if script_is_stdin {
                match std::fs::File::open("/dev/tty") {
                    Ok(terminal) => Box::new(std::io::BufReader::new(terminal)),
                    Err(_) => return,
                }
            } else {
                Box::new(std::io::stdin().lock())
            };
            for line in reader.lines() {
                if line.is_err() || sender.blocking_send(()).is_err() {
                    return;
                }
            }
        });
        Self { lines }
    }

    async fn pause(&mut self) {
        // An end of the input is no reason to stop: the rest is executed without pauses.
        let _ = self.lines.recv().await;
    }
}

/// Does something that blocks, on a thread of its own, so that an interrupt is heard meanwhile.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody listens any more after an interrupt.
        let _ = sender.send(work());
    });
    receiver.await.ok()
}
