//! The binary `marionette`: reads the command line, starts a role, ends with its exit status. Nothing else.

mod check;
mod cli;
mod dev;
mod failure;
mod nodes;
mod operator;
mod puppets;
mod signals;
mod simulate;
mod terminal;
mod verify;

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use common::fabric::{FabricHandle, GrpcFabric};
use common::telemetry::{self, LOG_DEFAULT};

use cli::{Cli, Command, FabricKind, StorageCommand, StorageTask};
use failure::Failure;
use nodes::Node;

fn main() -> ExitCode {
    // First of all, and on this thread, which lives as long as the process.
    match pcs::die_with_parent().map_err(|error| Failure::not_started(error.to_string())) {
        Ok(()) => start(Cli::read()).unwrap_or_else(|failure| failure.report()),
        Err(failure) => failure.report(),
    }
}

fn start(cli: Cli) -> Result<ExitCode, Failure> {
    let logged = match &cli.command {
        // Says all of it itself.
        Some(Command::Operator(_)) => "off",
        Some(Command::Dev(_)) => "warn,operator=info,run=info",
        _ => LOG_DEFAULT,
    };
    telemetry::start(logged).map_err(Failure::usage)?;
    // With a runtime, and a clock, of its own.
    match &cli.command {
        Some(Command::Simulate(arguments)) => return simulate::run(arguments),
        Some(Command::Run(run)) if run.fabric == FabricKind::Sim => {
            let no_file = || Failure::usage("a simulation needs the script's file");
            return simulate::run(&cli::Simulate::of(run).ok_or_else(no_file)?);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads(cli.command.as_ref()))
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("the runtime could not be started: {error}")))?;
    let ended = runtime.block_on(async {
        let command = cli.command.unwrap_or_else(by_default);
        let fabric: FabricHandle = if command.allows_faults() {
            Arc::new(GrpcFabric::with_faults())
        } else {
            Arc::new(GrpcFabric::default())
        };
        dispatch(command, fabric).await
    });
    // A thread that still reads the terminal does not keep the process.
    runtime.shutdown_background();
    ended
}

/// Of the runtime. A node is one task, with others around it that only read and write messages, and seldom has a machine to
/// itself: with a thread for each core, they would mostly wake one another.
fn threads(command: Option<&Command>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    match command {
        Some(Command::Scheduler(_) | Command::Storage(_) | Command::Worker(_)) => cores.div_ceil(2),
        _ => cores,
    }
}

/// Blocks this thread, which nobody else needs.
fn serve_native_tasks() -> Result<ExitCode, Failure> {
    worker::host::serve_native_tasks()
        .map_err(|error| Failure::other(format!("the worker cannot be talked to: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Without a command: a person at a terminal gets the REPL, a pipe is a script.
fn by_default() -> Command {
    if std::io::stdin().is_terminal() {
        Command::Repl(cli::Puppets::default())
    } else {
        Command::Run(cli::Run::standard_input())
    }
}

async fn dispatch(command: Command, fabric: FabricHandle) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(arguments) => puppets::run(arguments, fabric).await,
        Command::Repl(arguments) => puppets::repl(arguments, fabric).await,
        Command::Pcs(arguments) => nodes::pcs(arguments, fabric).await,
        Command::Scheduler(node) => nodes::run(Node::Scheduler(node), fabric).await,
        Command::Storage(arguments) => match *arguments {
            StorageCommand::Node(node) => nodes::run(Node::Storage(node), fabric).await,
            StorageCommand::Task(StorageTask::Verify(arguments)) => verify::run(&arguments),
        },
        Command::Worker(node) => nodes::run(Node::Worker(node), fabric).await,
        Command::NativeHost => serve_native_tasks(),
        Command::Deploy(cli::Deploy { file, cluster }) => {
            puppets::say(&["deploy", &file], cluster, fabric).await
        }
        Command::Rollback(cli::Rollback { class, cluster }) => {
            puppets::say(&["rollback", &class], cluster, fabric).await
        }
        Command::Check(arguments) => check::run(&arguments),
        Command::Operators(cluster) => puppets::say(&["operators"], cluster, fabric).await,
        Command::Operator(command) => operator::run(command).await,
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Simulate(arguments) => simulate::run(&arguments),
    }
}
