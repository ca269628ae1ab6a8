//! The partition test as a command. Exit status: 0 nothing is wrong, 1 a promise was broken, 2 it could not be run,
//! 3 networks cannot be made here (it needs root, iproute2 and a kernel that lets it).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::cluster::Settings;
use bench::partition::{self, Cut, Outcome, PartitionError, Plan};
use bench::{binary, verdict};
use clap::Parser;

/// Cuts five storage nodes in five networks into a majority and a minority, and heals them
#[derive(Debug, Parser)]
struct Arguments {
    /// Cuts, one after the other
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// How long the cluster is whole, and how long it is cut
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Of chance [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 16)]
    clients: u64,
    #[arg(long, default_value_t = 100)]
    records: u64,
    /// Where the history goes when a promise was broken
    #[arg(long, default_value = "partition-history.txt")]
    history: PathBuf,
    /// The binary to be tested [default: the workspace's]
    #[arg(long)]
    binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(outcome) => {
            println!("{outcome}");
            let concluded = verdict::conclude(&outcome.verdict, &arguments.history);
            if outcome.cuts.iter().all(Cut::is_as_promised) {
                concluded
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            let cannot = matches!(
                error.downcast_ref::<PartitionError>(),
                Some(PartitionError::Network(_))
            );
            ExitCode::from(if cannot { 3 } else { 2 })
        }
    }
}

fn run(arguments: &Arguments) -> Result<Outcome, Box<dyn std::error::Error>> {
    let plan = Plan {
        settings: Settings {
            max_versions: 10_000,
            ..Settings::new(binary::find(arguments.binary.clone())?)
        },
        clients: arguments.clients,
        records: arguments.records,
        rounds: arguments.rounds,
        pause: Duration::from_secs(arguments.seconds),
        seed: arguments.seed.unwrap_or_else(rand::random),
    };
    println!(
        "{} nodes, commit majority, {} clients, {} records, {} cuts of {} s, seed {}",
        partition::NODES,
        plan.clients,
        plan.records,
        plan.rounds,
        arguments.seconds,
        plan.seed
    );
    Ok(partition::run(plan)?)
}
