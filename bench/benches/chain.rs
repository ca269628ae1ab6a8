//! `cargo bench -p bench --bench chain`: runs per second and how long one takes, by the length of its chain.
//!
//! First chains of an operator that does nothing, with real processes over gRPC and with all nodes in this process: what
//! one hop costs must not depend on how many there are. What a run costs besides its hops is in none of them, since
//! lengths are compared with one another. Then the chain that updates records, `AddOperator` and `UpdateAndChainOperator`,
//! with three storage nodes and more and more clients: the figure to compare with other platforms. Everything is in
//! memory. Several rounds; the median of each figure counts.

#[path = "chain/in_process.rs"]
mod in_process;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::binary;
use bench::cluster::Cluster;
use bench::platform::{Platform, Shape};
use bench::runs::{Again, Runs};
use bench::speed::Result;
use bench::speed::measure::{Figures, Servers, Span, measure};
use bench::speed::table::Report;
use clap::{Parser, ValueEnum};
use common::client::Route;
use common::proto::Level;
use common::types::{UpdateId, Version};
use in_process::InProcess;

const PATIENCE: Duration = Duration::from_mins(1);
const WORKERS: usize = 2;
const STORAGES: usize = 3;
const LENGTHS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
const CLIENTS: [usize; 3] = [1, 16, 64];
/// "The cost of a hop does not grow with the chain": the dearest against the cheapest.
const AIM_FLAT: f64 = 1.5;
/// Of a chain; it returns `0`, whatever it is given.
const NOTHING: &str = "Sum";
const UPDATES: &str = "operator AddOperator 0\noperator UpdateAndChainOperator 1";

#[derive(Debug, Parser)]
struct Options {
    /// Measured seconds of each cell
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Times that each cell is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
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
    Processes,
    InProcess,
    Updates,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn span(&self) -> Span {
        Span {
            warm_up: Duration::from_secs_f64(self.seconds / 4.0),
            measured: Duration::from_secs_f64(self.seconds),
        }
    }

    fn rounds(&self) -> usize {
        self.rounds.max(1)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let binary = binary::find(options.binary.clone())?;
    if options.wants(Part::Processes) {
        let shape = Shape {
            workers: WORKERS,
            ..Shape::default()
        };
        let platform = Platform::start(&binary, shape).await?;
        lengths(&options, "processes over gRPC", &platform, platform.runs()).await?;
    }
    if options.wants(Part::InProcess) {
        let nodes = InProcess::start(WORKERS).await?;
        lengths(&options, "nodes in one process", &nodes, &nodes.runs).await?;
    }
    if options.wants(Part::Updates) {
        updates(&options, &binary).await?;
    }
    Ok(())
}

/// Chains of all lengths, one run after the other.
async fn lengths(options: &Options, name: &str, servers: &impl Servers, runs: &Runs) -> Result<()> {
    println!("Chains of {NOTHING}, one client, {WORKERS} {name}:\n");
    let mut cells = vec![Vec::new(); LENGTHS.len()];
    for _ in 0..options.rounds() {
        for (length, cell) in LENGTHS.into_iter().zip(&mut cells) {
            let client = Again {
                runs: runs.clone(),
                input: "1".to_owned(),
                application: chain(length),
            };
            cell.push(measure(servers, vec![client], options.span()).await?);
        }
    }
    let mut report = Report::new(&["operators"]);
    for (length, cell) in LENGTHS.iter().zip(&cells) {
        report.add(&[&length.to_string()], typical(cell)?);
    }
    report.print();
    let p50 = cells
        .iter()
        .map(|cell| p50_us(cell))
        .collect::<Result<Vec<_>>>()?;
    print_hops(name, &p50);
    Ok(())
}

fn chain(length: u32) -> Arc<str> {
    let stages = (0..length).map(|stage| format!("operator {NOTHING} {stage}\n"));
    stages.collect::<String>().into()
}

/// What each further hop costs, between one length and the next.
fn print_hops(name: &str, p50_us: &[f64]) {
    let pairs = LENGTHS.windows(2).zip(p50_us.windows(2));
    let hops: Vec<(String, f64)> = pairs
        .filter_map(|(lengths, p50_us)| match (lengths, p50_us) {
            ([from, to], [less, more]) => {
                Some((format!("{from}…{to}"), (more - less) / f64::from(to - from)))
            }
            _ => None,
        })
        .collect();
    let each: Vec<_> = hops
        .iter()
        .map(|(between, us)| format!("{between} {us:.0}"))
        .collect();
    let costs = hops.iter().map(|(_, us)| *us);
    let (dearest, cheapest) = (
        costs.clone().fold(0.0, f64::max),
        costs.fold(f64::MAX, f64::min),
    );
    let ratio = dearest / cheapest;
    println!(
        "{name}: µs of a hop {}; the dearest is {ratio:.2} times the cheapest; aim {AIM_FLAT}: {}\n",
        each.join(", "),
        if ratio <= AIM_FLAT && cheapest > 0.0 {
            "met"
        } else {
            "MISSED"
        }
    );
}

/// The round with the median rate.
fn typical(rounds: &[Figures]) -> Result<&Figures> {
    let mut sorted: Vec<_> = rounds.iter().collect();
    sorted.sort_by(|one, other| one.rate().total_cmp(&other.rate()));
    Ok(sorted
        .get(sorted.len() / 2)
        .copied()
        .ok_or("nothing was measured")?)
}

/// The median of the rounds' medians, in microseconds.
fn p50_us(rounds: &[Figures]) -> Result<f64> {
    let mut sorted: Vec<_> = rounds
        .iter()
        .filter_map(|round| round.percentile(0.5))
        .collect();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).ok_or("nothing was measured")?;
    Ok(median.as_secs_f64() * 1e6)
}

/// Runs of each client on records of its own.
async fn updates(options: &Options, binary: &Path) -> Result<()> {
    println!("AddOperator, UpdateAndChainOperator: {STORAGES} storage nodes, {WORKERS} workers:\n");
    let shape = Shape {
        storages: STORAGES,
        workers: WORKERS,
        ..Shape::default()
    };
    let platform = Platform::start(binary, shape).await?;
    let most = CLIENTS.into_iter().max().unwrap_or_default();
    fill(platform.storage(), 2 * most).await?;
    let mut cells = vec![Vec::new(); CLIENTS.len()];
    for _ in 0..options.rounds() {
        for (clients, cell) in CLIENTS.into_iter().zip(&mut cells) {
            let again = |client: usize| Again {
                runs: platform.runs().clone(),
                // It reads the record behind its own, too.
                input: (2 * client).to_string(),
                application: UPDATES.into(),
            };
            let clients = (0..clients).map(again).collect();
            cell.push(measure(&platform, clients, options.span()).await?);
        }
    }
    let mut report = Report::new(&["chain"]);
    for cell in &cells {
        report.add(&["Add, UpdateAndChain"], typical(cell)?);
    }
    report.print();
    Ok(())
}

/// Writes the records `0` … of the clients.
async fn fill(cluster: &Cluster, records: usize) -> Result<()> {
    let client = cluster.client(0);
    let begun = Instant::now();
    for record in 0..records {
        let id = UpdateId {
            origin: "fill".to_owned(),
            sequence: record as u64,
        };
        let left_ms = PATIENCE.saturating_sub(begun.elapsed()).as_millis();
        let route = Route {
            only: None,
            deadline_ms: cluster.fabric().now_ms() + u64::try_from(left_ms)?,
        };
        let value = Some("1".into());
        let record = record.to_string();
        client
            .write(id, &record, value, Level::All, Version::NULL, route)
            .await?;
    }
    Ok(())
}
