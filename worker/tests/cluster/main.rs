//! Whole roles in one process: a scheduler, workers and storage nodes on the local fabric, with the operators that
//! ship. What is shown is what a client of the cluster sees.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../host/hostile_component.rs"]
#[allow(dead_code)]
mod hostile_component;
mod support;

use std::time::Duration;

use common::proto::{
    AwaitRunRequest, CancelRunRequest, Empty, NodeStatus, RunState, RunsRequest, node, worker,
};
use common::status::Kind;

use hostile_component::{Guest, LOOP, NOTHING, component};
use support::{Cluster, PATIENCE, output};

#[tokio::test]
async fn a_chain_reads_and_updates_replicated_records() {
    let mut cluster = Cluster::start(3, 0).await;
    cluster.worker("w1", 0).await;
    cluster.worker("w2", 0).await;
    cluster.write("23", "11").await;
    cluster.write("24", "one_ahead_of_23").await;
    let run = cluster
        .submit(
            "23",
            "operator AddOperator 0\noperator UpdateAndChainOperator 1",
        )
        .await
        .unwrap();
    let report = cluster.outcome(run).await;
    assert_eq!(report.state(), RunState::Completed, "{}", report.error);
    assert_eq!(output(&report), ["end"]);
    let stages: Vec<_> = report
        .stages
        .iter()
        .map(|stage| (stage.worker.as_str(), stage.attempts, stage.done))
        .collect();
    assert_eq!(stages, [("w1", 1, true), ("w2", 1, true)]);
    assert_eq!(cluster.read("23").await, "success");
}

#[tokio::test]
async fn a_run_reads_its_own_writes_on_any_worker_despite_slow_gossip() {
    let mut cluster = Cluster::start(3, 2_000).await;
    for name in ["w1", "w2", "w3", "w4"] {
        cluster.worker(name, 0).await;
    }
    let chain = [0, 1, 2, 3, 4, 5, 6, 7].map(|stage| format!("operator CounterOperator {stage}"));
    let run = cluster.submit("7", &chain.join("\n")).await.unwrap();
    let report = cluster.outcome(run).await;
    assert_eq!(output(&report), ["8"], "{}", report.error);
}

