//! Workers die, fall silent, come back or cannot be reached.

use super::*;

#[test]
fn the_task_of_a_dead_worker_is_tried_again_from_the_checkpoint() {
    let mut cluster = Cluster::with(&["w1", "w2", "w3"]);
    cluster.submit("A B A");
    cluster.done("1/1/0", "w1");
    check(
        &cluster.dies("w2"),
        expect![[r#"
            w2 died
            run 1 stage 1 (B) failed on w2: the worker died
            run 1 stage 1 (B) assigned to w1 as attempt 2
            send again 1/2/1 to w1 of w1 w1 w3 with ["1/1/0 by w1"]
        "#]],
    );
    assert_eq!(cluster.dies("w2"), "", "a death is certified once");
}

#[test]
fn a_later_stage_of_a_dead_worker_is_placed_when_it_is_its_turn() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A B");
    check(
        &cluster.dies("w2"),
        expect![[r"
            w2 died
        "]],
    );
    // The worker of stage 0 may have forwarded the request to the dead one already.
    check(
        &cluster.done("1/1/0", "w1"),
        expect![[r#"
            run 1 stage 0 (A) done on w1 in 2 ms
            run 1 stage 1 (B) assigned to w1 as attempt 2
            send again 1/2/1 to w1 of w1 w1 with ["1/1/0 by w1"]
        "#]],
    );
}

#[test]
fn a_worker_that_dies_between_report_and_forwarding_hangs_no_run() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A B");
    cluster.done("1/1/0", "w1");
    check(
        &cluster.dies("w1"),
        expect![[r#"
            w1 died
            send 1/1/1 to w2 of - w2 with ["1/1/0 by w1"]
        "#]],
    );
}

#[test]
fn a_silent_worker_is_evicted_and_a_beating_one_is_not() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A");
    for now_ms in (500..=5_000).step_by(500) {
        assert_eq!(cluster.tick_at(now_ms), "");
        cluster.beat("w2", 1, "A B");
    }
    check(
        &cluster.tick_at(5_001),
        expect![[r"
            w1 was silent for too long
            run 1 stage 0 (A) failed on w1: the worker was silent for too long
            run 1 stage 0 (A) assigned to w2 as attempt 2
            send again 1/2/0 to w2 of w2 with []
        "]],
    );
    let states: Vec<_> = cluster
        .core
        .presences(5_001)
        .into_iter()
        .map(|peer| (peer.name, peer.state))
        .collect();
    assert_eq!(
        states,
        [("w2".to_owned(), "present"), ("w1".to_owned(), "dead")]
    );
}

#[test]
fn a_scheduler_that_was_away_does_not_blame_its_workers() {
    let mut cluster = Cluster::with(&["w1"]);
    assert_eq!(cluster.tick_at(60_000), "");
    assert_eq!(cluster.core.workers().count(), 1);
}

#[test]
fn a_new_incarnation_means_that_the_predecessor_is_dead() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A");
    check(
        &cluster.beat("w1", 2, "A B"),
        expect![[r"
            w1 was restarted
            run 1 stage 0 (A) failed on w1: the worker was restarted
            run 1 stage 0 (A) assigned to w2 as attempt 2
            send again 1/2/0 to w2 of w2 with []
            w1 appeared
            registered true
        "]],
    );
}

#[test]
fn a_run_without_workers_waits_for_one() {
    let mut cluster = Cluster::with(&["w1"]);
    cluster.submit("A");
    check(
        &cluster.dies("w1"),
        expect![[r"
            w1 died
            run 1 stage 0 (A) failed on w1: the worker died
            run 1 stage 0 waits for a worker with A
        "]],
    );
    assert_eq!(cluster.beat("w2", 1, "B"), "w2 appeared\nregistered true\n");
    check(
        &cluster.beat("w3", 1, "A"),
        expect![[r"
            w3 appeared
            run 1 stage 0 (A) assigned to w3 as attempt 2
            send again 1/2/0 to w3 of w3 with []
            registered true
        "]],
    );
}

#[test]
fn reassign_gives_another_worker_under_a_new_attempt_and_answers_repeats_alike() {
    let mut cluster = Cluster::with(&["w1", "w2", "w3"]);
    cluster.submit("A B");
    let first = cluster.reassign("1/1/1", "w2");
    check(
        &first,
        expect![[r"
            run 1 stage 1 (B) assigned to w3 as attempt 2
            reassigned to w3 as attempt 2
        "]],
    );
    assert_eq!(
        cluster.reassign("1/1/1", "w2"),
        "reassigned to w3 as attempt 2\n"
    );
    assert_eq!(
        cluster.done("1/1/1", "w2"),
        "",
        "the old worker's report is stale"
    );
    assert!(
        cluster.done("1/1/0", "w1").contains("stage 0"),
        "the asker's own report is not"
    );
    assert!(
        cluster
            .done("1/2/1", "w3")
            .contains("finished 1: completed")
    );
    check(
        &cluster.reassign("1/1/1", "w3"),
        expect![[r"
            not reassigned: this attempt at the run is no longer wanted
        "]],
    );
}

#[test]
fn reassign_is_refused_to_an_old_attempt_and_without_another_worker() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A B");
    cluster.failed("1/1/0", "w1", false);
    assert!(cluster.reassign("1/1/1", "w2").contains("no longer wanted"));
    assert!(
        cluster.reassign("1/2/0", "w2").contains("no longer wanted"),
        "nobody forwards to the first stage"
    );
    cluster.dies("w1");
    assert!(
        cluster
            .reassign("1/2/1", "w2")
            .contains("no other worker has the operator B")
    );
}

#[test]
fn a_task_that_did_not_arrive_is_sent_again_elsewhere_after_a_pause() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A");
    assert_eq!(cluster.send_failed("1/1/0"), "");
    assert_eq!(cluster.tick_at(50), "");
    check(
        &cluster.tick_at(100),
        expect![[r"
            run 1 stage 0 (A) assigned to w2 as attempt 2
            send again 1/2/0 to w2 of w2 with []
        "]],
    );
    cluster.dies("w1");
    cluster.send_failed("1/1/0");
    assert_eq!(
        cluster.tick_at(200),
        "",
        "what an old attempt met is of no interest"
    );
    cluster.send_failed("1/2/0");
    assert_eq!(
        cluster.tick_at(400),
        "send again 1/2/0 to w2 of w2 with []\n",
        "the only worker, the same attempt"
    );
}

#[test]
fn a_failure_that_overtakes_the_report_before_it_waits_for_its_checkpoint() {
    let mut cluster = Cluster::with(&["w1", "w2", "w3"]);
    cluster.submit("A B");
    check(&cluster.failed("1/1/1", "w2", false), expect![""]);
    check(
        &cluster.done("1/1/0", "w1"),
        expect![[r#"
            run 1 stage 0 (A) done on w1 in 2 ms
            run 1 stage 1 (B) failed on w2: no luck
            run 1 stage 1 (B) assigned to w1 as attempt 2
            send again 1/2/1 to w1 of w1 w1 with ["1/1/0 by w1"]
        "#]],
    );
}

#[test]
fn a_failure_that_overtook_a_report_which_never_comes_is_forgotten_with_its_attempt() {
    let mut cluster = Cluster::with(&["w1", "w2", "w3"]);
    cluster.submit("A B");
    cluster.failed("1/1/1", "w2", false);
    check(
        &cluster.dies("w1"),
        expect![[r"
            w1 died
            run 1 stage 0 (A) failed on w1: the worker died
            run 1 stage 0 (A) assigned to w3 as attempt 2
            send again 1/2/0 to w3 of w3 w2 with []
        "]],
    );
    check(
        &cluster.done("1/2/0", "w3"),
        expect![[r"
            run 1 stage 0 (A) done on w3 in 2 ms
        "]],
    );
}

#[test]
fn a_task_that_is_refused_again_and_again_is_sent_more_and_more_rarely() {
    let mut cluster = Cluster::with(&["w1"]);
    cluster.submit("A");
    cluster.send_failed("1/1/0");
    let mut sent_ms = vec![];
    for now_ms in (100..=8_000).step_by(100) {
        cluster.beat("w1", 1, "A B");
        if cluster.tick_at(now_ms).contains("send") {
            sent_ms.push(now_ms);
            cluster.send_failed("1/1/0");
        }
    }
    assert_eq!(sent_ms, [100, 300, 700, 1_500, 3_100, 4_700, 6_300, 7_900]);
}

#[test]
fn a_task_that_may_have_arrived_is_not_given_to_another_worker() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A");
    let outputs = cluster.step(Input::SendFailed {
        run: 1,
        attempt: 1,
        stage: 0,
        task: 0,
        may_have_arrived: true,
    });
    assert_eq!(outputs, []);
    assert_eq!(
        cluster.tick_at(100),
        "send 1/1/0 to w1 of w1 with []\n",
        "a worker ignores the repeat of what it has"
    );
}
