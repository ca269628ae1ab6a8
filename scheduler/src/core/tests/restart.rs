//! Runs are kept before they begin, and taken up by the next life of the scheduler.

use common::types::RECOVERIES_MAX;

use super::*;

fn recovered(number: RunNumber, chain: &str, outcome: Option<RunState>) -> Recovered {
    Recovered {
        number,
        submission: submission(chain),
        recoveries: 1,
        left_ms: 30_000,
        outcome,
    }
}

/// What a step does when the storage is slow.
fn raw(cluster: &mut Cluster, input: Input) -> String {
    let mut outputs = Vec::new();
    cluster.core.step(cluster.now_ms, input, &mut outputs);
    cluster.check_invariants();
    show(&outputs)
}

#[test]
fn nothing_starts_before_the_run_is_kept() {
    let mut cluster = Cluster::with(&["w1"]);
    check(
        &raw(&mut cluster, Input::Submit(submission("A"))),
        expect![[r#"
            run 1 submitted: app on "13", assigned to w1
            keep 1
            accepted 1
        "#]],
    );
    // A worker that is lost meanwhile does not begin it elsewhere.
    cluster.beat("w2", 1, "A");
    check(
        &raw(
            &mut cluster,
            Input::CertifyDeath {
                worker: "w1".to_owned(),
            },
        ),
        expect![[r"
            w1 died
            run 1 stage 0 (A) failed on w1: the worker died
            run 1 stage 0 (A) assigned to w2 as attempt 2
        "]],
    );
    check(
        &raw(&mut cluster, Input::Kept { run: 1 }),
        expect![[r"
            send again 1/2/0 to w2 of w2 with []
        "]],
    );
}

#[test]
fn a_run_that_the_storage_does_not_take_expires() {
    let mut cluster = Cluster::with(&["w1"]);
    raw(&mut cluster, Input::Submit(submission("A")));
    cluster.now_ms = cluster.core.run(1).unwrap().deadline_ms;
    check(
        &raw(&mut cluster, Input::Tick),
        expect![[r"
            cancel 1 at w1
            run 1 expired: no outcome within 60000 ms: the storage has not taken the run
        "]],
    );
    // Taken after that, nothing of it starts.
    check(
        &raw(&mut cluster, Input::Kept { run: 1 }),
        expect![[r"
        finished 1: expired: no outcome within 60000 ms: the storage has not taken the run
    "]],
    );
}

#[test]
fn an_outcome_is_told_when_it_is_kept() {
    let mut cluster = Cluster::with(&["w1"]);
    cluster.submit("A");
    let items = vec![Item::plain("out")];
    let end = StageEnd::Returned(Checkpoint {
        items,
        pins: vec![],
    });
    raw(&mut cluster, report("1/1/0", "w1", end));
    let run = |cluster: &Cluster| cluster.core.run(1).unwrap().told_state().clone();
    assert_eq!(run(&cluster), RunState::Running);
    raw(&mut cluster, Input::Settled { run: 1 });
    assert!(matches!(run(&cluster), RunState::Completed(_)));
}

#[test]
fn runs_without_an_outcome_begin_again_as_new_attempts() {
    let mut cluster = Cluster::with(&[]);
    let runs = vec![
        recovered(3, "A B", None),
        recovered(2, "A", Some(RunState::Cancelled)),
    ];
    check(
        &show(&cluster.step(Input::Recover { runs, submitted: 0 })),
        expect![[r"
        run 3 stage 0 waits for a worker with A
    "]],
    );
    assert_eq!(
        cluster.core.run(2).unwrap().told_state(),
        &RunState::Cancelled
    );
    check(
        &cluster.beat("w1", 1, "A B"),
        expect![[r"
        w1 appeared
        run 3 stage 0 (A) assigned to w1 as attempt 1048578
        send again 3/1048578/0 to w1 of w1 w1 with []
        registered true
    "]],
    );
    // Reports of the attempts of an earlier life change nothing.
    check(&cluster.done("3/1/0", "w1"), expect![[r""]]);
    check(
        &cluster.done("3/1048578/0", "w1"),
        expect![[r"
        run 3 stage 0 (A) done on w1 in 2 ms
    "]],
    );
    check(
        &cluster.submit("A"),
        expect![[r#"
        run 4 submitted: app on "13", assigned to w1
        send 4/1/0 to w1 of w1 with []
        accepted 4
    "#]],
    );
    // Whoever has a task of it is not known any more.
    cluster.beat("w2", 1, "A B");
    check(
        &cluster.cancel(3),
        expect![[r"
        run 3 cancelled
        finished 3: cancelled
        over when w1 and w2 know
    "]],
    );
}

#[test]
fn tasks_of_a_recovered_run_are_new_attempts_too() {
    let mut cluster = Cluster::with(&["w1"]);
    cluster.step(Input::Recover {
        runs: vec![recovered(1, "A B* A", None)],
        submitted: 0,
    });
    check(
        &cluster.done("1/1048578/0", "w1"),
        expect![[r#"
        run 1 stage 0 (A) done on w1 in 2 ms
        run 1 stage 1 (B) has 1 tasks
        send again 1/1048577/1.0 to w1 with ["1/1048578/0 by w1"] 
    "#]],
    );
    check(
        &cluster.done("1/1048577/1.0", "w1"),
        expect![[r#"
        send again 1/1048578/2 to w1 of w1 - w1 with ["1/1048577/1.0 by w1"]
    "#]],
    );
}

#[test]
fn a_key_stands_for_its_run_in_the_next_life_too() {
    let mut cluster = Cluster::with(&["w1"]);
    let mut run = recovered(5, "A", Some(RunState::Cancelled));
    run.submission.key = Some("mine".to_owned());
    cluster.step(Input::Recover {
        runs: vec![run],
        submitted: 0,
    });
    check(
        &cluster.submit_with_key("mine", "A"),
        expect![[r"
        accepted 5
    "]],
    );
}

#[test]
fn a_run_whose_time_is_up_expires() {
    let mut cluster = Cluster::with(&["w1"]);
    let mut run = recovered(1, "A", None);
    run.left_ms = 0;
    cluster.step(Input::Recover {
        runs: vec![run],
        submitted: 0,
    });
    check(
        &cluster.tick_at(0),
        expect![[r"
        cancel 1 at w1
        run 1 expired: no outcome within 0 ms: operator A (stage 0) on worker w1 had not ended
        finished 1: expired: no outcome within 0 ms: operator A (stage 0) on worker w1 had not ended
    "]],
    );
}

#[test]
fn workers_that_come_after_the_end_of_a_run_that_was_taken_up_are_told() {
    let mut cluster = Cluster::with(&["w1"]);
    let runs = vec![
        recovered(1, "A", None),
        recovered(2, "A", Some(RunState::Cancelled)),
    ];
    cluster.step(Input::Recover { runs, submitted: 0 });
    cluster.cancel(1);
    check(
        &cluster.beat("w2", 1, "A"),
        expect![[r"
        cancel 1 at w2
        w2 appeared
        registered true
    "]],
    );
    check(
        &cluster.beat("w2", 1, "A"),
        expect![[r"
        registered true
    "]],
    );
}

#[test]
fn a_run_that_was_begun_anew_too_often_fails() {
    let mut cluster = Cluster::with(&["w1"]);
    let mut run = recovered(1, "A", None);
    run.recoveries = RECOVERIES_MAX + 1;
    check(
        &show(&cluster.step(Input::Recover {
            runs: vec![run],
            submitted: 0,
        })),
        expect![[r"
            run 1 failed: schedulers have begun it anew 4094 times
            finished 1: failed: schedulers have begun it anew 4094 times
            cancel 1 at w1
        "]],
    );
}
