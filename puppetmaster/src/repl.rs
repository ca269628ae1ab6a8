//! The prompt: a person's commands, with history, completion and multi-line paste.
//!
//! The line editor blocks, so it has a thread of its own; outcomes of runs that come while a person types are
//! printed above the prompt.

pub(crate) mod editor;

use crate::interpreter::{Flow, Interpreter};
use crate::outcome::Outcome;
use crate::{Config, Surroundings, close, end_load, interrupt, open, script};
use editor::{Editor, Printer, Typed};
use std::sync::Arc;
use tokio::sync::mpsc;

const WELCOME: &str = "Marionette. `help` lists the commands, `exit` stops all nodes and leaves.";
/// What the prompt is called in diagnostics.
const PROMPT_NAME: &str = "<prompt>";

/// Executes what a person types until `exit` or the end of the input. The outcome is `Well` unless there was nothing
/// to connect to: the person has seen the rest.
pub async fn run(config: Config, surroundings: Surroundings) -> Outcome {
    let Surroundings {
        fabric,
        start_pcs,
        mut interrupts,
        output,
    } = surroundings;
    let (printer, output) = Printer::above(&output);
    let cluster = match open(&config, fabric, start_pcs, output.clone()).await {
        Ok(cluster) => cluster,
        Err(outcome) => return outcome,
    };
    let mut interpreter = Interpreter::new(Arc::clone(&cluster));
    converse(&mut interpreter, printer, &mut interrupts).await;
    if config.keep && config.connect.is_empty() {
        output.message("the nodes stay until Ctrl-C");
        interrupt(&mut interrupts).await;
    }
    close(&cluster, &mut interrupts).await;
    Outcome::Well
}

/// Executes what a person types until `exit` or the end of the input, and settles what was begun.
pub(crate) async fn converse(
    interpreter: &mut Interpreter,
    printer: Printer,
    interrupts: &mut mpsc::Receiver<()>,
) {
    let cluster = Arc::clone(interpreter.cluster());
    cluster.output.message(WELCOME);
    let mut editor = Editor::start(printer, Arc::clone(&cluster));
    loop {
        let typed = tokio::select! {
            typed = editor.read() => typed,
            () = interrupt(interrupts) => Typed::End,
        };
        let text = match typed {
            Typed::Text(text) => text,
            Typed::Cancelled => continue,
            Typed::End => break,
        };
        let Ok(parsed) = script::prepare(interpreter, PROMPT_NAME, &text) else {
            continue;
        };
        let flow = tokio::select! {
            flow = script::execute(interpreter, &parsed, None) => flow,
            () = interrupt(interrupts) => {
                cluster.output.message("interrupted");
                Flow::Next
            }
        };
        end_load(interpreter, interrupts).await;
        if flow == Flow::End {
            break;
        }
    }
    tokio::select! {
        () = interpreter.settle() => {}
        () = interrupt(interrupts) => {}
    }
}
