//! `cargo bench -p bench --bench operator_host -- [COMPONENT.wasm...]`: what the operator host adds to bare wasmtime.
//!
//! For each component: how long its compilation and its loading from the cache take, and what one task takes in a fresh
//! and in a reused instance, in the host and in a bare loop of wasmtime: the same engine, `InstancePre`, the call of `run`,
//! and a map for records; no deadline, limits, session, slots or threads. Both in turns, in one run, so that the machine's
//! mood hits both alike. Measured are the operators that ship, and the components named or else the example in every
//! language, built for this. A language whose toolchain is missing is said to be left out.

#[path = "operator_host/bare.rs"]
mod bare;
#[path = "components/mod.rs"]
#[allow(dead_code, reason = "another benchmark needs the rest")]
mod components;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bare::Bare;
use bench::speed::Result;
use clap::Parser;
use common::types::Item;
use components::{EXAMPLE_CLASS, STANDARD, example, repository};
use operator_tool::language::Language;
use worker::host::{
    HostConfig, MemoryStorage, OperatorHost, OperatorRequest, Ran, Source, StorageCalls,
};

/// "The host's overhead over bare wasmtime is at most 25 % for a fresh instance", "under 40 µs".
const AIM_RATIO: f64 = 1.25;
const AIM_RUST: Duration = Duration::from_micros(40);
/// Tasks here, then as many there.
const TURN: usize = 20;
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
struct Options {
    /// Components to measure besides the standard one
    components: Vec<PathBuf>,
    /// Tasks of each kind, at most
    #[arg(long, default_value_t = 20_000)]
    tasks: usize,
    /// Seconds for tasks of each kind, at most
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let scratch = tempfile::tempdir()?;
    let examples = scratch.path().join("examples");
    std::fs::create_dir(&examples)?;
    let mut components = vec![repository().join(STANDARD)];
    components.extend(options.components.clone());
    if options.components.is_empty() {
        for language in Language::ALL {
            components.extend(example(language, &examples)?);
        }
    }
    println!(
        "{:<28} {:>9} {:>9}  {:<8} {:>17} {:>17} {:>6}",
        "component", "compile", "load", "instance", "host p50/p99 µs", "bare p50/p99 µs", "ratio"
    );
    let mut verdicts = Vec::new();
    for component in components {
        verdicts.extend(measure(&component, &options).await?);
    }
    println!("\n{}", verdicts.join("\n"));
    Ok(())
}

/// One component; its lines are printed, its verdicts returned.
async fn measure(component: &Path, options: &Options) -> Result<Vec<String>> {
    // With one more section, an empty one, it is not the component that every host has compiled at its start.
    let bytes = [std::fs::read(component)?.as_slice(), &[0, 2, 1, b'-']].concat();
    let scratch = tempfile::tempdir()?;
    let config = HostConfig {
        directory: Some(scratch.path().join("operators")),
        code_cache: Some(scratch.path().join("cache")),
        ..HostConfig::default()
    };
    std::fs::create_dir(scratch.path().join("operators"))?;
    let (_, compiled) = load(&config, &bytes).await?;
    let (host, loaded) = load(&config, &bytes).await?;
    let class = class_of(&host)?;
    let bare = Bare::new(&config, &bytes)?;
    let name = name_of(component);
    let mut verdicts = Vec::new();
    for reuse in [false, true] {
        let (hosted, alone) = in_turns(&host, &bare, &request(&class, reuse), options).await?;
        let ratio = hosted.percentile(50).as_secs_f64() / alone.percentile(50).as_secs_f64();
        let (took, instance) = if reuse {
            (String::new(), "reused")
        } else {
            (
                format!(
                    "{:>6.1} ms {:>6.1} ms",
                    milliseconds(compiled),
                    milliseconds(loaded)
                ),
                "fresh",
            )
        };
        println!(
            "{:<28} {took:>19}  {instance:<8} {hosted:>17} {alone:>17} {ratio:>6.2}",
            if reuse { "" } else { &name },
        );
        if !reuse {
            verdicts.push(format!(
                "{name}, fresh: {ratio:.2} times bare wasmtime; aim {AIM_RATIO}: {}",
                met(ratio <= AIM_RATIO)
            ));
            if component.ends_with(STANDARD) {
                let p50 = hosted.percentile(50);
                verdicts.push(format!(
                    "{name}, fresh: {p50:.1?}; aim {AIM_RUST:?}: {}",
                    met(p50 < AIM_RUST)
                ));
            }
        }
    }
    Ok(verdicts)
}

