//! Simulates clusters of storage nodes, one for each seed, and checks everything that their clients saw.
//!
//!     cargo run --release -p storage --example simulate -- --seed 7
//!     cargo run --release -p storage --example simulate -- --seeds 0..2000 --jobs 2 --faults harsh
//!     cargo run --release -p storage --features planted-bugs --example simulate -- --seeds 0..500 --bug quorum-of-half

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::ops::Range;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use storage::core::planted::Bug;
use storage::sim::{Profile, Report, Settings, run};

#[derive(Debug, Parser)]
#[command(about = "Simulates clusters of storage nodes and checks what their clients saw")]
struct Arguments {
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// All seeds from A up to, but without, B
    #[arg(long, value_name = "A..B", default_value = "0..1000")]
    seeds: Seeds,
    /// Seeds at once
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// How much goes wrong: none, mild or harsh
    #[arg(long, default_value = "harsh")]
    faults: Profile,
    /// Print every event
    #[arg(long)]
    log: bool,
    /// A planted bug, for a build with the feature `planted-bugs`
    #[arg(long, value_name = "NAME")]
    bug: Option<Bug>,
}

#[derive(Debug, Clone)]
struct Seeds(Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no range of seeds: expected A..B, such as 0..1000");
        let (from, to) = text.split_once("..").ok_or_else(wrong)?;
        let number = |text: &str| text.parse().map_err(|_| wrong());
        Ok(Self(number(from)?..number(to)?))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = arguments
        .seed
        .map_or(arguments.seeds.0.clone(), |seed| seed..seed + 1);
    if arguments.bug.is_some() && !cfg!(feature = "planted-bugs") {
        eprintln!("error: --bug needs a build with --features planted-bugs");
        return ExitCode::from(2);
    }
    let started = Instant::now();
    let total = search(&arguments, &seeds);
    let wall_s = started.elapsed().as_secs_f64();
    // Seconds, for people.
    #[allow(clippy::cast_precision_loss)]
    let simulated_s = total.simulated_ms as f64 / 1000.0;
    println!(
        "{simulated_s:.0} s simulated in {wall_s:.1} s: {:.0} simulated seconds per second",
        simulated_s / wall_s
    );
    println!(
        "{} operations, {} of known outcome; {} messages; {} crashes, {} other faults",
        total.operations, total.answered, total.messages, total.crashes, total.other_faults
    );
    println!(
        "{} tasks completed, {} abandoned, {} retries",
        total.tasks.completed, total.tasks.abandoned, total.tasks.retries
    );
    if total.wrong.is_empty() {
        println!("nothing wrong with seeds {}..{}", seeds.start, seeds.end);
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Runs the seeds on several threads, until one fails.
fn search(arguments: &Arguments, seeds: &Range<u64>) -> Report {
    let next = AtomicU64::new(seeds.start);
    let worker = || {
        let mut total = Report::default();
        while total.wrong.is_empty() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let report = run_seed(arguments, seed);
            for line in &report.log {
                println!("{line}");
            }
            if !report.wrong.is_empty() {
                next.store(seeds.end, Ordering::Relaxed);
                show(arguments, seed, &report);
            }
            add(&mut total, report);
        }
        total
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.jobs.max(1))
            .map(|_| scope.spawn(worker))
            .collect();
        let mut total = Report::default();
        for thread in threads {
            match thread.join() {
                Ok(report) => add(&mut total, report),
                Err(_) => total.wrong.push("a simulation panicked".to_owned()),
            }
        }
        total
    })
}

fn run_seed(arguments: &Arguments, seed: u64) -> Report {
    match Settings::draw(seed, arguments.faults) {
        Ok(settings) => run(Settings {
            bug: arguments.bug,
            log: arguments.log,
            ..settings
        }),
        Err(error) => Report {
            wrong: vec![error.to_string()],
            ..Report::default()
        },
    }
}

fn add(total: &mut Report, report: Report) {
    total.wrong.extend(report.wrong);
    total.simulated_ms += report.simulated_ms;
    total.operations += report.operations;
    total.answered += report.answered;
    total.messages += report.messages;
    total.crashes += report.crashes;
    total.other_faults += report.other_faults;
    total.tasks.completed += report.tasks.completed;
    total.tasks.abandoned += report.tasks.abandoned;
    total.tasks.retries += report.tasks.retries;
}

fn show(arguments: &Arguments, seed: u64, report: &Report) {
    let (features, bug) = match arguments.bug {
        Some(bug) => (" --features planted-bugs", format!(" --bug {bug}")),
        None => ("", String::new()),
    };
    let faults = arguments.faults;
    println!("seed {seed}: {} things are wrong", report.wrong.len());
    for wrong in report.wrong.iter().take(5) {
        println!("  {wrong}");
    }
    println!(
        "reproduce with: cargo run --release -p storage{features} --example simulate -- --seed {seed} --faults {faults}{bug}"
    );
}
