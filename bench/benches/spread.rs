//! `cargo bench -p bench --bench spread`: what two single-slot workers bring over one thread.
//!
//! Sum of primes: the whole platform, real processes over gRPC, against one call of the same operator for the whole range in
//! the operator host of this process, and against two such calls at once, each for every other part: what two cores of
//! this machine give at best. All are warm. The rounds are interleaved, and of each the shortest counts: others on the
//! same machine only ever make it slower, and not all alike. Then words are counted: see `word_count`.

#[path = "spread/word_count.rs"]
mod word_count;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::binary;
use bench::platform::{Platform, Shape};
use bench::speed::machine::cpu_time;
use bench::speed::{Result, Trouble};
use clap::Parser;
use common::types::Item;
use worker::host::{HostConfig, MemoryStorage, OperatorHost, OperatorRequest};

/// "Sum of primes to 10^8 on 2 single-slot workers takes half as long as in one": "at least 1.9 of 2".
const AIM: f64 = 1.9;
const WORKERS: usize = 2;
const LAST: u64 = 100_000_000;
const SUM: u64 = 279_209_790_387_276;
/// For two threads without a platform.
const PARTS: u64 = 40;
const DEADLINE: Duration = Duration::from_mins(1);

#[derive(Debug, Parser)]
struct Options {
    /// Rounds of summing primes; each measures everything once; none: they are not summed
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Numbers in a part, as the option `chunk` of `SplitRange`; the first one is judged
    #[arg(long, value_delimiter = ',', default_values_t = [2_500_000, 250_000, 1_000_000, 5_000_000])]
    chunks: Vec<u64>,
    /// Rounds of counting words; none: they are not counted
    #[arg(long, default_value_t = 10)]
    word_rounds: usize,
    /// Of the text whose words are counted, in MiB
    #[arg(long, default_value_t = 256)]
    mebibytes: u32,
    /// The binary to measure [default: the workspace's, built anew]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let binary = binary::find(options.binary.clone())?;
    if options.rounds > 0 {
        primes(&options, &binary).await?;
    }
    if options.word_rounds > 0 {
        word_count::measure(&binary, options.mebibytes, options.word_rounds).await?;
    }
    Ok(())
}

/// The platform that both parts measure.
async fn single_slots(binary: &Path) -> Result<Platform> {
    let shape = Shape {
        workers: WORKERS,
        worker: &["--slots", "1"],
        ..Shape::default()
    };
    Platform::start(binary, shape).await
}

async fn primes(options: &Options, binary: &Path) -> Result<()> {
    println!("Sum of the primes to {LAST}, {WORKERS} workers with one slot each:\n");
    let platform = single_slots(binary).await?;
    let host = OperatorHost::start(HostConfig::default()).await?;
    let mut alone = Series::new("one thread");
    let mut both = Series::new("two threads");
    let mut runs: Vec<_> = options.chunks.iter().copied().map(Spread::new).collect();
    for round in 0..=options.rounds {
        // The first round warms up.
        let is_measured = round > 0;
        let took = timed(one_call(&host)).await?;
        alone.note(is_measured, took);
        let took = timed(two_threads(&host)).await?;
        both.note(is_measured, took);
        for run in &mut runs {
            run.measure(is_measured, &platform).await?;
        }
    }
    let base = alone.best();
    alone.print(base);
    both.print(base);
    for run in &runs {
        run.print(base);
    }
    let Some(judged) = runs.first() else {
        return Ok(());
    };
    let speed_up = ratio(base, judged.series.best());
    let met = if speed_up >= AIM { "met" } else { "MISSED" };
    println!(
        "\nsum of primes, parts of {}, shortest of {} rounds: {speed_up:.2} times one thread; aim {AIM}: {met}; \
         two threads without a platform: {:.2}\n",
        judged.chunk,
        options.rounds,
        ratio(base, both.best())
    );
    Ok(())
}

/// What one way of doing it has taken.
struct Series {
    name: String,
    took: Vec<Duration>,
}

impl Series {
    fn new(name: &str) -> Self {
        let (name, took) = (name.to_owned(), Vec::new());
        Self { name, took }
    }