#[tokio::test]
async fn a_wrong_application_is_refused_with_all_its_mistakes() {
    let mut cluster = Cluster::start(1, 0).await;
    cluster.worker("w1", 0).await;
    let application = "map CounterOperator 0\noperator AddOperater 1\n";
    let status = cluster.submit("1", application).await.unwrap_err();
    assert_eq!(status.kind, Kind::InvalidArgument);
    expect_test::expect![[r"
        error: the first stage cannot be a `map`: it gets no items
         --> app:1:5
          |
        1 | map CounterOperator 0
          |     ^^^^^^^^^^^^^^^
          = hint: let an `operator` come first that makes items of the run's input

        error: unknown operator class `AddOperater`
         --> app:2:10
          |
        2 | operator AddOperater 1
          |          ^^^^^^^^^^^
          = hint: did you mean `AddOperator`?
    "]]
    .assert_eq(&status.message);
    let status = cluster
        .submit("1", "operater AddOperator 0")
        .await
        .unwrap_err();
    assert!(status.message.contains("app:1:1"), "{status}");
}

#[tokio::test]
async fn without_a_worker_a_run_is_refused() {
    let cluster = Cluster::start(1, 0).await;
    let status = cluster
        .submit("1", "operator CounterOperator 0")
        .await
        .unwrap_err();
    assert_eq!(status.kind, Kind::Unavailable);
    assert!(status.message.contains("no worker is active"), "{status}");
}

#[tokio::test]
async fn an_operator_that_cannot_go_on_fails_the_run_with_its_reason() {
    let mut cluster = Cluster::start(1, 0).await;
    cluster.worker("w1", 0).await;
    let run = cluster
        .submit("404", "operator CounterOperator 0\noperator AddOperator 1")
        .await
        .unwrap();
    let report = cluster.outcome(run).await;
    assert_eq!(report.state(), RunState::Failed);
    assert_eq!(
        report.error,
        "operator AddOperator (stage 1) failed on worker w1: record \"405\": not found"
    );
    let run = cluster
        .submit("404", "operator CounterOperator 0")
        .await
        .unwrap();
    assert_eq!(
        output(&cluster.outcome(run).await),
        ["2"],
        "the cluster goes on working"
    );
}

#[tokio::test]
async fn a_worker_that_dies_with_a_request_in_its_hands_is_made_up_for() {
    let mut cluster = Cluster::start(1, 0).await;
    // It reports its stage at once, and would forward the request after an hour.
    cluster.worker("w1", 3_600_000).await;
    cluster.worker("w2", 0).await;
    let run = cluster
        .submit(
            "7",
            "operator CounterOperator 0\noperator CounterOperator 1",
        )
        .await
        .unwrap();
    cluster
        .until("stage 0 is reported", async |cluster| {
            cluster.report(run).await.stages[0].done
        })
        .await;
    cluster.kill("w1").await;
    cluster.certify_death("w1").await;
    let report = cluster.outcome(run).await;
    assert_eq!(output(&report), ["2"], "{}", report.error);
    assert_eq!(report.stages[1].worker, "w2");
}

#[tokio::test]
async fn a_worker_whose_successor_is_gone_asks_for_another() {
    let mut cluster = Cluster::start(1, 0).await;
    for name in ["w1", "w2", "w3"] {
        cluster.worker(name, 0).await;
    }
    // The scheduler learns of it from w1's question only: the run ends before w2 is evicted for its silence.
    cluster.kill("w2").await;
    let chain = "operator CounterOperator 0\noperator CounterOperator 1";
    let run = cluster.submit_within("7", chain, 3_000).await.unwrap();
    let report = cluster.outcome(run).await;
    assert_eq!(output(&report), ["2"], "{}", report.error);
    assert!(report.stages.iter().all(|stage| stage.worker != "w2"));
}

#[tokio::test]
async fn all_runs_complete_once_while_a_worker_is_killed() {
    let mut cluster = Cluster::start(3, 0).await;
    for name in ["w1", "w2", "w3"] {
        cluster.worker(name, 20).await;
    }
    let mut runs = Vec::new();
    for record in 0..60 {
        if record == 30 {
            cluster.kill("w2").await;
            cluster.certify_death("w2").await;
        }
        let chain =
            "operator CounterOperator 0\noperator CounterOperator 1\noperator CounterOperator 2";
        runs.push(cluster.submit(&record.to_string(), chain).await.unwrap());
    }
    for run in runs {
        let report = cluster.outcome(run).await;
        assert_eq!(
            report.state(),
            RunState::Completed,
            "run {run}: {}",
            report.error
        );
    }
    let listed = cluster
        .scheduler()
        .runs(&RunsRequest { limit: 0 })
        .await
        .unwrap()
        .runs;
    assert_eq!(listed.len(), 60);
    assert!(listed.is_sorted_by_key(|report| std::cmp::Reverse(report.run)));
}

#[tokio::test]
async fn a_run_without_outcome_expires_at_its_deadline() {
    let mut cluster = Cluster::start(1, 0).await;
    cluster.worker("w1", 3_600_000).await;
    let chain = "operator CounterOperator 0\noperator CounterOperator 1";
    let run = cluster.submit_within("7", chain, 700).await.unwrap();
    let report = cluster.outcome(run).await;
    assert_eq!(report.state(), RunState::Expired);
    assert!(
        report
            .error
            .contains("operator CounterOperator (stage 1) on worker w1"),
        "{}",
        report.error
    );
    let status = worker_status(&cluster, "w1").await;
    assert!(
        status
            .peers
            .iter()
            .any(|peer| peer.name == "scheduler" && peer.state == "present"),
        "{status:?}"
    );
}

#[tokio::test]
async fn awaiting_a_run_ends_with_the_time_or_the_outcome() {
    let mut cluster = Cluster::start(1, 0).await;
    cluster.worker("w1", 3_600_000).await;
    let chain = "operator CounterOperator 0\noperator CounterOperator 1";
    let run = cluster.submit("7", chain).await.unwrap();
    let report = cluster
        .scheduler()
        .await_run(&AwaitRunRequest { run, wait_ms: 50 })
        .await
        .unwrap();
    assert_eq!(report.state(), RunState::Running);
    let status = cluster
        .scheduler()
        .await_run(&AwaitRunRequest {
            run: 99,
            wait_ms: 50,
        })
        .await
        .unwrap_err();
    assert_eq!(status.kind, Kind::NotFound);
}

#[tokio::test]
async fn workers_may_come_before_the_scheduler_and_survive_its_restart() {
    let mut cluster = Cluster::start(1, 0).await;
    cluster.stop_scheduler().await;
    cluster.worker_unregistered("w1", 0).await;
    cluster.start_scheduler().await;
    cluster.until_registered(1).await;
    let first = cluster
        .submit("7", "operator CounterOperator 0")
        .await
        .unwrap();
    assert_eq!(output(&cluster.outcome(first).await), ["1"]);
    cluster.stop_scheduler().await;
    cluster.start_scheduler().await;
    cluster.until_registered(1).await;
    let second = cluster
        .submit("7", "operator CounterOperator 0")
        .await
        .unwrap();
    assert_eq!((first, second), (1, 2), "runs are counted on");
    assert_eq!(output(&cluster.outcome(second).await), ["2"]);
    assert_eq!(output(&cluster.outcome(first).await), ["1"], "it is known");
}

#[tokio::test]
async fn a_restarted_worker_is_another_one() {
    let mut cluster = Cluster::start(1, 0).await;
    cluster.worker("w1", 3_600_000).await;
    let chain = "operator CounterOperator 0\noperator CounterOperator 1";
    let run = cluster.submit("7", chain).await.unwrap();
    cluster
        .until("stage 0 is reported", async |cluster| {
            cluster.report(run).await.stages[0].done
        })
        .await;
    cluster.kill("w1").await;
    cluster.worker_unregistered("w1", 0).await;
    let report = cluster.outcome(run).await;
    assert_eq!(output(&report), ["2"], "{}", report.error);
    assert_eq!(report.stages[1].attempts, 2);
}

#[tokio::test]
async fn a_wrong_task_or_cancellation_harms_nobody() {
    let mut cluster = Cluster::start(1, 0).await;
    cluster.worker("w1", 0).await;
    let client = worker::Client::new(cluster.fabric.clone(), cluster.address_of("w1"), PATIENCE);
    let status = client
        .execute(&common::proto::Task::default())
        .await
        .unwrap_err();
    assert_eq!(status.kind, Kind::InvalidArgument);
    client
        .cancel_run(&CancelRunRequest {
            run: 1,
            scheduler_incarnation: 5,
        })
        .await
        .unwrap();
    let run = cluster
        .submit("7", "operator CounterOperator 0")
        .await
        .unwrap();
    assert_eq!(output(&cluster.outcome(run).await), ["1"]);
}

async fn worker_status(cluster: &Cluster, name: &str) -> NodeStatus {
    let client = node::Client::new(cluster.fabric.clone(), cluster.address_of(name), PATIENCE);
    client.status(&Empty {}).await.unwrap()
}

#[tokio::test]
async fn a_file_that_is_slow_to_load_delays_no_heartbeat() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(1, 0).await;
    cluster.worker_with("w1", directory.path()).await;
    let slow = component(Guest {
        class: "Slow",
        run: NOTHING,
        classes: LOOP,
        ..Guest::default()
    });
    // Renamed into place, as the worker relies on.
    let written = directory.path().join("slow.part");
    std::fs::write(&written, slow).unwrap();
    std::fs::rename(written, directory.path().join("slow.wasm")).unwrap();
    let end_ms = cluster.fabric.now_ms() + 4_500;
    while cluster.fabric.now_ms() < end_ms {
        let active = cluster.scheduler().cluster(&Empty {}).await.unwrap();
        let silent_ms = active.workers[0].silent_ms;
        assert!(silent_ms < 3_000, "silent for {silent_ms} ms");
        cluster.fabric.sleep(Duration::from_millis(50)).await;
    }
}
