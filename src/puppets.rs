//! Starts the puppetmaster, and gives it what roles may not take from one another: a PCS within this process.

use std::io::stderr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use common::fabric::{Address, FabricHandle, LocalFabric};
use common::status::Status;
use puppetmaster::cluster::{EmbeddedPcs, StartPcs};
use puppetmaster::language::Faults;
use puppetmaster::output::{Format, Output};
use puppetmaster::{Config, Source, Surroundings};
use tokio::sync::mpsc;

use crate::cli::{self, FabricKind};
use crate::failure::Failure;
use crate::nodes::Node;
use crate::signals;
use crate::terminal::is_coloured;

/// Where the embedded PCS listens: on a free port, so that several scripts can run at once.
const EMBEDDED_PCS: &str = "http://127.0.0.1:0";
/// Further interrupts change nothing.
const INTERRUPTS_MAX: usize = 2;

pub async fn run(arguments: cli::Run, fabric: FabricHandle) -> Result<ExitCode, Failure> {
    let local = (arguments.fabric == FabricKind::Local).then(LocalFabric::default);
    let source = arguments
        .file()
        .map_or(Source::Stdin, |file| Source::File(file.into()));
    let config = Config {
        source,
        step: arguments.step,
        keep: arguments.keep,
        pcs: arguments.puppets.pcs,
        connect: arguments.puppets.connect,
        data: absolute(arguments.puppets.data)?,
        faults: Faults::default(),
    };
    let format = format(arguments.output);
    let Some(local) = local else {
        return drive(config, format, fabric).await;
    };
    let fabric: FabricHandle = Arc::new(local.clone());
    let make = Node::as_tasks(local, |end| Arc::new(end));
    let start_pcs = start_pcs(&fabric, move |listen| {
        Ok(pcs::Config::one_process(listen, Arc::clone(&make)))
    });
    drive_with(config, format, fabric, start_pcs).await
}

/// Says one command to a running cluster.
pub async fn say(
    words: &[&str],
    to: cli::Connected,
    fabric: FabricHandle,
) -> Result<ExitCode, Failure> {
    if let Some(word) = words.iter().find(|word| word.contains('\n')) {
        let message = format!("`{word}` has a line break in it");
        return Err(Failure::usage(message));
    }
    let config = Config {
        source: Source::Words(words.iter().map(|word| (*word).to_owned()).collect()),
        step: false,
        keep: false,
        pcs: Vec::new(),
        connect: to.connect,
        data: None,
        faults: Faults::default(),
    };
    drive(config, format(to.output), fabric).await
}

pub fn format(output: cli::OutputFormat) -> Format {
    match output {
        cli::OutputFormat::Text => Format::Text,
        cli::OutputFormat::Json => Format::Json,
    }
}

pub async fn repl(puppets: cli::Puppets, fabric: FabricHandle) -> Result<ExitCode, Failure> {
    let config = Config {
        source: Source::Terminal,
        step: false,
        keep: false,
        pcs: puppets.pcs,
        connect: puppets.connect,
        data: absolute(puppets.data)?,
        faults: Faults::default(),
    };
    drive(config, Format::Text, fabric).await
}

/// A PCS has a working directory of its own.
fn absolute(directory: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    let absolute = |path: PathBuf| {
        let failed = |error| Failure::usage(format!("--data {}: {error}", path.display()));
        std::path::absolute(&path).map_err(failed)
    };
    directory.map(absolute).transpose()
}

async fn drive(config: Config, format: Format, fabric: FabricHandle) -> Result<ExitCode, Failure> {
    let start_pcs = start_pcs(&fabric, pcs::Config::embedded);
    drive_with(config, format, fabric, start_pcs).await
}

async fn drive_with(
    config: Config,
    format: Format,
    fabric: FabricHandle,
    start_pcs: StartPcs,
) -> Result<ExitCode, Failure> {
    let surroundings = Surroundings {
        start_pcs,
        interrupts: interrupts(&fabric)?,
        output: Output::standard(format, is_coloured(&stderr())),
        fabric,
    };
    let outcome = puppetmaster::run(config, surroundings).await;
    Ok(ExitCode::from(outcome.exit_code()))
}

/// Starts a PCS within this process.
pub fn start_pcs(
    fabric: &FabricHandle,
    config: impl Fn(Address) -> Result<pcs::Config, pcs::RunError> + Send + Sync + 'static,
) -> StartPcs {
    let fabric = fabric.clone();
    let failed = |error: pcs::RunError| Status::internal(error.to_string());
    Arc::new(move || {
        let fabric = fabric.clone();
        let listen = Address::parse(EMBEDDED_PCS);
        let listen = listen.map_err(|error| Status::internal(error.to_string()));
        let config = listen.and_then(|listen| config(listen).map_err(failed));
        Box::pin(async move {
            let pcs::Running { serving, life } =
                pcs::serve(config?, fabric).await.map_err(failed)?;
            Ok(EmbeddedPcs {
                serving,
                guard: Box::new(life),
            })
        })
    })
}

/// One message for each SIGINT or SIGTERM.
pub fn interrupts(fabric: &FabricHandle) -> Result<mpsc::Receiver<()>, Failure> {
    let (send, interrupts) = mpsc::channel(INTERRUPTS_MAX);
    let mut signals = signals::Interrupts::listen()?;
    let forward = async move {
        loop {
            signals.next().await;
            // A full queue says already what there is to say.
            let _ = send.try_send(());
        }
    };
    fabric.spawn(Box::pin(forward)).detach();
    Ok(interrupts)
}
