//! Starts the roles: from the command line's arguments to a role's configuration, and from its end to an exit status.

use std::io::Write;
use std::process::ExitCode;

use common::fabric::FabricHandle;
use common::node::{OnReady, readiness_line};
use common::types::Ring;

use crate::cli;
use crate::failure::Failure;
use crate::signals;

pub async fn pcs(arguments: cli::Pcs, fabric: FabricHandle) -> Result<ExitCode, Failure> {
    let config = pcs::Config::standalone(arguments.listen).map_err(not_started)?;
    let shutdown = signals::shutdown()?;
    let ended = pcs::run(config, fabric, shutdown, on_ready(pcs::NAME)).await;
    ended.map_err(not_started)?;
    Ok(ExitCode::SUCCESS)
}

pub async fn scheduler(
    arguments: cli::Scheduler,
    fabric: FabricHandle,
) -> Result<ExitCode, Failure> {
    let config = scheduler::Config {
        name: arguments.id.clone(),
        address: arguments.url,
        ring: arguments.ring.ring().map_err(Failure::usage)?,
        warm_up: !arguments.no_warm_up,
    };
    let shutdown = signals::shutdown()?;
    let ended = scheduler::run(config, fabric, shutdown, on_ready(&arguments.id)).await;
    ended.map_err(not_started)?;
    Ok(ExitCode::SUCCESS)
}

pub async fn storage(arguments: cli::Storage, fabric: FabricHandle) -> Result<ExitCode, Failure> {
    let ring = arguments.ring.ring().map_err(Failure::usage)?;
    if let Some(ring) = &ring {
        check_membership(&arguments, ring)?;
    }
    let config = storage::Config {
        name: arguments.id.clone(),
        address: arguments.url,
        gossip_delay_ms: arguments.gossip_delay_ms,
        ring,
        data: arguments.data.map(|directory| storage::Data {
            directory,
            sync: arguments.sync,
            replaces: arguments.replace,
        }),
        limits: arguments.limits.limits(),
    };
    let shutdown = signals::shutdown()?;
    let ended = storage::run(config, fabric, shutdown, on_ready(&arguments.id)).await;
    ended.map_err(|error| match error {
        storage::RunError::Start { .. } | storage::RunError::Open { .. } => not_started(error),
        storage::RunError::Ended { .. } | storage::RunError::Task { .. } => {
            Failure::other(error.to_string())
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

pub async fn worker(arguments: cli::Worker, fabric: FabricHandle) -> Result<ExitCode, Failure> {
    let operator_cache = arguments.operator_cache();
    let config = worker::Config {
        name: arguments.id.clone(),
        address: arguments.url,
        gossip_delay_ms: arguments.gossip_delay_ms,
        scheduler: arguments.scheduler,
        operators: arguments.operators,
        slots: arguments.slots.get(),
        allow_native: arguments.allow_native,
        native_isolated: arguments.native_isolated.then(native_host),
        operator_cache,
    };
    let shutdown = signals::shutdown()?;
    let ended = worker::run(config, fabric, shutdown, on_ready(&arguments.id)).await;
    ended.map_err(not_started)?;
    Ok(ExitCode::SUCCESS)
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
