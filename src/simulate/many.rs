//! One simulation for each of many seeds, until one fails.

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use puppetmaster::outcome::Outcome;
use puppetmaster::output::{Format, Output};

use super::{Case, Ended, shrink, simulate};
use crate::failure::Failure;

/// Of what a simulation that has failed said, the end is shown.
const LINES_SHOWN: usize = 60;

/// What all simulations work on.
struct Search<'a> {
    case: &'a Case,
    seeds: &'a Range<u64>,
    next: AtomicU64,
    is_over: AtomicBool,
    simulated_ms: AtomicU64,
    done: AtomicU64,
    /// The lowest seed that failed, how, and what was said.
    failed: Mutex<Option<(u64, Outcome, Vec<String>)>>,
    bar: ProgressBar,
}

pub fn run(
    case: &Case,
    seeds: &Range<u64>,
    jobs: u16,
    shrink_into: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let search = Search {
        case,
        seeds,
        next: AtomicU64::new(seeds.start),
        is_over: AtomicBool::new(false),
        simulated_ms: AtomicU64::new(0),
        done: AtomicU64::new(0),
        failed: Mutex::default(),
        bar: bar(seeds.end - seeds.start),
    };
    let started = Instant::now();
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs).map(|_| scope.spawn(|| search.work())).collect();
        let lost = |_| Failure::other("a simulation has panicked".to_owned());
        jobs.into_iter()
            .try_for_each(|job| job.join().map_err(lost)?)
    })?;
    search.bar.finish_and_clear();
    let failed = search.failed.lock().unwrap_or_else(PoisonError::into_inner);
    let simulated = Duration::from_millis(search.simulated_ms.load(Ordering::Relaxed));
    let rate = simulated.as_secs_f64() / started.elapsed().as_secs_f64();
    let done = search.done.load(Ordering::Relaxed);
    let simulated = simulated.as_secs();
    println!("{done} seeds, {simulated} s simulated at {rate:.0} s a second");
    match &*failed {
        None => Ok(ExitCode::SUCCESS),
        Some((seed, outcome, said)) => {
            for line in said.iter().skip(said.len().saturating_sub(LINES_SHOWN)) {
                eprintln!("{line}");
            }
            println!("seed {seed} failed; again: {}", case.command(*seed));
            if let Some(directory) = shrink_into {
                shrink::run(case, *seed, directory)?;
            }
            Ok(ExitCode::from(outcome.exit_code()))
        }
    }
}

fn bar(seeds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seeds);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left") {
        bar.set_style(style);
    }
    bar
}

impl Search<'_> {
    fn work(&self) -> Result<(), Failure> {
        while !self.is_over.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if !self.seeds.contains(&seed) {
                return Ok(());
            }
            let said = Arc::new(Mutex::new(Vec::new()));
            let saying = Arc::clone(&said);
            let sink = move |_, text: &str| {
                let mut said = saying.lock().unwrap_or_else(PoisonError::into_inner);
                said.push(text.to_owned());
            };
            let output = Output::new(Format::Text, false, Arc::new(sink));
            let ended = simulate(self.case, seed, &output)?;
            self.note(seed, &ended, &said);
        }
        Ok(())
    }

    fn note(&self, seed: u64, ended: &Ended, said: &Mutex<Vec<String>>) {
        self.simulated_ms
            .fetch_add(ended.simulated_ms, Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(1);
        if ended.outcome == Outcome::Well {
            return;
        }
        self.is_over.store(true, Ordering::Relaxed);
        let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.as_ref().is_none_or(|(lowest, ..)| seed < *lowest) {
            *failed = Some((seed, ended.outcome, said));
        }
    }
}
