//! Stages end and fail, and runs have one outcome.

use super::*;

#[test]
fn a_chain_completes_without_the_scheduler_forwarding_anything() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A B");
    check(
        &cluster.done("1/1/0", "w1"),
        expect![[r"
            run 1 stage 0 (A) done on w1 in 2 ms
        "]],
    );
    check(
        &cluster.done("1/1/1", "w2"),
        expect![[r"
            run 1 stage 1 (B) done on w2 in 2 ms
            run 1 completed with 1 item(s)
            finished 1: completed with 1 item(s)
        "]],
    );
}

#[test]
fn a_report_may_overtake_that_of_the_stage_before() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A B");
    check(
        &cluster.done("1/1/1", "w2"),
        expect![[r"
            run 1 stage 1 (B) done on w2 in 2 ms
            run 1 completed with 1 item(s)
            finished 1: completed with 1 item(s)
        "]],
    );
    check(
        &cluster.done("1/1/0", "w1"),
        expect![[r"
            run 1 stage 0 (A) done on w1 in 2 ms
        "]],
    );
    assert!(cluster.core.run(1).unwrap().stages.iter().all(|stage| {
        stage
            .times_ms
            .map(|times_ms| (times_ms.queue, times_ms.run))
            == Some((1, 2))
    }));
}

#[test]
fn a_run_has_one_outcome_whatever_is_reported_later() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A:1");
    check(
        &cluster.failed("1/1/0", "w1", false),
        expect![[r"
            run 1 failed: operator A (stage 0) failed on worker w1: no luck
            finished 1: failed: operator A (stage 0) failed on worker w1: no luck
            cancel 1 at w1
        "]],
    );
    assert!(!cluster.failed("1/1/0", "w1", false).contains("finished"));
    assert!(!cluster.done("1/1/0", "w1").contains("finished"));
    assert!(!cluster.tick_at(100_000).contains("finished"));
}

#[test]
fn a_failed_task_is_tried_on_another_worker_until_its_attempts_are_used_up() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A");
    check(
        &cluster.failed("1/1/0", "w1", false),
        expect![[r"
            run 1 stage 0 (A) failed on w1: no luck
            run 1 stage 0 (A) assigned to w2 as attempt 2
            send again 1/2/0 to w2 of w2 with []
        "]],
    );
    assert!(
        cluster
            .failed("1/2/0", "w2", false)
            .contains("send again 1/3/0 to w1")
    );
    check(
        &cluster.failed("1/3/0", "w1", false),
        expect![[r"
            run 1 failed: operator A (stage 0) failed on worker w1 in attempt 3: no luck
            finished 1: failed: operator A (stage 0) failed on worker w1 in attempt 3: no luck
            cancel 1 at w1
            cancel 1 at w2
        "]],
    );
}

#[test]
fn the_only_worker_gets_the_task_again() {
    let mut cluster = Cluster::with(&["w1"]);
    cluster.submit("A");
    assert!(
        cluster
            .failed("1/1/0", "w1", false)
            .contains("send again 1/2/0 to w1")
    );
}

#[test]
fn a_permanent_failure_is_not_tried_again() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A");
    assert!(
        cluster
            .failed("1/1/0", "w1", true)
            .contains("finished 1: failed")
    );
}

#[test]
fn reports_of_older_attempts_are_ignored() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A B");
    cluster.failed("1/1/0", "w1", false);
    assert_eq!(cluster.done("1/1/0", "w1"), "");
    assert_eq!(
        cluster.done("1/1/1", "w2"),
        "",
        "later stages have a new attempt too"
    );
    assert_eq!(cluster.failed("1/1/0", "w1", false), "");
    assert_eq!(
        cluster.done("1/2/0", "w1"),
        "",
        "not the worker that it was given to"
    );
    assert!(cluster.done("1/2/0", "w2").contains("done on w2"));
}

#[test]
fn at_its_deadline_a_run_expires_and_its_workers_are_told() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A B");
    for now_ms in (1_000..60_000).step_by(1_000) {
        cluster.beat("w1", 1, "A B");
        cluster.beat("w2", 1, "A B");
        assert_eq!(cluster.tick_at(now_ms), "");
    }
    check(
        &cluster.tick_at(60_000),
        expect![[r"
            cancel 1 at w1
            cancel 1 at w2
            run 1 expired: no outcome within 60000 ms: operator A (stage 0) on worker w1 had not ended
            finished 1: expired: no outcome within 60000 ms: operator A (stage 0) on worker w1 had not ended
        "]],
    );
}

#[test]
fn a_cancelled_run_is_over_when_all_know_who_could_start_something_of_it() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A B");
    check(
        &cluster.cancel(1),
        expect![[r"
            run 1 cancelled
            finished 1: cancelled
            over when w1 and w2 know
        "]],
    );
    // The answer may have been lost.
    assert_eq!(cluster.cancel(1), "over when w1 and w2 know\n");
    assert!(!cluster.done("1/1/0", "w1").contains("finished"));
    assert!(cluster.reassign("1/1/1", "w2").contains("no longer wanted"));
}

#[test]
fn who_had_a_stage_before_another_got_it_is_told_of_a_cancellation_too() {
    let mut cluster = Cluster::with(&["w1", "w2", "w3"]);
    cluster.submit("A B");
    cluster.reassign("1/1/1", "w2");
    cluster.failed("1/1/0", "w1", false);
    let told = cluster.cancel(1);
    assert!(told.contains("over when w1 and w2 and w3 know"), "{told}");
    cluster.submit("A");
    cluster.done("2/1/0", "w1");
    assert!(cluster.cancel(2).contains("has ended"));
}

#[test]
fn what_has_ended_or_was_never_there_is_not_cancelled() {
    let mut cluster = Cluster::with(&["w1"]);
    cluster.submit("A");
    cluster.done("1/1/0", "w1");
    assert_eq!(
        cluster.cancel(1),
        "not cancelled: run 1 has ended: completed with 1 item(s)\n"
    );
    assert!(cluster.cancel(2).contains("there is no run 2"));
}

#[test]
fn a_key_means_one_run_however_often_it_comes() {
    let mut cluster = Cluster::with(&["w1"]);
    assert!(cluster.submit_with_key("k", "A").contains("accepted 1"));
    assert_eq!(cluster.submit_with_key("k", "A"), "accepted 1\n");
    assert!(cluster.submit_with_key("l", "A").contains("accepted 2"));
    cluster.done("1/1/0", "w1");
    assert_eq!(cluster.submit_with_key("k", "A"), "accepted 1\n");
    assert_eq!(
        cluster.submit_with_key("k", "A B"),
        "refused: the key belongs to run 1, which has another input or application\n"
    );
}

/// What is known of the tasks of a run that have ended.
fn traced(cluster: &Cluster, run: RunNumber) -> String {
    let tasks = cluster.core.run(run).unwrap().trace.iter();
    let line = |task: &TracedTask| {
        let end = task.error.as_deref().unwrap_or("done");
        format!(
            "{}/{}/{} {}: {end}\n",
            run, task.attempt, task.stage, task.worker
        )
    };
    tasks.map(line).collect()
}

#[test]
fn every_attempt_that_has_ended_is_remembered_once() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A B:1");
    cluster.failed("1/1/0", "w1", false);
    cluster.done("1/2/0", "w2");
    cluster.done("1/2/0", "w2");
    cluster.dies("w2");
    cluster.failed("1/3/1", "w1", true);
    cluster.failed("1/3/1", "w1", true);
    check(
        &traced(&cluster, 1),
        expect![[r"
        1/1/0 w1: no luck
        1/2/0 w2: done
        1/2/1 w2: the worker died
    "]],
    );
}

#[test]
fn what_a_run_waits_for_is_told() {
    let mut cluster = Cluster::with(&["w1"]);
    cluster.submit("A");
    let why = |cluster: &Cluster| cluster.core.waits_for(cluster.now_ms, 1).unwrap() + "\n";
    let mut told = why(&cluster);
    cluster.send_failed("1/1/0");
    told += &why(&cluster);
    cluster.tick_at(100);
    for _ in 0..4 {
        cluster.submit("A");
    }
    told += &why(&cluster);
    cluster.dies("w1");
    told += &why(&cluster);
    cluster.cancel(1);
    told += &why(&cluster);
    check(
        &told,
        expect![[r"
        run 1 waits for the end of stage 0 (A) on worker w1, attempt 1; its deadline is in 60000 ms
        run 1 waits to be sent to worker w1 again, in 100 ms: stage 0 (A) has not reached it; its deadline is in 60000 ms
        run 1 waits for stage 0 (A) on worker w1, attempt 1: perhaps for a slot, for the worker has 5 tasks and 4 slots; its deadline is in 59900 ms
        run 1 waits for a worker that has operator A (stage 0); its deadline is in 59900 ms
        run 1 has ended: cancelled
    "]],
    );
    assert_eq!(cluster.core.waits_for(0, 77), None);
}
