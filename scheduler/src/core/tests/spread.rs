//! `map` and `reduce`: who gets which task when, and what becomes of tasks, workers and what was left there.

use std::collections::VecDeque;

use common::types::{Pin, Version};

use super::*;

impl Cluster {
    /// Workers with so many slots each.
    fn spread(workers: &[&str], slots: u32) -> Self {
        let mut cluster = Self::with(&[]);
        for name in workers {
            cluster.beats(name, 1, slots);
        }
        cluster
    }

    fn beats(&mut self, name: &str, incarnation: u64, slots: u32) -> String {
        let worker = WorkerAddress {
            name: name.to_owned(),
            address: address(),
        };
        let classes = ["A", "B", "C"].map(str::to_owned).to_vec();
        show(&self.step(Input::Heartbeat(Heartbeat {
            worker,
            incarnation,
            classes,
            slots,
        })))
    }

    /// The stage before a `map` or `reduce` returns items: `key=value`, or just a value.
    fn returns(&mut self, task: &str, worker: &str, items: &str) -> String {
        let item = |word: &str| match word.split_once('=') {
            Some((key, value)) => Item {
                key: Some(key.to_owned()),
                value: value.to_owned().into(),
            },
            None => Item::plain(word.to_owned()),
        };
        let items = items.split_whitespace().map(item).collect();
        let pins = vec![];
        self.report(task, worker, StageEnd::Returned(Checkpoint { items, pins }))
    }

    fn held(&mut self, task: &str, worker: &str) -> String {
        self.report(task, worker, StageEnd::Held { pins: vec![] })
    }
}