    fn note(&mut self, is_measured: bool, took: Duration) {
        self.took.extend(is_measured.then_some(took));
    }

    fn best(&self) -> Duration {
        self.took.iter().min().copied().unwrap_or_default()
    }

    fn median(&self) -> Duration {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    fn print(&self, base: Duration) {
        println!(
            "{:<24} best {:>7.1} ms  median {:>7.1} ms  {:>5.2}",
            self.name,
            milliseconds(self.best()),
            milliseconds(self.median()),
            ratio(base, self.best())
        );
    }
}

/// Runs with parts of one size.
struct Spread {
    chunk: u64,
    application: String,
    series: Series,
    /// CPU time of the scheduler and of each worker in the shortest run.
    cpu: Vec<Duration>,
}

impl Spread {
    fn new(chunk: u64) -> Self {
        let parts = LAST.div_ceil(chunk + 1);
        Self {
            chunk,
            application: format!(
                "operator SplitRange 0 chunk={chunk}\nmap SumOfPrimes 1\noperator Sum 2"
            ),
            series: Series::new(&format!("{parts} parts")),
            cpu: Vec::new(),
        }
    }

    async fn measure(&mut self, is_measured: bool, platform: &Platform) -> Result<()> {
        let cpu = || {
            platform
                .pids_of_runs()
                .map(cpu_time)
                .collect::<Result<Vec<_>>>()
        };
        let before = cpu()?;
        let begun = Instant::now();
        let report = platform
            .run(&format!("1 {LAST}"), &self.application)
            .await?;
        let took = begun.elapsed();
        let output: Vec<_> = report.output.into_iter().map(Item::from).collect();
        check(sum_of(&output)?)?;
        if took < self.series.best() || self.series.took.is_empty() {
            let used = cpu()?.into_iter().zip(before);
            self.cpu = used
                .map(|(after, before)| after.saturating_sub(before))
                .collect();
        }
        self.series.note(is_measured, took);
        Ok(())
    }

    fn print(&self, base: Duration) {
        let cpu: Vec<_> = self.cpu.iter().copied().map(milliseconds).collect();
        self.series.print(base);
        println!(
            "{:<24} CPU ms of the scheduler and the workers {cpu:.1?}",
            ""
        );
    }
}

async fn timed(work: impl Future<Output = Result<()>>) -> Result<Duration> {
    let begun = Instant::now();
    work.await?;
    Ok(begun.elapsed())
}

/// The whole range in one call.
async fn one_call(host: &OperatorHost) -> Result<()> {
    let sums = call(host, summing(format!("1 {LAST}"), Vec::new())).await?;
    check(sum_of(&sums)?)
}

/// The range in parts, every other one in each of two calls at once.
async fn two_threads(host: &OperatorHost) -> Result<()> {
    let step = LAST / PARTS;
    let parts = (0..PARTS).map(|part| format!("{} {}", part * step + 1, (part + 1) * step));
    let parts: Vec<_> = parts.map(Item::plain).collect();
    let every_other = |from| parts.iter().skip(from).step_by(2).cloned().collect();
    let (even, odd) = tokio::join!(
        call(host, summing(String::new(), every_other(0))),
        call(host, summing(String::new(), every_other(1)))
    );
    check(sum_of(&even?)? + sum_of(&odd?)?)
}

fn sum_of(items: &[Item]) -> Result<u64> {
    let number = |item: &Item| Ok(std::str::from_utf8(&item.value)?.parse::<u64>()?);
    items.iter().map(number).sum()
}

fn summing(input: String, items: Vec<Item>) -> OperatorRequest {
    OperatorRequest {
        class: "SumOfPrimes".to_owned(),
        input,
        items,
        ..OperatorRequest::default()
    }
}

async fn call(host: &OperatorHost, request: OperatorRequest) -> Result<Vec<Item>> {
    let request = OperatorRequest {
        run: 1,
        attempt: 1,
        ..request
    };
    let storage = Box::new(MemoryStorage::default());
    Ok(host.run(request, storage, DEADLINE).await.result?)
}

fn check(sum: u64) -> Result<()> {
    if sum == SUM {
        return Ok(());
    }
    Err(Trouble(format!("the sum is {SUM}, not {sum}")).into())
}

fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
