//! `cargo bench -p bench --bench store`: what the storage does in a second, and how long one operation takes.
//!
//! Three processes with replication 3, their data on a disk. First the units of which latencies are made: one round
//! trip and one sync. Then each operation by itself, with `--sync always` and `never`; the same with more and more
//! records held; and side by side with etcd, in turns. All in one run, so that the machine's mood hits all alike.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::binary;
use bench::cluster::{Cluster, Settings};
use bench::speed::etcd::Etcd;
use bench::speed::measure::{Figures, Span};
use bench::speed::operation::{Operation, System};
use bench::speed::records::{Asks, fill};
use bench::speed::table::{Report, milliseconds};
use bench::speed::{Result, machine};
use clap::{Parser, ValueEnum};
use common::proto::Level;
use storage::SyncMode;

const NODES: usize = 3;
/// Held before anything is measured.
const RECORDS: u64 = 5_000;
const MANY: u64 = 64;
const HOT: u64 = 16;
/// Syncs to know what one takes.
const SYNCS: usize = 100;
/// "At most 2 round trips and 2 syncs", and "at least 3 times etcd's rate".
const AIM_ROUND_TRIPS: u32 = 2;
const AIM_SYNCS: u32 = 2;
const AIM_RATIO: f64 = 3.0;

const WRITE_ONE: Operation = Operation::Write(Level::One);
const WRITE_MAJORITY: Operation = Operation::Write(Level::Majority);

#[derive(Debug, Clone, Parser)]
struct Options {
    /// Measured seconds of each cell
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Few short cells, to see that everything works
    #[arg(long)]
    quick: bool,
    /// Records held at the end of the growth
    #[arg(long, default_value_t = 1_000_000)]
    records_max: u64,
    /// Turns in which Marionette and etcd are measured
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// The binary to measure [default: the workspace's, built anew]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Each,
    Growth,
    Etcd,
}

