//! Word count: the whole job on all workers, against its operator alone, over the same text.
//!
//! Both are judged by the bytes that they count in a second of a core: what the job adds (splitting, handing items on,
//! reducing, collecting) is then what it costs, and not what others on the same machine were doing. The text is one of Zipf's
//! and held in memory by the system; what is returned is checked against the plainest counter. Beside them the operator
//! alone, twice at once, each for every other part: what a core gives when the others are busy as well.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bench::platform::Platform;
use bench::speed::Result;
use bench::speed::machine::cpu_time;
use bench::speed::measure::Servers as _;
use bench::words;
use bench::zipf::Zipf;
use common::types::Item;
use worker::host::{HostConfig, OperatorHost, OperatorRequest};

use super::{WORKERS, call, milliseconds, ratio, single_slots};

/// "Throughput per core of the whole job at least 70 % of the operator alone over the same bytes".
const AIM: f64 = 0.7;
/// As `scripts/wordcount.app` has it.
const CHUNK: u64 = 32 << 20;
const PARTITIONS: u32 = 8;

/// How long one of them took, and what it had of the cores.
#[derive(Clone)]
struct Spent {
    wall: Duration,
    /// One for each process: of the job the storage node, the scheduler and the workers.
    cpu: Vec<Duration>,
}

impl Spent {
    fn cpu(&self) -> Duration {
        self.cpu.iter().sum()
    }
}

/// Rounds of one way of doing it.
#[derive(Default)]
struct Rounds(Vec<Spent>);

impl Rounds {
    /// The one that has used the least of the cores.
    fn cheapest(&self) -> Option<&Spent> {
        self.0.iter().min_by_key(|spent| spent.cpu())
    }

    fn shortest(&self) -> Option<&Spent> {
        self.0.iter().min_by_key(|spent| spent.wall)
    }

    fn print(&self, name: &str, mebibytes: u32, cores: usize) {
        let (Some(cheapest), Some(shortest)) = (self.cheapest(), self.shortest()) else {
            return;
        };
        let megabytes = f64::from(mebibytes) * 1.048_576;
        let cpu: Vec<_> = cheapest.cpu.iter().copied().map(milliseconds).collect();
        println!(
            "{name:<24} {:>5.0} MB in a second of a core, CPU ms {cpu:.0?}; {:>5.0} MB/s on {cores} core(s), best {:.0} ms",
            megabytes / cheapest.cpu().as_secs_f64(),
            megabytes / shortest.wall.as_secs_f64(),
            milliseconds(shortest.wall)
        );
    }
}

pub async fn measure(binary: &Path, mebibytes: u32, rounds: usize) -> Result<()> {
    println!("Words of a text of {mebibytes} MiB, {WORKERS} workers with one slot each:\n");
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("text");
    let mut out = BufWriter::new(File::create(&file)?);
    Zipf::new(1).write(u64::from(mebibytes) << 20, &mut out)?;
    out.flush()?;
    let expected = words::count(BufReader::with_capacity(1 << 20, File::open(&file)?))?;
    let text = format!("file://{}", file.display());

    let platform = single_slots(binary).await?;
    let host = OperatorHost::start(HostConfig::default()).await?;
    let (mut alone, mut both) = (Rounds::default(), Rounds::default());
    let mut job = Rounds::default();
    let this = [std::process::id()];
    for round in 0..=rounds {
        let (counted, operator) = spent(&this, one_thread(&host, &text)).await?;
        check(counted, &expected)?;
        let (counted, operators) = spent(&this, two_threads(&host, &text)).await?;
        check(counted, &expected)?;
        let pids = platform.pids();
        let (counted, whole) = spent(&pids, on_workers(&platform, &text)).await?;
        check(counted, &expected)?;
        // The first round warms up.
        if round > 0 {
            alone.0.push(operator);
            both.0.push(operators);
            job.0.push(whole);
        }
    }
    alone.print("WordCount alone", mebibytes, 1);
    both.print("WordCount twice at once", mebibytes, 2);
    job.print("the whole job", mebibytes, WORKERS);
    judge(&alone, &both, &job);
    Ok(())
}

