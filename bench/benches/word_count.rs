//! `cargo bench -p bench --bench word_count`: how fast the operator `WordCount` is, alone.
//!
//! A Zipf text is split as `SplitText` does, and one task after another counts its part in the operator host, from a file
//! that the system holds in memory. Beside it the plainest counter, in this process: its words are the check.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bench::speed::Result;
use bench::speed::machine::cpu_time;
use bench::words;
use bench::zipf::Zipf;
use clap::Parser;
use common::types::Item;
use worker::host::{HostConfig, MemoryStorage, OperatorHost, OperatorRequest, Ran};

const DEADLINE: Duration = Duration::from_mins(10);

#[derive(Debug, Parser)]
struct Options {
    /// Of the text, in MiB
    #[arg(long, default_value_t = 256)]
    mebibytes: u32,
    /// Of one task, in MiB
    #[arg(long, value_delimiter = ',', default_values_t = [8, 32])]
    chunks: Vec<u64>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("text");
    let mut out = BufWriter::new(File::create(&file)?);
    Zipf::new(1).write(u64::from(options.mebibytes) << 20, &mut out)?;
    out.flush()?;

    let begun = Spent::now()?;
    let text = BufReader::with_capacity(1 << 20, File::open(&file)?);
    let expected = words::count(text)?;
    report("plain counter", options.mebibytes, &begun.since()?, "");

    let host = OperatorHost::start(HostConfig::default()).await?;
    for chunk in options.chunks {
        let begun = Spent::now()?;
        let items = count(&host, &file, chunk << 20).await?;
        let took = begun.since()?;
        let name = format!("WordCount, chunks of {chunk} MiB");
        let more = format!(", {} items", items.len());
        report(&name, options.mebibytes, &took, &more);
        if added(items)? != expected {
            return Err("the counts differ".into());
        }
    }
    Ok(())
}

/// Time, and what this process has had of the cores.
struct Spent {
    wall: Duration,
    cpu: Duration,
    begun: Instant,
}

impl Spent {
    fn now() -> Result<Self> {
        Ok(Self {
            wall: Duration::ZERO,
            cpu: cpu_time(std::process::id())?,
            begun: Instant::now(),
        })
    }

    fn since(&self) -> Result<Self> {
        let now = Self::now()?;
        Ok(Self {
            wall: now.begun - self.begun,
            cpu: now.cpu.saturating_sub(self.cpu),
            begun: now.begun,
        })
    }
}

fn report(what: &str, mebibytes: u32, spent: &Spent, more: &str) {
    let megabytes = f64::from(mebibytes) * 1.048_576;
    println!(
        "{what:<32} {:>6.0} MB/s, {:>6.0} MB in a second of a core{more}",
        megabytes / spent.wall.as_secs_f64(),
        megabytes / spent.cpu.as_secs_f64()
    );
}

/// What one task after another returns.
async fn count(host: &OperatorHost, file: &Path, chunk: u64) -> Result<Vec<Item>> {
    let input = format!("file://{}", file.display());
    let options = [("chunk".to_owned(), chunk.to_string())].into();
    let parts = run(host, "SplitText", &input, options, vec![]).await?;
    let mut items = Vec::new();
    for part in parts {
        let counted = run(host, "WordCount", &input, BTreeMap::new(), vec![part]).await?;
        items.extend(counted);
    }
    Ok(items)
}

fn added(items: Vec<Item>) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for Item { key, value } in items {
        let count: u64 = std::str::from_utf8(&value)?.parse()?;
        *counts.entry(key.unwrap_or_default()).or_default() += count;
    }
    Ok(counts)
}

async fn run(
    host: &OperatorHost,
    class: &str,
    input: &str,
    options: BTreeMap<String, String>,
    items: Vec<Item>,
) -> Result<Vec<Item>> {
    let request = OperatorRequest {
        class: class.to_owned(),
        run: 1,
        attempt: 1,
        input: input.to_owned(),
        options,
        grants: vec![input.to_owned()],
        items,
        ..OperatorRequest::default()
    };
    let storage = Box::new(MemoryStorage::default());
    let Ran { result, .. } = host.run(request, storage, DEADLINE).await;
    Ok(result?)
}