impl Options {
    fn span(&self) -> Span {
        let measured = if self.quick { 0.3 } else { self.seconds };
        Span {
            warm_up: Duration::from_secs_f64(measured / 3.0),
            measured: Duration::from_secs_f64(measured),
        }
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn turns(&self) -> usize {
        if self.quick { 1 } else { self.turns.max(1) }
    }

    fn sizes(&self) -> impl Iterator<Item = u64> {
        let max = if self.quick { 10_000 } else { self.records_max };
        let sizes = [5_000, 10_000, 100_000, 1_000_000];
        sizes.into_iter().filter(move |size| *size <= max)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let begun = Instant::now();
    let binary = binary::find(options.binary.clone())?;
    if options.wants(Part::Each) {
        for sync in [SyncMode::Always, SyncMode::Never] {
            each(&options, &binary, sync).await?;
        }
    }
    if options.wants(Part::Growth) {
        growth(&options, &binary).await?;
    }
    if options.wants(Part::Etcd) {
        side_by_side(&options, &binary).await?;
    }
    println!("took {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

async fn started(binary: &Path, sync: SyncMode) -> Result<Cluster> {
    let settings = Settings {
        sync: Some(sync),
        ..Settings::new(binary.to_owned())
    };
    let mut cluster = Cluster::start(settings, NODES).await?;
    fill(&mut cluster, 0..RECORDS).await?;
    Ok(cluster)
}

/// What latencies are made of, on this machine at this time.
struct Units {
    round_trip: Option<Duration>,
    sync: Option<Duration>,
}

impl Units {
    async fn measure(cluster: &mut Cluster, span: Span) -> Result<Self> {
        let syncs = machine::sync_times(cluster.directory(), SYNCS)?;
        let asked = Asks::measure(cluster, span).await?;
        let units = Self {
            round_trip: asked.percentile(0.5),
            sync: syncs.get(SYNCS / 2).copied(),
        };
        println!(
            "round trip {} ms (p99 {}), one sync of {} {} ms (p99 {})\n",
            milliseconds(units.round_trip),
            milliseconds(asked.percentile(0.99)),
            cluster.directory().display(),
            milliseconds(units.sync),
            milliseconds(syncs.get(SYNCS * 99 / 100).copied()),
        );
        Ok(units)
    }

    fn aim(&self) -> Option<Duration> {
        Some(self.round_trip? * AIM_ROUND_TRIPS + self.sync? * AIM_SYNCS)
    }
}

/// Each operation by itself.
async fn each(options: &Options, binary: &Path, sync: SyncMode) -> Result<()> {
    println!("Three nodes, --sync {sync}, {RECORDS} records:\n");
    let mut cluster = started(binary, sync).await?;
    let mut report = Report::new(&["operation"]);
    for operation in [
        Operation::Read,
        WRITE_ONE,
        WRITE_MAJORITY,
        Operation::Update,
    ] {
        for clients in [1, MANY] {
            let span = options.span();
            let is_aimed_at =
                (operation, clients, sync) == (Operation::Update, 1, SyncMode::Always);
            let figures = if is_aimed_at {
                uncontended_update(&mut cluster, span).await?
            } else {
                cluster.run(operation, RECORDS, clients, span).await?
            };
            report.add(&[operation.name()], &figures);
        }
    }
    let hot = Operation::HotUpdate;
    let figures = cluster.run(hot, RECORDS, HOT, options.span()).await?;
    report.add(&[hot.name()], &figures);
    report.print();
    Ok(())
}

/// In units that were measured just before.
async fn uncontended_update(cluster: &mut Cluster, span: Span) -> Result<Figures> {
    let units = Units::measure(cluster, span).await?;
    let update = cluster.run(Operation::Update, RECORDS, 1, span).await?;
    let (took, aim) = (update.percentile(0.5), units.aim());
    let holds = took.is_some() && took <= aim;
    println!(
        "uncontended update: p50 {} ms; aim: {AIM_ROUND_TRIPS} round trips and {AIM_SYNCS} syncs, {} ms: {}\n",
        milliseconds(took),
        milliseconds(aim),
        met(holds),
    );
    Ok(update)
}

fn met(holds: bool) -> &'static str {
    if holds { "met" } else { "MISSED" }
}

/// The cost must not grow with what is held.
async fn growth(options: &Options, binary: &Path) -> Result<()> {
    println!("Three nodes, --sync always, more and more records:\n");
    let mut cluster = started(binary, SyncMode::Always).await?;
    let mut held = RECORDS;
    let mut report = Report::new(&["records", "operation"]);
    for records in options.sizes() {
        let begun = Instant::now();
        fill(&mut cluster, held..records).await?;
        let (added, took) = (records - held, begun.elapsed().as_secs_f64());
        if added > 0 {
            println!("{added} records written and spread in {took:.1} s");
        }
        held = records;
        for operation in [Operation::Read, WRITE_MAJORITY, Operation::Update] {
            let figures = cluster.run(operation, held, MANY, options.span()).await?;
            report.add(&[&held.to_string(), operation.name()], &figures);
        }
    }
    println!();
    report.print();
    Ok(())
}

/// Marionette and etcd in turns, so that whatever else the machine does hits both.
async fn side_by_side(options: &Options, binary: &Path) -> Result<()> {
    println!("Marionette and etcd in turns, three nodes each, every write synced:\n");
    let mut cluster = started(binary, SyncMode::Always).await?;
    let mut etcd = Etcd::start(cluster.directory()).await?;
    etcd.fill(RECORDS).await?;
    let mut report = Report::new(&["system", "operation"]);
    let mut verdicts = Vec::new();
    for (operation, clients) in [
        (WRITE_MAJORITY, 1),
        (WRITE_MAJORITY, MANY),
        (Operation::Update, 1),
        (Operation::Update, MANY),
        (Operation::HotUpdate, HOT),
    ] {
        let mut rates = (Vec::new(), Vec::new());
        for _ in 0..options.turns() {
            let span = options.span();
            let ours = cluster.run(operation, RECORDS, clients, span).await?;
            let theirs = etcd.run(operation, RECORDS, clients, span).await?;
            report.add(&[cluster.name(), operation.name()], &ours);
            report.add(&[etcd.name(), operation.name()], &theirs);
            rates.0.push(ours.rate());
            rates.1.push(theirs.rate());
        }
        let ratio = median(rates.0) / median(rates.1);
        let name = operation.name();
        verdicts.push(format!(
            "{name}, {clients} clients: {ratio:.2} times etcd's rate; aim {AIM_RATIO}: {}",
            met(ratio >= AIM_RATIO)
        ));
    }
    report.print();
    println!("{}\n", verdicts.join("\n"));
    etcd.stop().await
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
