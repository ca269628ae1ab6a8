//! The short versions of the tests with real faults. The long ones are the binaries of this crate.
//!
//! One after the other: each loads the machine, and what they measure are times.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bench::cluster::Settings;
use bench::coordinator;
use bench::full_disk::{self, FullDiskError};
use bench::partition::{self, Cut, PartitionError};
use bench::verdict::Verdict;
use bench::{binary, kill};
use common::types::CommitMode;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn settings(commit: CommitMode) -> Settings {
    Settings {
        commit,
        max_versions: 10_000,
        ..Settings::new(binary::tested().unwrap())
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(future)
}

#[track_caller]
fn accept(verdict: &Verdict) {
    let lines: Vec<_> = verdict.violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    assert!(!verdict.history.operations.is_empty());
}

fn kill_test(commit: CommitMode) {
    let plan = kill::Plan {
        settings: settings(commit),
        nodes: 3,
        clients: 16,
        records: 50,
        duration: Duration::from_secs(12),
        seed: rand::random(),
    };
    let outcome = block_on(kill::run(&plan)).unwrap();
    println!("{outcome}");
    accept(&outcome.verdict);
    assert!(outcome.done.restarts > 0);
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_at_random() {
    kill_test(CommitMode::Majority);
}

#[test]
fn nothing_acknowledged_is_lost_when_certified_deaths_shrink_the_quorum() {
    kill_test(CommitMode::FailStop);
}

fn coordinators(commit: CommitMode, gossip_delay_ms: u64) {
    let plan = coordinator::Plan {
        settings: Settings {
            gossip_delay_ms,
            ..settings(commit)
        },
        nodes: 3,
        rounds: 3,
        seed: rand::random(),
    };
    let outcome = block_on(coordinator::run(&plan)).unwrap();
    println!("{outcome}");
    accept(&outcome.verdict);
    let under_way = |round: &coordinator::Round| round.under_way.is_some();
    assert!(outcome.rounds.iter().any(under_way), "no kill hit anything");
    // A machine that is busy with other tests takes longer, but a suspicion would take longer still.
    let limit = outcome.limit + Duration::from_secs(1);
    let in_time = |round: &coordinator::Round| round.took() <= limit;
    assert!(outcome.rounds.iter().all(in_time));
}

#[test]
fn a_silent_coordinator_is_succeeded() {
    coordinators(CommitMode::Majority, 100);
}

#[test]
fn a_coordinator_that_is_certified_dead_is_succeeded_at_once() {
    coordinators(CommitMode::FailStop, 0);
}

#[test]
fn a_minority_refuses_updates_and_is_equal_after_healing() {
    let plan = partition::Plan {
        settings: settings(CommitMode::Majority),
        clients: 8,
        records: 20,
        rounds: 1,
        pause: Duration::from_millis(500),
        seed: rand::random(),
    };
    match block_on(async { partition::run(plan) }) {
        Err(PartitionError::Network(error)) => println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
        Ok(outcome) => {
            println!("{outcome}");
            accept(&outcome.verdict);
            assert!(outcome.cuts.iter().all(Cut::is_as_promised));
        }
    }
}

#[test]
fn a_full_disk_stops_writes_and_nothing_else_until_there_is_room() {
    match block_on(full_disk::run(settings(CommitMode::Majority))) {
        Err(FullDiskError::Mount(error)) => println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
        Ok(outcome) => {
            println!("{outcome}");
            assert!(outcome.is_as_promised(), "{outcome}");
        }
    }
}
