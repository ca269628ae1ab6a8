//! `marionette dev`: a whole cluster in this process, which deploys what an author of operators saves.
//!
//! The nodes are tasks on the local fabric and listen for gRPC as well, so that other terminals reach them. A thread
//! builds (`builder`); the puppetmaster deploys what was built, and takes a person's commands.

mod builder;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use common::fabric::{Address, FabricHandle, LocalFabric, OpenFabric};
use common::node::readiness_line;
use operator_tool::watch;
use puppetmaster::Surroundings;
use puppetmaster::develop::{self, Development, Order};
use puppetmaster::outcome::Outcome;
use puppetmaster::output::{Format, Output};
use tokio::sync::mpsc;

use builder::Builder;

use crate::cli;
use crate::failure::Failure;
use crate::nodes::Node;
use crate::puppets;
use crate::terminal::is_coloured;

/// Its name in its readiness line.
const NAME: &str = "dev";
/// Where everything that belongs to running is kept, in the author's directory.
const OWN_DIRECTORY: &str = ".marionette";
/// Ports after the scheduler's that are not for storage nodes: the workers' come first.
const WORKER_PORTS: u16 = 10;
/// What was built and waits to be deployed.
const ORDERS_MAX: usize = 64;

pub async fn run(arguments: cli::Dev) -> Result<ExitCode, Failure> {
    let directory = author_directory(&arguments.directory)?;
    let (orders, receiver) = mpsc::channel(ORDERS_MAX);
    let local = LocalFabric::default();
    let fabric: FabricHandle = Arc::new(local.another_end("dev"));
    // Each node has a port for others, too.
    let make_node = Node::as_tasks(local, |end| Arc::new(OpenFabric::new(end)));
    let surroundings = Surroundings {
        start_pcs: puppets::start_pcs(&fabric, move |listen| {
            Ok(pcs::Config::one_process(listen, Arc::clone(&make_node)))
        }),
        interrupts: puppets::interrupts(&fabric)?,
        output: Output::standard(Format::Text, is_coloured(&std::io::stderr())),
        fabric,
    };
    let development = Development {
        setup: setup(&arguments),
        data: data_directory(&directory, &arguments.listen)?,
        orders: receiver,
        has_prompt: std::io::stdin().is_terminal(),
    };
    let started = Builder::start(directory, orders, readiness(&arguments.listen));
    let builder =
        started.map_err(|error| Failure::other(format!("nothing can be built: {error}")))?;
    let outcome = develop::run(development, surroundings).await;
    drop(builder);
    if outcome == Outcome::NodeLost {
        let listen = &arguments.listen;
        let failure = Failure::not_started(format!("the cluster at {listen} did not start"));
        return Err(failure.hint("--listen HOST:PORT takes other ports, with records of their own"));
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

/// Where the projects are, absolute. A directory without any is most likely another one than was meant.
fn author_directory(directory: &Path) -> Result<PathBuf, Failure> {
    let unusable = |error| Failure::usage(format!("{}: {error}", directory.display()));
    let absolute = directory.canonicalize().map_err(unusable)?;
    if watch::projects(&absolute).map_err(unusable)?.is_empty() {
        let message = format!("{} holds no project of operators", directory.display());
        let hint = "`marionette operator new NAME --lang LANGUAGE` makes one";
        return Err(Failure::usage(message).hint(hint));
    }
    Ok(absolute)
}

/// Where the records are: made when it is not there, and out of the sight of git. Records belong to the addresses of their
/// nodes.
fn data_directory(directory: &Path, listen: &Address) -> Result<PathBuf, Failure> {
    let own = directory.join(OWN_DIRECTORY);
    let failed = |error| Failure::other(format!("{}: {error}", own.display()));
    std::fs::create_dir_all(&own).map_err(failed)?;
    std::fs::write(own.join(".gitignore"), "*\n").map_err(failed)?;
    let place = format!("{}-{}", listen.host(), listen.port());
    Ok(own.join("data").join(place))
}

/// The script that makes the nodes.
fn setup(arguments: &cli::Dev) -> String {
    let first = &arguments.listen;
    let mut lines = Vec::new();
    lines.extend(
        arguments
            .http
            .as_ref()
            .map(|http| format!("set http {http}")),
    );
    lines.push(format!("scheduler sc1 {first}"));
    for number in 1..=arguments.storage {
        let address = first.with_port(first.port() + WORKER_PORTS + number);
        lines.push(format!("storage s{number} {address} 0"));
    }
    for number in 1..=arguments.workers {
        let address = first.with_port(first.port() + number);
        lines.push(format!("worker w{number} {address} 0"));
    }
    lines.join("\n")
}

/// What is said when everything has been built and deployed once; the line for programs on standard output.
fn readiness(scheduler: &Address) -> Vec<Order> {
    vec![
        Order::Say(format!(
            "from another terminal: marionette run SCRIPT --connect {scheduler}"
        )),
        Order::Execute(format!("echo {}", readiness_line(NAME, scheduler))),
    ]
}
