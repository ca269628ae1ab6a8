//! Starts the roles: from the command line's arguments to a role's configuration, and from its end to an exit status.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use common::fabric::{BoxFuture, FabricHandle, LocalFabric};
use common::node::{OnReady, readiness_line};
use common::types::Ring;
use pcs::{MakeNode, NodeTask};

use crate::cli::{self, Command, StorageCommand};
use crate::failure::Failure;
use crate::signals;

pub async fn pcs(arguments: cli::Pcs, fabric: FabricHandle) -> Result<ExitCode, Failure> {
    let config = pcs::Config::standalone(arguments.listen).map_err(not_started)?;
    let shutdown = signals::shutdown()?;
    let ended = pcs::run(config, fabric, shutdown, on_ready(pcs::NAME)).await;
    ended.map_err(not_started)?;
    Ok(ExitCode::SUCCESS)
}

/// A node of a cluster, as the command line describes it.
pub enum Node {
    Scheduler(cli::Scheduler),
    Storage(cli::Storage),
    Worker(cli::Worker),
}

/// What a node runs on.
#[derive(Clone)]
pub enum Machine {
    Real,
    /// Part of a simulation; the disk of a storage node.
    Simulated(storage::SimDisk),
}

/// Runs a node until a signal ends this process.
pub async fn run(node: Node, fabric: FabricHandle) -> Result<ExitCode, Failure> {
    let on_ready = on_ready(node.name());
    let shutdown = Box::pin(signals::shutdown()?);
    // Among the runtime's own threads: on the main one, each request would have to wake it.
    let running = node.run(Machine::Real, fabric, shutdown, on_ready);
    let ended = tokio::spawn(running).await;
    ended.unwrap_or_else(|lost| Err(Failure::other(lost.to_string())))?;
    Ok(ExitCode::SUCCESS)
}

impl Node {
    /// A node of this process, as a puppetmaster asks for it; the error is for people.
    pub fn parse(role: &str, arguments: Vec<String>) -> Result<Self, String> {
        let command = Command::of_node(role, arguments, &pcs::NOT_INHERITED);
        match command.map_err(|error| error.to_string())? {
            Command::Scheduler(node) => Ok(Self::Scheduler(node)),
            Command::Worker(node) => Ok(Self::Worker(node)),
            Command::Storage(command) => match *command {
                StorageCommand::Node(node) => Ok(Self::Storage(node)),
                StorageCommand::Task(_) => Err("this is no storage node".to_owned()),
            },
            _ => Err(format!("{role} is no node")),
        }
    }

    /// All nodes of a cluster as tasks of this process, each at an end of its own of what `network` makes of `local`.
    pub fn as_tasks(local: LocalFabric, network: fn(LocalFabric) -> FabricHandle) -> MakeNode {
        Arc::new(move |order: pcs::Order| {
            let end = local.another_end(&order.name);
            let life = end.life().clone();
            let fabric = network(end);
            let run = async move {
                let node = Self::parse(order.role, order.arguments)?;
                let running = node.run(Machine::Real, fabric, order.shutdown, order.on_ready);
                let ended = running.await;
                ended.map_err(|failure| failure.message().to_owned())
            };
            NodeTask {
                life,
                run: Box::pin(run),
            }
        })
    }

    fn name(&self) -> &str {
        match self {
            Self::Scheduler(node) => &node.id,
            Self::Storage(node) => &node.id,
            Self::Worker(node) => &node.id,
        }
    }

    /// Runs it until `shutdown` ends.
    pub async fn run(
        self,
        machine: Machine,
        fabric: FabricHandle,
        shutdown: BoxFuture<'static, ()>,
        on_ready: OnReady,
    ) -> Result<(), Failure> {
        match self {
            Self::Scheduler(node) => {
                let config = scheduler_config(node)?;
                let ended = scheduler::run(config, fabric, shutdown, on_ready).await;
                ended.map_err(not_started)
            }
            Self::Storage(node) => {
                let config = storage_config(node, machine)?;
                let ended = storage::run(config, fabric, shutdown, on_ready).await;
                ended.map_err(|error| match error {
                    storage::RunError::Start { .. } | storage::RunError::Open { .. } => {
                        not_started(error)
                    }
                    storage::RunError::Ended { .. } | storage::RunError::Task { .. } => {
                        Failure::other(error.to_string())
                    }
                })
            }
            Self::Worker(node) => {
                let config = worker_config(node, &machine);
                let ended = worker::run(config, fabric, shutdown, on_ready).await;
                ended.map_err(not_started)
            }
        }
    }
}

