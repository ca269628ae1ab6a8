//! `cargo bench -p bench --bench warm_up`: what it is worth that workers get ready before their first task.
//!
//! In each round two platforms of real processes, one after the other, each with its own workers and nothing compiled from
//! before: one as it is, one whose scheduler has `--no-warm-up`. To both the same components are deployed, each with
//! another class; as soon as the last deployment has returned, one run of a chain through all of them is submitted. Its
//! report says of every stage how long its operator was not ready (`cold_ms`). Stage 1 is left out of the sum: its worker
//! may be the one that has looked at the components when they were deployed. What the warm-up costs is the time that the
//! deployments take, beside it.

#[path = "components/mod.rs"]
#[allow(dead_code, reason = "another benchmark needs the rest")]
mod components;
#[path = "warm_up/stages.rs"]
mod stages;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::binary;
use bench::platform::{Platform, Shape};
use bench::speed::Result;
use bytes::Bytes;
use clap::Parser;
use stages::Stages;

/// "The reported cold time of stages 2…n is under 10 % of that of a run without warm-up."
const AIM_RATIO: f64 = 0.1;

#[derive(Debug, Parser)]
struct Options {
    /// Rounds, each with new platforms
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Stages of the chain, each with a component of its own, and as many workers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=9))]
    stages: u8,
    /// The binary to measure [default: the workspace's, built anew]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a first run has reported.
struct FirstRun {
    /// Of each stage, rounded down.
    cold_ms: Vec<u64>,
    run_ms: u64,
    deployed_in: Duration,
}

impl FirstRun {
    /// Stages 2…n.
    fn later_ms(&self) -> u64 {
        self.cold_ms.iter().skip(1).sum()
    }

    /// At most so much: each stage's time is rounded down.
    fn later_ms_max(&self) -> u64 {
        self.later_ms() + self.cold_ms.iter().skip(1).count() as u64
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let binary = binary::find(options.binary.clone())?;
    for stages in Stages::all(options.stages)? {
        compare(&options, &binary, &stages).await?;
    }
    Ok(())
}

async fn compare(options: &Options, binary: &Path, stages: &Stages) -> Result<()> {
    println!("{stages}\n");
    println!(
        "{:<8}{:<12}{:<28}{:>10}{:>11}{:>11}",
        "round", "workers", "cold ms, each stage", "2…n ms", "run ms", "deploy ms"
    );
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds.max(1) {
        let first = first_run(binary, stages, &[]).await?;
        show(round, "warmed up", &first);
        warm.push(first);
        let first = first_run(binary, stages, &["--no-warm-up"]).await?;
        show(round, "not", &first);
        cold.push(first);
    }
    let warm_ms = median(warm.iter().map(FirstRun::later_ms_max));
    let cold_ms = median(cold.iter().map(FirstRun::later_ms));
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a run")]
    let ratio = warm_ms as f64 / cold_ms as f64;
    let met = if ratio < AIM_RATIO { "met" } else { "MISSED" };
    println!(
        "\n{}, first run, stages 2…n, medians: not ready for less than {warm_ms} ms, without warm-up for {cold_ms} ms: \
         {ratio:.3}; aim {AIM_RATIO}: {met}\n",
        stages.language
    );
    Ok(())
}

/// The first run on a new platform, submitted as soon as everything is deployed.
async fn first_run(binary: &Path, stages: &Stages, options: &[&str]) -> Result<FirstRun> {
    let shape = Shape {
        workers: stages.components.len(),
        scheduler: options,
        ..Shape::default()
    };
    let platform = Platform::start(binary, shape).await?;
    let begun = Instant::now();
    for component in &stages.components {
        platform.deploy(&Bytes::clone(component)).await?;
    }
    let deployed_in = begun.elapsed();
    let report = platform.run("somebody", &stages.application).await?;
    Ok(FirstRun {
        cold_ms: report.stages.iter().map(|stage| stage.cold_ms).collect(),
        run_ms: report.elapsed_ms,
        deployed_in,
    })
}

fn show(round: usize, workers: &str, first: &FirstRun) {
    let each: Vec<String> = first.cold_ms.iter().map(u64::to_string).collect();
    println!(
        "{round:<8}{workers:<12}{:<28}{:>10}{:>11}{:>11}",
        each.join(" "),
        first.later_ms(),
        first.run_ms,
        first.deployed_in.as_millis()
    );
}

fn median(times: impl Iterator<Item = u64>) -> u64 {
    let mut sorted: Vec<u64> = times.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