#[test]
fn chunks_are_dealt_as_workers_have_room_and_gathered_in_their_order() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    check(
        &cluster.submit("A B* C"),
        expect![[r#"
        run 1 submitted: app on "13", assigned to w1
        send 1/1/0 to w1 of w1 - - with []
        accepted 1
    "#]],
    );
    check(
        &cluster.returns("1/1/0", "w1", "a b c d e"),
        expect![[r#"
        run 1 stage 0 (A) done on w1 in 2 ms
        run 1 stage 1 (B) has 5 tasks
        send 1/1/1.0 to w1 with ["a"] 
        send 1/1/1.1 to w2 with ["b"] 
        send 1/1/1.2 to w1 with ["c"] 
        send 1/1/1.3 to w2 with ["d"] 
    "#]],
    );
    check(
        &cluster.done("1/1/1.1", "w2"),
        expect![[r#"
        send 1/1/1.4 to w2 with ["e"] 
    "#]],
    );
    for (task, worker) in [("1/1/1.0", "w1"), ("1/1/1.3", "w2"), ("1/1/1.2", "w1")] {
        cluster.done(task, worker);
    }
    // A repeat changes nothing.
    check(&cluster.done("1/1/1.2", "w1"), expect![[r""]]);
    check(
        &cluster.done("1/1/1.4", "w2"),
        expect![[r#"
        send 1/1/2 to w1 of w1 - w1 with ["1/1/1.0 by w1", "1/1/1.1 by w2", "1/1/1.2 by w1", "1/1/1.3 by w2", "1/1/1.4 by w2"]
    "#]],
    );
    check(
        &cluster.done("1/1/2", "w1"),
        expect![[r"
            run 1 stage 2 (C) done on w1 in 2 ms
            run 1 completed with 1 item(s)
            finished 1: completed with 1 item(s)
            cancel 1 at w1
            cancel 1 at w2
        "]],
    );
}

#[test]
fn the_items_of_a_reduce_stay_where_they_are_made() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    cluster.submit("A B* C%2");
    cluster.returns("1/1/0", "w1", "a b c");
    cluster.held("1/1/1.0", "w1");
    cluster.held("1/1/1.2", "w1");
    check(
        &cluster.held("1/1/1.1", "w2"),
        expect![[r"
        run 1 stage 2 (C) has 2 tasks
        send 1/1/2.0 to w1 with [] w1[0/1 2/1] w2[1/1]
        send 1/1/2.1 to w2 with [] w1[0/1 2/1] w2[1/1]
    "]],
    );
    cluster.returns("1/1/2.1", "w1", "y");
    check(
        &cluster.returns("1/1/2.0", "w2", "x"),
        expect![[r"
            run 1 completed with 2 item(s)
            finished 1: completed with 2 item(s)
            cancel 1 at w1
            cancel 1 at w2
        "]],
    );
}

#[test]
fn the_items_of_a_plain_stage_are_dealt_to_a_reduce_by_their_keys() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    cluster.submit("A B%2");
    check(
        &cluster.returns("1/1/0", "w1", "a=1 b=2 c=3 a=4"),
        expect![[r#"
            run 1 stage 0 (A) done on w1 in 2 ms
            run 1 stage 1 (B) has 2 tasks
            send 1/1/1.0 to w1 with [] 
            send 1/1/1.1 to w2 with ["1", "2", "3", "4"] 
        "#]],
    );
    let mut cluster = Cluster::spread(&["w1"], 1);
    cluster.submit("A B%2");
    check(
        &cluster.returns("1/1/0", "w1", "a=1 2"),
        expect![[r"
            run 1 stage 0 (A) done on w1 in 2 ms
            run 1 failed: operator B (stage 1) cannot be dealt: an item for it has no key
            finished 1: failed: operator B (stage 1) cannot be dealt: an item for it has no key
            cancel 1 at w1
        "]],
    );
}

#[test]
fn a_stage_without_items_is_done_at_once() {
    let mut cluster = Cluster::spread(&["w1"], 1);
    cluster.submit("A B* C");
    check(
        &cluster.returns("1/1/0", "w1", ""),
        expect![[r"
        run 1 stage 0 (A) done on w1 in 2 ms
        run 1 stage 1 (B) has 0 tasks
        send 1/1/2 to w1 of w1 - w1 with []
    "]],
    );
}

#[test]
fn a_task_that_is_made_again_reads_what_it_has_read_before() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    cluster.submit("A B* C%1");
    cluster.returns("1/1/0", "w1", "a b");
    let pin = Pin {
        record: "k".to_owned(),
        version: Version::write(3, 1),
        is_floor: false,
    };
    let pins = vec![pin.clone()];
    cluster.report("1/1/1.0", "w1", StageEnd::Held { pins });
    let input = Input::CertifyDeath {
        worker: "w1".to_owned(),
    };
    let sent = cluster
        .step(input)
        .into_iter()
        .find_map(|output| match output {
            Output::Send(dispatch) if dispatch.task == 0 => dispatch.checkpoint,
            _ => None,
        });
    assert_eq!(sent.unwrap().pins, [pin]);
}

#[test]
fn tasks_of_a_lost_worker_and_what_they_left_there_are_made_again() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    cluster.submit("A B* C%1");
    cluster.returns("1/1/0", "w1", "a b c");
    cluster.held("1/1/1.0", "w1");
    check(
        &cluster.dies("w1"),
        expect![[r#"
        w1 died
        run 1 stage 1 (B) failed on w1: the worker died
        send again 1/2/1.0 to w2 with ["a"] 
    "#]],
    );
    cluster.held("1/1/1.1", "w2");
    cluster.held("1/2/1.0", "w2");
    check(
        &cluster.held("1/2/1.2", "w2"),
        expect![[r"
        run 1 stage 2 (C) has 1 tasks
        send 1/1/2.0 to w2 with [] w2[0/2 1/1 2/2]
    "]],
    );
}

#[test]
fn nothing_is_dealt_while_a_worker_is_being_lost() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 2);
    cluster.submit("A:1 A");
    cluster.submit("A B* C%7");
    cluster.returns("2/1/0", "w1", "a b");
    cluster.held("2/1/1.0", "w2");
    cluster.held("2/1/1.1", "w1");
    // The end of the first run makes room, before the second one knows that what w1 held is gone.
    check(
        &cluster.dies("w1"),
        expect![[r#"
            w1 died
            run 1 failed: operator A (stage 0) failed on worker w1: the worker died
            finished 1: failed: operator A (stage 0) failed on worker w1: the worker died
            cancel 1 at w2
            run 2 stage 2 (C) failed on w1: the worker died
            run 2 stage 2 (C) failed on w1: the worker died
            send again 2/2/1.0 to w2 with ["a"] 
        "#]],
    );
}

#[test]
fn what_was_left_and_cannot_be_fetched_is_made_again() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 2);
    cluster.submit("A B*:2 C%1");
    cluster.returns("1/1/0", "w1", "a b");
    cluster.held("1/1/1.0", "w1");
    check(
        &cluster.held("1/1/1.1", "w2"),
        expect![[r"
        run 1 stage 2 (C) has 1 tasks
        send 1/1/2.0 to w1 with [] w1[0/1] w2[1/1]
    "]],
    );
    let lost = || StageEnd::SourceLost {
        worker: "w2".to_owned(),
        parts: vec![Part {
            task: 1,
            attempt: 1,
        }],
        reason: "no route".to_owned(),
    };
    check(
        &cluster.report("1/1/2.0", "w1", lost()),
        expect![[r#"
        run 1 stage 1 (B) failed on w2: what it left cannot be fetched: no route
        send again 1/2/1.1 to w1 with ["b"] 
    "#]],
    );
    // It was not the fault of the task that fetches: that is no try of it. But of the one that is fetched from.
    check(
        &cluster.held("1/2/1.1", "w1"),
        expect![[r"
        send again 1/2/2.0 to w1 with [] w1[0/1 1/2]
    "]],
    );
    let lost = StageEnd::SourceLost {
        worker: "w1".to_owned(),
        parts: vec![Part {
            task: 1,
            attempt: 2,
        }],
        reason: "no route".to_owned(),
    };
    check(
        &cluster.report("1/2/2.0", "w1", lost),
        expect![[r"
            run 1 failed: operator B (stage 1, task 1) failed on worker w1: what it left cannot be fetched: no route
            finished 1: failed: operator B (stage 1, task 1) failed on worker w1: what it left cannot be fetched: no route
            cancel 1 at w1
            cancel 1 at w2
        "]],
    );
}

#[test]
fn a_task_that_fails_is_tried_elsewhere_and_at_last_ends_the_run() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    cluster.submit("A B*:2");
    cluster.returns("1/1/0", "w1", "a b");
    check(
        &cluster.failed("1/1/1.0", "w1", false),
        expect![[r#"
        run 1 stage 1 (B) failed on w1: no luck
        send again 1/2/1.0 to w2 with ["a"] 
    "#]],
    );
    check(
        &cluster.failed("1/2/1.0", "w2", false),
        expect![[r"
            run 1 failed: operator B (stage 1, task 0) failed on worker w2: no luck
            finished 1: failed: operator B (stage 1, task 0) failed on worker w2: no luck
            cancel 1 at w1
            cancel 1 at w2
        "]],
    );
}

#[test]
fn a_slow_task_is_started_once_more_and_the_first_to_end_counts() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    cluster.submit("A B*");
    cluster.returns("1/1/0", "w1", "a b");
    cluster.now_ms = 100;
    cluster.done("1/1/1.1", "w2");
    check(&cluster.tick_at(1_000), expect![[r""]]);
    check(
        &cluster.tick_at(1_100),
        expect![[r#"
        send again 1/2/1.0 to w2 with ["a"] 
    "#]],
    );
    // Not a third time, and whoever fails has no say while the other is at it.
    check(&cluster.tick_at(1_200), expect![[r""]]);
    check(&cluster.failed("1/1/1.0", "w1", false), expect![[r""]]);
    check(
        &cluster.done("1/2/1.0", "w2"),
        expect![[r"
            run 1 completed with 2 item(s)
            finished 1: completed with 2 item(s)
            cancel 1 at w1
            cancel 1 at w2
        "]],
    );
}

#[test]
fn whoever_is_slower_is_stopped() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    cluster.submit("A B*");
    cluster.returns("1/1/0", "w1", "a b");
    cluster.done("1/1/1.1", "w2");
    cluster.tick_at(1_100);
    check(
        &cluster.done("1/1/1.0", "w1"),
        expect![[r"
            stop 1/2/1.0 at w2
            run 1 completed with 2 item(s)
            finished 1: completed with 2 item(s)
            cancel 1 at w1
            cancel 1 at w2
        "]],
    );
}

#[test]
fn a_worker_that_cannot_be_reached_is_left_alone_for_a_while() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    cluster.submit("A B*");
    cluster.returns("1/1/0", "w1", "a b c d e");
    check(&cluster.send_failed("1/1/1.0"), expect![[r""]]);
    check(&cluster.tick_at(400), expect![[r""]]);
    check(
        &cluster.tick_at(500),
        expect![[r#"
        send again 1/2/1.0 to w1 with ["a"] 
    "#]],
    );
}

#[test]
fn runs_take_turns() {
    let mut cluster = Cluster::spread(&["w1"], 1);
    cluster.submit("A B*");
    cluster.submit("A B*");
    let mut effects = cluster.returns("1/1/0", "w1", "a b c");
    effects += &cluster.returns("2/1/0", "w1", "d e f");
    let (mut sent, mut turns) = (VecDeque::new(), Vec::new());
    loop {
        let begun = effects
            .lines()
            .filter_map(|line| line.strip_prefix("send "));
        sent.extend(begun.filter_map(|line| line.split(' ').next().map(str::to_owned)));
        let Some(task) = sent.pop_front() else {
            break;
        };
        effects = cluster.done(&task, "w1");
        turns.push(task);
    }
    check(
        &turns.join(" "),
        expect!["1/1/1.0 2/1/1.0 1/1/1.1 2/1/1.1 1/1/1.2 2/1/1.2"],
    );
}

#[test]
fn a_cancelled_run_leaves_nothing_at_workers() {
    let mut cluster = Cluster::spread(&["w1", "w2"], 1);
    cluster.submit("A B*");
    cluster.returns("1/1/0", "w1", "a b c");
    check(
        &cluster.cancel(1),
        expect![[r"
        run 1 cancelled
        finished 1: cancelled
        over when w1 and w2 know
    "]],
    );
    check(&cluster.done("1/1/1.0", "w1"), expect![[r""]]);
}

#[test]
fn too_many_tasks_are_refused_with_advice() {
    let mut cluster = Cluster::spread(&["w1"], 1);
    cluster.submit("A B*");
    let items = "x ".repeat(tasks::TASKS_MAX + 1);
    check(
        &cluster.returns("1/1/0", "w1", &items),
        expect![[r"
            run 1 stage 0 (A) done on w1 in 2 ms
            run 1 failed: operator B (stage 1) cannot be dealt: 100001 tasks are more than 100000: give it the option chunk=N, so that a task gets more items
            finished 1: failed: operator B (stage 1) cannot be dealt: 100001 tasks are more than 100000: give it the option chunk=N, so that a task gets more items
            cancel 1 at w1
        "]],
    );
}

#[test]
fn the_newest_attempts_are_remembered() {
    let mut cluster = Cluster::spread(&["w1"], 1);
    cluster.submit("A B*");
    cluster.returns("1/1/0", "w1", &"x ".repeat(TRACED_TASKS_MAX + 5));
    for task in 0..TRACED_TASKS_MAX {
        cluster.done(&format!("1/1/1.{task}"), "w1");
    }
    let run = cluster.core.run(1).unwrap();
    assert_eq!(run.trace.len(), TRACED_TASKS_MAX);
    let newest = run.trace.back().and_then(|traced| traced.task).unwrap();
    assert_eq!(newest as usize, TRACED_TASKS_MAX - 1);
}

#[test]
fn what_a_run_waits_for_counts_its_tasks() {
    let mut cluster = Cluster::spread(&["w1"], 1);
    cluster.submit("A B*");
    cluster.returns("1/1/0", "w1", "a b c");
    check(
        &cluster.core.waits_for(0, 1).unwrap(),
        expect![
            "run 1 waits for stage 1 (B): of 3 tasks 0 are done, 2 are at workers, 1 wait for a worker with room; its deadline is in 60000 ms"
        ],
    );
    check(
        &cluster.tick_at(60_000),
        expect![[r"
        cancel 1 at w1
        run 1 expired: no outcome within 60000 ms: of 3 tasks of operator B (stage 1) 0 were done
        finished 1: expired: no outcome within 60000 ms: of 3 tasks of operator B (stage 1) 0 were done
    "]],
    );
}