/// A new host that finds the component, as a worker does: reads it, compiles it or loads it from the cache, asks it for its
/// classes.
async fn load(config: &HostConfig, bytes: &[u8]) -> Result<(OperatorHost, Duration)> {
    let file = config
        .directory
        .iter()
        .map(|directory| directory.join("measured.wasm"));
    let host = OperatorHost::start(config.clone()).await?;
    for path in file.clone() {
        std::fs::write(path, bytes)?;
    }
    let begun = Instant::now();
    host.rescan().await;
    let took = begun.elapsed();
    if let Some(problem) = host.problems().into_iter().next() {
        return Err(problem.into());
    }
    for path in file {
        std::fs::remove_file(path)?;
    }
    Ok((host, took))
}

/// The class to measure: one that needs no particular input.
fn class_of(host: &OperatorHost) -> Result<String> {
    let mut classes = host.classes().into_iter();
    let measured = classes.find(|info| {
        info.source != Source::BuiltIn
            && ["CounterOperator", EXAMPLE_CLASS]
                .iter()
                .any(|known| info.class.contains(known))
    });
    let measured = measured.or_else(|| {
        host.classes()
            .into_iter()
            .find(|info| info.source != Source::BuiltIn)
    });
    Ok(measured.ok_or("it has no class")?.class)
}

fn name_of(component: &Path) -> String {
    let directory = component
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default();
    let file = component.file_name().unwrap_or_default();
    format!("{}/{}", directory.display(), file.display())
}

fn request(class: &str, reuse: bool) -> OperatorRequest {
    let reuse = reuse.then(|| ("reuse".to_owned(), "yes".to_owned()));
    OperatorRequest {
        class: class.to_owned(),
        run: 1,
        attempt: 1,
        input: "1".to_owned(),
        options: reuse.into_iter().collect(),
        items: vec![Item::plain("1".to_owned())],
        ..OperatorRequest::default()
    }
}

/// The same tasks in the host and bare, some here, some there.
async fn in_turns(
    host: &OperatorHost,
    bare: &Bare,
    request: &OperatorRequest,
    options: &Options,
) -> Result<(Took, Took)> {
    let begun = Instant::now();
    let mut storage: Box<dyn StorageCalls> = Box::new(MemoryStorage::default());
    let mut alone = bare.reused(request);
    let (mut hosted_took, mut alone_took) = (Took::default(), Took::default());
    for turn in 0..=options.tasks.div_ceil(TURN) {
        // The first turn warms up, one at least is measured.
        if turn > 1 && begun.elapsed().as_secs() >= options.seconds {
            break;
        }
        for _ in 0..TURN {
            let request = request.clone();
            let begun = Instant::now();
            let Ran {
                result,
                storage: returned,
                ..
            } = host.run(request, storage, DEADLINE).await;
            hosted_took.note(turn, begun.elapsed());
            storage = returned;
            result?;
        }
        for _ in 0..TURN {
            let request = request.clone();
            let begun = Instant::now();
            alone.run(&request).await?;
            alone_took.note(turn, begun.elapsed());
        }
    }
    Ok((hosted_took, alone_took))
}

/// How long each task took.
#[derive(Default)]
struct Took(Vec<Duration>);

impl Took {
    fn note(&mut self, turn: usize, took: Duration) {
        if turn > 0 {
            self.0.push(took);
        }
    }

    /// What this many of a hundred tasks do not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = sorted.len().saturating_sub(1) * percent / 100;
        sorted.get(place).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Took {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = |percent| self.percentile(percent).as_secs_f64() * 1e6;
        out.pad(&format!("{:.1} / {:.1}", micros(50), micros(99)))
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn met(holds: bool) -> &'static str {
    if holds { "met" } else { "MISSED" }
}
