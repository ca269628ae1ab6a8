//! The puppetmaster: reads a script, or a person's commands, and drives a whole cluster through PCSs.
//!
//! - [`language`]: scripts, data files, completion and help; pure.
//! - [`cluster`]: the nodes, their PCSs, and what becomes of them.
//! - [`interpreter`]: executes a command on a cluster.
//! - [`backup`]: the file of a backup.
//! - [`script`], [`repl`], [`develop`]: where commands come from.
//! - [`output`]: everything that is said; [`outcome`]: how it went. [`debug`]: the nodes' debug lines.
//!
//! Promises: a script that is wrong anywhere starts nothing; a file, standard input and the prompt go through the
//! same interpreter; whatever was started is stopped when [`run`] returns, and by the PCSs' leases when this process
//! is killed. Relies on `main` for the fabric, an embedded PCS and the interrupts. Must never import another role.

pub mod backup;
pub mod cluster;
pub mod debug;
pub mod develop;
pub mod interpreter;
pub mod language;
pub mod outcome;
pub mod output;
pub mod repl;
pub mod script;

use cluster::{Cluster, StartPcs};
use common::diagnostic::{Diagnostic, quoted};
use common::fabric::{Address, FabricHandle};
use interpreter::Interpreter;
use language::Faults;
use language::files::{Disk, Files, utf8};
use outcome::{Failure, Outcome};
use output::{Event, Output};
use script::{Stepper, blocking};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What standard input is called in diagnostics.
const STDIN_NAME: &str = "<stdin>";

/// What the words of a command line are called there.
const WORDS_NAME: &str = "<command line>";

/// Where the commands come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Stdin,
    /// A person at a terminal.
    Terminal,
    /// One command, as the words of a command line.
    Words(Vec<String>),
    /// What a file would hold that was there.
    Text {
        file: PathBuf,
        text: String,
    },
}

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub source: Source,
    /// One command at a time.
    pub step: bool,
    /// Nodes stay until an interrupt.
    pub keep: bool,
    /// PCSs apart from those at port 10000 of the nodes' hosts.
    pub pcs: Vec<Address>,
    /// Schedulers of a cluster that was started by hand; none: the script makes one.
    pub connect: Vec<Address>,
    /// Where storage nodes keep their records: absolute, on the host of the PCS that starts the node. Absent: in memory.
    pub data: Option<PathBuf>,
    /// What goes wrong by chance, instead of what the script says.
    pub faults: Faults,
}

/// What `main` hands over.
pub struct Surroundings {
    pub fabric: FabricHandle,
    pub start_pcs: StartPcs,
    /// One message for each interrupt (Ctrl-C): the first ends the script and stops the nodes in order, the second
    /// ends at once.
    pub interrupts: mpsc::Receiver<()>,
    pub output: Output,
}

/// Executes a script, or what a person types, and stops whatever it started.
pub async fn run(config: Config, surroundings: Surroundings) -> Outcome {
    let Surroundings {
        fabric,
        start_pcs,
        mut interrupts,
        output,
    } = surroundings;
    if config.source == Source::Terminal {
        return repl::run(
            config,
            Surroundings {
                fabric,
                start_pcs,
                interrupts,
                output,
            },
        )
        .await;
    }
    let (file, text) = tokio::select! {
        read = read_script(&config.source) => match read {
            Ok(found) => found,
            Err(diagnostic) => {
                output.say(&Event::Diagnostic(diagnostic));
                return Outcome::WrongScript;
            }
        },
        () = interrupt(&mut interrupts) => return Outcome::Failed,
    };
    let cluster = match open(&config, fabric, start_pcs, output.clone()).await {
        Ok(cluster) => cluster,
        Err(outcome) => return outcome,
    };
    let mut interpreter = Interpreter::new(Arc::clone(&cluster));
    let parsed = match script::prepare(&interpreter, &file, &text) {
        Ok(parsed) => parsed,
        Err(outcome) => {
            output.message("the script is wrong: nothing was started");
            return outcome;
        }
    };
    interpreter.disturb(config.faults, &parsed.statements);
    let step = config
        .step
        .then(|| Stepper::new(config.source == Source::Stdin, &output));
    let executing = async {
        script::execute(&mut interpreter, &parsed, step).await;
        interpreter.settle().await;
    };
    let interrupted = tokio::select! {
        () = executing => false,
        () = interrupt(&mut interrupts) => true,
    };
    let outcome = interpreter.outcome();
    if interrupted {
        output.message("interrupted");
        end_load(&mut interpreter, &mut interrupts).await;
    } else if config.keep && config.connect.is_empty() {
        output.message("the nodes stay until Ctrl-C");
        interrupt(&mut interrupts).await;
    }
    close(&cluster, &mut interrupts).await;
    // A node that was lost while the others were kept counts as well.
    let outcome = outcome.and(cluster.outcome());
    if interrupted {
        outcome.and(Outcome::Failed)
    } else {
        outcome
    }
}

