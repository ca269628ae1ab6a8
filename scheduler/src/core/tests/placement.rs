//! What is accepted, where it goes, and what is remembered.

use super::*;

#[test]
fn stages_go_to_the_worker_with_the_fewest_outstanding_tasks() {
    let mut cluster = Cluster::with(&["w1", "w2", "w3"]);
    check(
        &cluster.submit("A B A B"),
        expect![[r#"
            run 1 submitted: app on "13", assigned to w1 → w2 → w3 → w1
            send 1/1/0 to w1 of w1 w2 w3 w1 with []
            accepted 1
        "#]],
    );
    check(
        &cluster.submit("A B"),
        expect![[r#"
            run 2 submitted: app on "13", assigned to w2 → w3
            send 2/1/0 to w2 of w2 w3 with []
            accepted 2
        "#]],
    );
}

#[test]
fn among_equals_the_one_idle_longest_is_chosen() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.submit("A A");
    cluster.now_ms = 10;
    cluster.done("1/1/0", "w1");
    cluster.now_ms = 5;
    cluster.done("1/1/1", "w2");
    check(
        &cluster.submit("A"),
        expect![[r#"
            run 2 submitted: app on "13", assigned to w2
            send 2/1/0 to w2 of w2 with []
            accepted 2
        "#]],
    );
}

#[test]
fn only_workers_that_have_the_class_are_chosen() {
    let mut cluster = Cluster::with(&["w1"]);
    cluster.beat("w2", 1, "C");
    check(
        &cluster.submit("A C A C"),
        expect![[r#"
            run 1 submitted: app on "13", assigned to w1 → w2 → w1 → w2
            send 1/1/0 to w1 of w1 w2 w1 w2 with []
            accepted 1
        "#]],
    );
}

#[test]
fn wrong_applications_are_refused_with_every_wrong_stage() {
    let mut cluster = Cluster::with(&["w1"]);
    let outputs = cluster.step(Input::Submit(submission("B* A X Y")));
    let wrong = SubmitError::WrongStages {
        stages: vec![
            WrongStage::NoItems(0),
            WrongStage::UnknownClass(2),
            WrongStage::UnknownClass(3),
        ],
        known: vec!["A".to_owned(), "B".to_owned()],
    };
    assert_eq!(outputs, [Output::Answer(Answer::Submitted(Err(wrong)))]);
}

#[test]
fn without_workers_or_ring_runs_are_refused() {
    check(
        &Cluster::with(&[]).submit("A"),
        expect![[r"
            refused: no worker is active: start one with `worker ID URL GOSSIP_DELAY`, or wait until one has registered
        "]],
    );
    let mut cluster = Cluster {
        core: Core::new(0, None, true, 1),
        now_ms: 0,
    };
    cluster.beat("w1", 1, "A");
    check(
        &cluster.submit("A"),
        expect![[r"
            refused: no storage nodes are known: the scheduler needs a ring (SetRing) before it takes runs
        "]],
    );
}

#[test]
fn too_many_runs_are_refused() {
    let mut cluster = Cluster {
        core: Core::new(0, None, true, 1),
        now_ms: 0,
    };
    cluster.core.ring = Cluster::with(&[]).core.ring;
    cluster.beat("w1", 1, "A");
    for _ in 0..runs::IN_FLIGHT_RUNS_MAX {
        cluster
            .core
            .step(0, Input::Submit(submission("A")), &mut Vec::new());
    }
    check(
        &cluster.submit("A"),
        expect![[r"
            refused: 10000 runs are in flight: try again when some have ended
        "]],
    );
}

#[test]
fn a_ring_is_replaced_by_a_newer_one_only() {
    let mut cluster = Cluster::with(&[]);
    let known = cluster.core.ring().unwrap().as_ref().clone();
    let set =
        |cluster: &mut Cluster, ring: &Ring| show(&cluster.step(Input::SetRing(ring.clone())));
    let newer = Ring {
        epoch: 2,
        ..known.clone()
    };
    assert_eq!(set(&mut cluster, &known), "ring Ok(())\n");
    assert_eq!(
        set(
            &mut cluster,
            &Ring {
                max_versions: 3,
                ..known.clone()
            }
        ),
        "ring Err(Other { epoch: 1 })\n"
    );
    assert_eq!(set(&mut cluster, &newer), "ring Ok(())\n");
    assert_eq!(
        set(&mut cluster, &known),
        "ring Err(Older { epoch: 1, known: 2 })\n"
    );
}

#[test]
fn the_oldest_finished_runs_are_forgotten() {
    let mut cluster = Cluster::with(&["w1"]);
    for run in 1..=HISTORY_RUNS_MAX as u64 + 1 {
        cluster.submit("A:1");
        cluster.failed(&format!("{run}/1/0"), "w1", true);
    }
    assert!(cluster.core.run(1).is_none());
    assert!(cluster.core.run(2).is_some());
    cluster.check_invariants();
}
