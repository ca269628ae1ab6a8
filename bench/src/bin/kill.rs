//! The kill test as a command. Exit status: 0 nothing is wrong, 1 a promise was broken, 2 it could not be run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::cluster::Settings;
use bench::kill::{self, Outcome, Plan};
use bench::{binary, verdict};
use clap::Parser;
use common::types::CommitMode;
use storage::SyncMode;

/// Kills and freezes storage nodes at random under load, and checks everything that they answered
#[derive(Debug, Parser)]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Of chance [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    #[arg(long, default_value_t = 32)]
    clients: u64,
    #[arg(long, default_value_t = 200)]
    records: u64,
    /// `majority`, or `fail-stop` with certified deaths
    #[arg(long, default_value = "majority")]
    commit: CommitMode,
    #[arg(long, default_value_t = SyncMode::Always)]
    sync: SyncMode,
    /// Versions kept of a record; what was discarded is not checked
    #[arg(long, default_value_t = 10_000)]
    max_versions: u32,
    /// Delay of every message between two nodes, in milliseconds
    #[arg(long, default_value_t = 0)]
    gossip_delay: u64,
    /// Where the history goes when a promise was broken
    #[arg(long, default_value = "kill-history.txt")]
    history: PathBuf,
    /// The binary to be tested [default: the workspace's]
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(outcome) => {
            println!("{outcome}");
            verdict::conclude(&outcome.verdict, &arguments.history)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Outcome, Box<dyn std::error::Error>> {
    let settings = Settings {
        commit: arguments.commit,
        max_versions: arguments.max_versions,
        sync: Some(arguments.sync),
        gossip_delay_ms: arguments.gossip_delay,
        ..Settings::new(binary::find(arguments.binary.clone())?)
    };
    let plan = Plan {
        settings,
        nodes: arguments.nodes,
        clients: arguments.clients,
        records: arguments.records,
        duration: Duration::from_secs(arguments.seconds),
        seed: arguments.seed.unwrap_or_else(rand::random),
    };
    println!(
        "{} nodes, commit {}, sync {}, {} clients, {} records, {} s, seed {}",
        plan.nodes,
        bench::cluster::commit_name(arguments.commit),
        arguments.sync,
        plan.clients,
        plan.records,
        arguments.seconds,
        plan.seed
    );
    Ok(kill::run(&plan).await?)
}
