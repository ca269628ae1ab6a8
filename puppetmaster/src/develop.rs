//! A cluster to develop on: it is set up by a script, obeys a program beside it, and a person if there is one.

use crate::cluster::Cluster;
use crate::interpreter::Interpreter;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::repl::{self, editor::Printer};
use crate::{Surroundings, close, interrupt, say_failure, script};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What the setup and the program's commands are called in diagnostics.
const SETUP_NAME: &str = "<setup>";
const PROGRAM_NAME: &str = "<dev>";

pub struct Development {
    /// A script that creates the nodes.
    pub setup: String,
    /// What the program has to say: taken one at a time, when the nodes are ready.
    pub orders: mpsc::Receiver<Order>,
    /// Where storage nodes keep their records, absolute.
    pub data: PathBuf,
    /// Whether a person types commands.
    pub has_prompt: bool,
}

pub enum Order {
    /// A command of the script language.
    Execute(String),
    Say(String),
}

/// Runs until an interrupt, or until the person ends it. `Well`, unless a node could not be started.
pub async fn run(development: Development, surroundings: Surroundings) -> Outcome {
    let Surroundings {
        fabric,
        start_pcs,
        mut interrupts,
        output,
    } = surroundings;
    let (printer, output) = Printer::above(&output);
    let data = Some(development.data);
    let cluster = Cluster::new(fabric, output.clone(), Vec::new(), start_pcs, data);
    let mut interpreter = Interpreter::new(Arc::clone(&cluster));
    let started = tokio::select! {
        started = set_up(&mut interpreter, &development.setup) => started,
        () = interrupt(&mut interrupts) => Some(Outcome::Well),
    };
    if let Some(outcome) = started {
        close(&cluster, &mut interrupts).await;
        return outcome;
    }
    let person = async {
        if development.has_prompt {
            repl::converse(&mut interpreter, printer, &mut interrupts).await;
        } else {
            interrupt(&mut interrupts).await;
        }
    };
    tokio::select! {
        () = person => {}
        () = obey(&cluster, &output, development.orders) => {}
    }
    output.message("stopping all nodes");
    close(&cluster, &mut interrupts).await;
    Outcome::Well
}

/// Makes the nodes and waits until all can work; otherwise how it went.
async fn set_up(interpreter: &mut Interpreter, setup: &str) -> Option<Outcome> {
    let parsed = match script::prepare(interpreter, SETUP_NAME, setup) {
        Ok(parsed) => parsed,
        Err(outcome) => return Some(outcome),
    };
    script::execute(interpreter, &parsed, None).await;
    if interpreter.outcome() != Outcome::Well {
        return Some(interpreter.outcome());
    }
    // Others find the storage only when its nodes know one another.
    let cluster = interpreter.cluster();
    let failure = cluster.ready_for_runs().await.err()?;
    say_failure(&cluster.output, &failure);
    Some(Outcome::NodeLost)
}

/// Never returns: a program that has nothing more to say leaves the cluster to the person.
async fn obey(cluster: &Arc<Cluster>, output: &Output, mut orders: mpsc::Receiver<Order>) {
    let mut interpreter = Interpreter::new(Arc::clone(cluster));
    while let Some(order) = orders.recv().await {
        match order {
            Order::Say(text) => output.message(text),
            Order::Execute(command) => {
                // What is wrong with it has been said.
                if let Ok(parsed) = script::prepare(&interpreter, PROGRAM_NAME, &command) {
                    script::execute(&mut interpreter, &parsed, None).await;
                }
            }
        }
    }
    std::future::pending::<()>().await;
}