fn judge(alone: &Rounds, both: &Rounds, job: &Rounds) {
    let cpu = |rounds: &Rounds| rounds.cheapest().map(Spent::cpu).unwrap_or_default();
    let wall = |rounds: &Rounds| {
        rounds
            .shortest()
            .map(|spent| spent.wall)
            .unwrap_or_default()
    };
    let share = ratio(cpu(alone), cpu(job));
    let met = if share >= AIM { "met" } else { "MISSED" };
    let workers = u32::try_from(WORKERS).unwrap_or(u32::MAX);
    println!(
        "\nword count, a core in the whole job: {share:.2} of the operator alone; aim {AIM}: {met}; {:.2} of it twice at once; \
         a worker by the clock: {:.2} and {:.2}\n",
        ratio(cpu(both), cpu(job)),
        ratio(wall(alone), wall(job) * workers),
        ratio(wall(both), wall(job))
    );
}

async fn spent<T>(pids: &[u32], work: impl Future<Output = Result<T>>) -> Result<(T, Spent)> {
    let cpu = || {
        pids.iter()
            .copied()
            .map(cpu_time)
            .collect::<Result<Vec<_>>>()
    };
    let before = cpu()?;
    let begun = Instant::now();
    let done = work.await?;
    let wall = begun.elapsed();
    let used = cpu()?.into_iter().zip(before);
    let cpu = used
        .map(|(after, before)| after.saturating_sub(before))
        .collect();
    Ok((done, Spent { wall, cpu }))
}

/// The same parts as those of the job, one after another; nothing is done with what they return.
async fn one_thread(host: &OperatorHost, text: &str) -> Result<Vec<Item>> {
    let parts = split(host, text).await?;
    count(host, text, parts).await
}

async fn two_threads(host: &OperatorHost, text: &str) -> Result<Vec<Item>> {
    let parts = split(host, text).await?;
    let every_other = |from| parts.iter().skip(from).step_by(2).cloned().collect();
    let (even, odd) = tokio::join!(
        count(host, text, every_other(0)),
        count(host, text, every_other(1))
    );
    let mut items = even?;
    items.extend(odd?);
    Ok(items)
}

async fn split(host: &OperatorHost, text: &str) -> Result<Vec<Item>> {
    let splitting = OperatorRequest {
        class: "SplitText".to_owned(),
        options: [("chunk".to_owned(), CHUNK.to_string())].into(),
        ..of_text(text)
    };
    call(host, splitting).await
}

async fn count(host: &OperatorHost, text: &str, parts: Vec<Item>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for part in parts {
        let counting = OperatorRequest {
            class: "WordCount".to_owned(),
            items: vec![part],
            ..of_text(text)
        };
        items.extend(call(host, counting).await?);
    }
    Ok(items)
}

fn of_text(text: &str) -> OperatorRequest {
    OperatorRequest {
        input: text.to_owned(),
        grants: vec![text.to_owned()],
        ..OperatorRequest::default()
    }
}

async fn on_workers(platform: &Platform, text: &str) -> Result<Vec<Item>> {
    let application = format!(
        "operator SplitText 0 chunk={CHUNK}\nmap WordCount 1\nreduce SumByKey 2 partitions={PARTITIONS}\n\
         operator Collect 3\ngrant {text}"
    );
    let report = platform.run(text, &application).await?;
    Ok(report.output.into_iter().map(Item::from).collect())
}

fn check(items: Vec<Item>, expected: &BTreeMap<String, u64>) -> Result<()> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for Item { key, value } in items {
        let count: u64 = std::str::from_utf8(&value)?.parse()?;
        *counts.entry(key.unwrap_or_default()).or_default() += count;
    }
    if counts == *expected {
        return Ok(());
    }
    Err("the words are counted wrongly".into())
}