fn scheduler_config(arguments: cli::Scheduler) -> Result<scheduler::Config, Failure> {
    Ok(scheduler::Config {
        name: arguments.id,
        address: arguments.url,
        ring: arguments.ring.ring().map_err(Failure::usage)?,
        warm_up: !arguments.no_warm_up,
        keep_runs: arguments.keep_runs,
        http: arguments.http,
    })
}

fn storage_config(arguments: cli::Storage, machine: Machine) -> Result<storage::Config, Failure> {
    let ring = arguments.ring.ring().map_err(Failure::usage)?;
    if let Some(ring) = &ring {
        check_membership(&arguments, ring)?;
    }
    let simulated = matches!(machine, Machine::Simulated(_));
    let medium = arguments.data.map(|directory| match machine {
        Machine::Real => storage::Medium::Directory(directory),
        Machine::Simulated(disk) => storage::Medium::Simulated(disk),
    });
    Ok(storage::Config {
        name: arguments.id,
        address: arguments.url,
        gossip_delay_ms: arguments.gossip_delay_ms,
        ring,
        data: medium.map(|medium| storage::Data {
            medium,
            sync: arguments.sync,
            replaces: arguments.replace,
        }),
        limits: arguments.limits.limits(),
        simulated,
    })
}

fn worker_config(arguments: cli::Worker, machine: &Machine) -> worker::Config {
    worker::Config {
        operator_cache: arguments.operator_cache(),
        name: arguments.id,
        address: arguments.url,
        gossip_delay_ms: arguments.gossip_delay_ms,
        schedulers: arguments.scheduler,
        operators: arguments.operators,
        slots: arguments.slots.get(),
        allow_native: arguments.allow_native,
        native_isolated: arguments.native_isolated.then(native_host),
        simulated: matches!(machine, Machine::Simulated(_)),
    }
}

/// This binary again, as the process that runs native operators for a worker.
fn native_host() -> worker::host::ChildCommand {
    worker::host::ChildCommand {
        // The very file that is running, whatever has taken its place on the disk.
        program: "/proc/self/exe".into(),
        arguments: vec!["native-host".into()],
    }
}

/// A storage node has the name, the URL and the replica id that the ring gives it.
fn check_membership(arguments: &cli::Storage, ring: &Ring) -> Result<(), Failure> {
    let id = &arguments.id;
    let Some(member) = ring.node_named(id) else {
        let names: Vec<&str> = ring.nodes.iter().map(|node| node.name.as_str()).collect();
        let message = format!("the ring has no storage node `{id}`");
        return Err(Failure::usage(message).hint(format!("it has {}", names.join(", "))));
    };
    if member.address != arguments.url {
        let (ring, own) = (&member.address, &arguments.url);
        return Err(Failure::usage(format!(
            "the ring says that `{id}` is at {ring}, not {own}"
        )));
    }
    if let Some(replica) = arguments
        .replica
        .filter(|replica| replica.get() != member.replica)
    {
        let place = member.replica;
        let message =
            format!("`{id}` has place {place} in the ring, so its replica id is not {replica}");
        return Err(Failure::usage(message).hint("leave out --replica"));
    }
    Ok(())
}

/// Prints the line for which a PCS, or a person's script, waits.
fn on_ready(name: &str) -> OnReady {
    let name = name.to_owned();
    Box::new(move |serving| {
        let line = readiness_line(&name, &serving.address);
        // A reader that has gone does not end the node.
        let _ = writeln!(std::io::stdout(), "{line}");
    })
}

fn not_started(error: impl std::error::Error) -> Failure {
    Failure::not_started(error.to_string())
}