/// A cluster without nodes, or the one that was started by hand.
async fn open(
    config: &Config,
    fabric: FabricHandle,
    start_pcs: StartPcs,
    output: Output,
) -> Result<Arc<Cluster>, Outcome> {
    if config.connect.is_empty() {
        return Ok(Cluster::new(
            fabric,
            output,
            config.pcs.clone(),
            start_pcs,
            config.data.clone(),
        ));
    }
    let schedulers = config.connect.clone();
    let connected = Cluster::connect(fabric, output.clone(), schedulers, start_pcs).await;
    connected.map_err(|failure| {
        say_failure(&output, &failure);
        Outcome::NodeLost
    })
}

/// A failure of no line of a script.
fn say_failure(output: &Output, failure: &Failure) {
    let hint = match failure {
        Failure::Failed {
            hint: Some(hint), ..
        } => format!("\nhint: {hint}"),
        _ => String::new(),
    };
    output.message(format!("error: {}{hint}", failure.message()));
}

/// Returns at an interrupt; never, when nobody can send one any more.
async fn interrupt(interrupts: &mut mpsc::Receiver<()>) {
    if interrupts.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Tells what a load has measured when it was interrupted, after its runs were cancelled; a further interrupt gives up on that.
async fn end_load(interpreter: &mut Interpreter, interrupts: &mut mpsc::Receiver<()>) {
    tokio::select! {
        () = interpreter.end_load() => {}
        () = interrupt(interrupts) => {}
    }
}

/// Stops everything in order; a further interrupt gives up on the order, and the PCSs kill what is left.
async fn close(cluster: &Cluster, interrupts: &mut mpsc::Receiver<()>) {
    tokio::select! {
        () = cluster.close() => {}
        () = interrupt(interrupts) => {}
    }
}

/// The name of the script in diagnostics, and its text.
async fn read_script(source: &Source) -> Result<(String, String), Diagnostic> {
    match source {
        Source::File(path) => read_file(path),
        Source::Text { file, text } => Ok((file.display().to_string(), text.clone())),
        Source::Words(words) => {
            let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            Ok((WORDS_NAME.to_owned(), quoted.join(" ")))
        }
        Source::Stdin | Source::Terminal => {
            let read = || {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .lock()
                    .read_to_end(&mut bytes)
                    .map_err(|error| error.to_string())?;
                utf8(bytes)
            };
            let text = blocking(read)
                .await
                .unwrap_or_else(|| Err("its reader has failed".to_owned()));
            let name = redirected_file().unwrap_or_else(|| STDIN_NAME.to_owned());
            match text {
                Ok(text) => Ok((name, text)),
                Err(why) => Err(Diagnostic::of_file(
                    &name,
                    format!("cannot read the script: {why}"),
                )),
            }
        }
    }
}

/// The file that `< FILE` has made standard input: `run < x.pm` is the same as `run x.pm`, so what the script names is
/// looked for beside it. Nothing for a pipe or a terminal, and where the system does not tell.
fn redirected_file() -> Option<String> {
    let file = std::fs::read_link("/proc/self/fd/0").ok()?;
    if !file.is_file() {
        return None;
    }
    let here = std::env::current_dir().ok()?;
    let name = file.strip_prefix(here).unwrap_or(&file);
    Some(name.display().to_string())
}

fn read_file(path: &Path) -> Result<(String, String), Diagnostic> {
    let file = path.display().to_string();
    match Disk.read(path) {
        Some(Ok(text)) => Ok((file, text)),
        Some(Err(why)) => Err(Diagnostic::of_file(
            &file,
            format!("cannot read the script: {why}"),
        )),
        None => Err(Diagnostic::of_file(&file, "there is no such script")),
    }
}
