//! `marionette dev`: a whole cluster in this process, which deploys what an author of operators saves.
//!
//! The nodes are tasks on the local fabric and listen for gRPC as well, so that other terminals reach them. A thread
//! builds; the puppetmaster deploys what was built, and takes a person's commands.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use common::fabric::{Address, FabricHandle, LocalFabric, OpenFabric};
use common::node::readiness_line;
use operator_tool::machine::Machine;
use operator_tool::watch::{self, News, Outcome};
use pcs::RunNode;
use puppetmaster::Surroundings;
use puppetmaster::develop::{self, Development, Order};
use puppetmaster::output::{Format, Output};
use tokio::sync::mpsc;

use crate::cli;
use crate::failure::Failure;
use crate::nodes::Node;
use crate::puppets;

/// Its name in its readiness line.
const NAME: &str = "dev";
/// Where everything that belongs to running is kept, in the author's directory.
const OWN_DIRECTORY: &str = ".marionette";
/// Where the PCS listens, in this process only.
const PCS: &str = "http://127.0.0.1:0";
/// Ports from the scheduler's to the first storage node's; the workers' are between them.
const STORAGE_PORTS_FROM: u16 = 11;
/// What was built and waits to be deployed.
const ORDERS_MAX: usize = 64;

pub async fn run(arguments: cli::Dev) -> Result<ExitCode, Failure> {
    let directory = author_directory(&arguments.directory)?;
    let local = LocalFabric::default();
    let fabric: FabricHandle = Arc::new(local.another_end());
    let start_node = run_node(local);
    let surroundings = Surroundings {
        start_pcs: puppets::start_pcs(&fabric, PCS, move |listen| {
            Ok(pcs::Config::one_process(listen, Arc::clone(&start_node)))
        }),
        interrupts: puppets::interrupts(&fabric)?,
        output: Output::standard(Format::Text, puppets::is_coloured()),
        fabric,
    };
    let development = Development {
        setup: setup(&arguments),
        data: own_directory(&directory)?.join("data"),
        orders: build_all(directory, &arguments.listen)?,
        has_prompt: std::io::stdin().is_terminal(),
    };
    let outcome = develop::run(development, surroundings).await;
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

/// Made when it is not there, and out of the sight of git.
fn own_directory(directory: &Path) -> Result<PathBuf, Failure> {
    let own = directory.join(OWN_DIRECTORY);
    let failed = |error| Failure::other(format!("{}: {error}", own.display()));
    std::fs::create_dir_all(&own).map_err(failed)?;
    std::fs::write(own.join(".gitignore"), "*\n").map_err(failed)?;
    Ok(own)
}

/// The script that makes the nodes.
fn setup(arguments: &cli::Dev) -> String {
    let first = &arguments.listen;
    let mut lines = vec![format!("scheduler sc1 {first}")];
    for number in 1..=arguments.storage {
        let address = first.with_port(first.port() + STORAGE_PORTS_FROM - 1 + number);
        lines.push(format!("storage s{number} {address} 0"));
    }
    for number in 1..=arguments.workers {
        let address = first.with_port(first.port() + number);
        lines.push(format!("worker w{number} {address} 0"));
    }
    lines.push("await ready\n".to_owned());
    lines.join("\n")
}

/// Each node has its own end of the network in this process, and a port for others.
fn run_node(local: LocalFabric) -> RunNode {
    Arc::new(move |order: pcs::Order| {
        let fabric: FabricHandle = Arc::new(OpenFabric::new(local.another_end()));
        Box::pin(async move {
            let node = Node::parse(order.role, order.arguments)?;
            let ended = node.run(fabric, order.shutdown, order.on_ready).await;
            ended.map_err(|failure| failure.message().to_owned())
        })
    })
}

/// Starts the thread that builds; what it has to say comes from the receiver.
fn build_all(directory: PathBuf, scheduler: &Address) -> Result<mpsc::Receiver<Order>, Failure> {
    let (orders, receiver) = mpsc::channel(ORDERS_MAX);
    let mut ready = Some(readiness(scheduler));
    let build = move || {
        let send = |news: Vec<Order>| {
            let mut news = news.into_iter();
            news.all(|order| orders.blocking_send(order).is_ok())
        };
        let ended = watch::build_all(&directory, &Machine::this(), |news| match news {
            News::Built(outcome) => send(deployment(outcome)),
            News::Idle => send(ready.take().unwrap_or_default()),
        });
        if let Err(error) = ended {
            let message = format!("error: changes are not seen any more: {error}");
            send(vec![Order::Say(message)]);
        }
    };
    std::thread::Builder::new()
        .name("build".to_owned())
        .spawn(build)
        .map_err(|error| Failure::other(format!("a thread could not be started: {error}")))?;
    Ok(receiver)
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

fn deployment(Outcome { project, built }: Outcome) -> Vec<Order> {
    match built {
        Ok(built) => vec![
            Order::Say(built.to_string()),
            Order::Execute(format!("deploy \"{}\"", built.file.display())),
        ],
        Err(error) => {
            let hint = error.hint().map(|hint| format!("\nhint: {hint}"));
            let hint = hint.unwrap_or_default();
            let project = project.display();
            vec![Order::Say(format!("error: {project}: {error}{hint}"))]
        }
    }
}
