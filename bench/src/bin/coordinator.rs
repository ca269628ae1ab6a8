//! The test of dying coordinators as a command. Exit status: 0 nothing is wrong, 1 a promise was broken or kept too
//! late, 2 it could not be run.

use std::path::PathBuf;
use std::process::ExitCode;

use bench::cluster::Settings;
use bench::coordinator::{self, Outcome, Plan};
use bench::{binary, verdict};
use clap::Parser;
use common::types::CommitMode;

/// Kills coordinators in the middle of updates, and measures when their records accept the next one
#[derive(Debug, Parser)]
struct Arguments {
    /// Coordinators to be killed, one after the other
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Of chance [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// `majority`, or `fail-stop` with certified deaths
    #[arg(long, default_value = "majority")]
    commit: CommitMode,
    /// Delay of every message between two nodes, in milliseconds [default: 200, under `fail-stop` 0]
    #[arg(long)]
    gossip_delay: Option<u64>,
    /// Where the history goes when a promise was broken
    #[arg(long, default_value = "coordinator-history.txt")]
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
            let concluded = verdict::conclude(&outcome.verdict, &arguments.history);
            if outcome.is_in_time() {
                concluded
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Outcome, Box<dyn std::error::Error>> {
    let delay_by_default = match arguments.commit {
        CommitMode::Majority => 200,
        CommitMode::FailStop => 0,
    };
    let settings = Settings {
        commit: arguments.commit,
        max_versions: 10_000,
        gossip_delay_ms: arguments.gossip_delay.unwrap_or(delay_by_default),
        ..Settings::new(binary::find(arguments.binary.clone())?)
    };
    let plan = Plan {
        settings,
        nodes: arguments.nodes,
        rounds: arguments.rounds,
        seed: arguments.seed.unwrap_or_else(rand::random),
    };
    println!(
        "{} nodes, commit {}, messages delayed by {} ms, seed {}",
        plan.nodes,
        bench::cluster::commit_name(arguments.commit),
        plan.settings.gossip_delay_ms,
        plan.seed
    );
    Ok(coordinator::run(&plan).await?)
}
