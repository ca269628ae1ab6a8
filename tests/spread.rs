//! `map` and `reduce` over real processes: cancelled in the middle, and with a worker that is killed in the middle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

#[path = "../worker/tests/host/hostile_component.rs"]
#[allow(dead_code, reason = "most components are of no use here")]
mod component;
mod support;

use std::time::Instant;

use common::proto::{RunReport, RunState};
use component::{Guest, component};
use support::by_hand::{ByHand, Load};
use support::cluster::Folder;
use support::wait_until;

const RANGE: &str = "1 100000000";
const SUM: &str = "279209790387276";
/// Gives each item its value as its key, and the value `1`. The items are at local 10, how many at 11; of an item, the tag
/// of the key is at 0, its text at 4, and the value at 12.
const KEYS: &str = "(i32.store8 (i32.const 3000) (i32.const 49)) \
     (i32.store (i32.const 264) (local.get 10)) (i32.store (i32.const 268) (local.get 11)) \
     (loop $again \
       (i32.store (local.get 10) (i32.const 1)) \
       (i64.store (i32.add (local.get 10) (i32.const 4)) \
         (i64.load (i32.add (local.get 10) (i32.const 12)))) \
       (i32.store (i32.add (local.get 10) (i32.const 12)) (i32.const 3000)) \
       (i32.store (i32.add (local.get 10) (i32.const 16)) (i32.const 1)) \
       (local.set 10 (i32.add (local.get 10) (i32.const 20))) \
       (local.set $i (i32.add (local.get $i) (i32.const 1))) \
       (br_if $again (i32.lt_u (local.get $i) (local.get 11)))) \
     (i32.const 256)";
/// Returns its items after some 200 ms.
const KEEPS: &str = "(loop $again \
       (local.set $i (i32.add (local.get $i) (i32.const 1))) \
       (br_if $again (i32.lt_u (local.get $i) (i32.const 200000000)))) \
     (i32.store (i32.const 264) (local.get 10)) (i32.store (i32.const 268) (local.get 11)) \
     (i32.const 256)";

/// How many tasks of a stage are done, once there are so many.
#[track_caller]
fn await_done(cluster: &ByHand, run: u64, stage: usize, wanted: u32) -> RunReport {
    wait_until(("tasks that are done", stage, wanted), || {
        let report = cluster.report(run, 0);
        assert_eq!(report.state(), RunState::Running, "{report:?}");
        (report.stages[stage].tasks_done >= wanted).then_some(report)
    })
}

#[track_caller]
fn assert_completed(cluster: &ByHand, run: u64, output: &str) -> RunReport {
    let report = wait_until("the outcome", || {
        let report = cluster.report(run, 1_000);
        (report.state() != RunState::Running).then_some(report)
    });
    let values: Vec<_> = report.output.iter().map(|item| &item.value[..]).collect();
    assert_eq!(report.state(), RunState::Completed, "{}", report.error);
    assert_eq!(values, [output.as_bytes()]);
    report
}

#[test]
fn a_cancelled_map_of_10_000_tasks_starts_none_after_the_answer_and_leaves_its_workers_idle() {
    let folder = Folder::new();
    let cluster = ByHand::start(2, folder.path());
    let application = "operator SplitRange 0 chunk=9999\nmap SumOfPrimes 1\noperator Sum 2";
    let run = cluster.submit(RANGE, application);
    let report = await_done(&cluster, run, 1, 100);
    assert_eq!(report.stages[1].tasks, 10_000);

    cluster.cancel(run);
    let answered = Instant::now();
    let loads = || ["w1", "w2"].map(|worker| cluster.load(worker));
    let at_once = loads();
    let idle = wait_until("idle workers", || {
        let loads = loads();
        let is_idle = |load: &Load| (load.running, load.queued) == (0, 0);
        loads.iter().all(is_idle).then_some(loads)
    });
    println!("idle {:?} after the answer", answered.elapsed());
    let started = |loads: [Load; 2]| loads.map(|load| load.started);
    assert_eq!(started(idle), started(at_once));

    let report = cluster.report(run, 0);
    assert_eq!(report.state(), RunState::Cancelled);
    assert!(report.stages[1].tasks_done < 10_000, "{report:?}");
    // Whatever was still on its way to a worker has come by then.
    let next = cluster.submit("1 10", "operator SumOfPrimes 0");
    assert_completed(&cluster, next, "17");
    let all: u64 = started(loads()).iter().sum();
    assert_eq!(all, started(at_once).iter().sum::<u64>() + 1);
}

#[test]
fn a_map_whose_worker_is_killed_completes_with_the_right_sum() {
    let folder = Folder::new();
    let mut cluster = ByHand::start(2, folder.path());
    let application = "operator SplitRange 0 chunk=49999\nmap SumOfPrimes 1\noperator Sum 2";
    let run = cluster.submit(RANGE, application);
    let report = await_done(&cluster, run, 1, 100);
    assert_eq!(report.stages[1].tasks, 2_000);
    assert!(cluster.load("w1").started > 0);
    cluster.kill("w1");
    assert_completed(&cluster, run, SUM);
}

/// What the tasks of a `map` have left at their worker dies with it, and is made again.
#[test]
fn a_reduce_whose_map_worker_is_killed_completes() {
    let folder = Folder::new();
    for (class, run) in [("Keys", KEYS), ("Keeps", KEEPS)] {
        let guest = Guest {
            class,
            run,
            ..Guest::default()
        };
        folder.write(&format!("{class}.wasm"), component(guest));
    }
    let mut cluster = ByHand::start(2, folder.path());
    let application = "operator SplitRange 0 chunk=9\nmap Keys 1\n\
                       reduce Keeps 2 partitions=32\noperator Sum 3";
    let run = cluster.submit("1 1000", application);
    let report = await_done(&cluster, run, 2, 1);
    assert!(report.stages[1].done, "{report:?}");
    assert!(report.stages[2].tasks_done < 32, "{report:?}");
    // It has more than it can have got of the `reduce` alone.
    assert!(cluster.load("w1").started > 32, "{report:?}");
    cluster.kill("w1");
    assert_completed(&cluster, run, "100");
}
