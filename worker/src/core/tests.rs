//! The machine as tables: inputs in the order of time, the list of effects beside each.

use common::fabric::Address;
use common::types::{Dealing, Item, Link, WorkerAddress};
use expect_test::{Expect, expect};

use super::*;

struct Machine {
    core: Core,
    now_ms: u64,
}

impl Machine {
    fn with_slots(slots: usize) -> Self {
        Self {
            core: Core::new(slots),
            now_ms: 0,
        }
    }

    fn step(&mut self, input: Input) -> String {
        let mut outputs = Vec::new();
        self.core.step(self.now_ms, input, &mut outputs);
        assert!(self.core.running() <= self.core.slots);
        assert!(self.core.queued() <= QUEUED_TASKS_MAX);
        outputs.iter().map(|output| show(output) + "\n").collect()
    }

    /// A chain of three stages with the deadline in 60 s; the second may take 2 s.
    fn execute(&mut self, name: &str) -> String {
        let key = key(name);
        self.step(Input::Execute(task(key, self.now_ms, 60_000)))
    }

    fn returned(&mut self, name: &str) -> String {
        let end = Ended::Returned {
            items: vec![Item::plain("out")],
            pins: vec![],
        };
        self.step(Input::Ended {
            account: Account::default(),
            key: key(name),
            end,
        })
    }

    fn failed(&mut self, name: &str) -> String {
        let end = Ended::Failed {
            reason: "no luck".to_owned(),
            permanent: false,
        };
        self.step(Input::Ended {
            account: Account::default(),
            key: key(name),
            end,
        })
    }

    fn stop(&mut self, name: &str) -> String {
        self.step(Input::StopTask(key(name)))
    }

    fn cancel(&mut self, number: u64) -> String {
        self.step(Input::CancelRun(RunKey {
            scheduler_incarnation: 1,
            number,
        }))
    }
}

/// `run/attempt/stage`, and behind a point the task of a `map`, whose segment is its own.
pub fn key(name: &str) -> TaskKey {
    let (name, task) = match name.split_once('.') {
        Some((name, task)) => (name, Some(task.parse().unwrap())),
        None => (name, None),
    };
    let mut parts = name.split('/').map(|part| part.parse::<u32>().unwrap());
    let mut next = || parts.next().unwrap();
    let run = RunKey {
        scheduler_incarnation: 1,
        number: next().into(),
    };
    let (attempt, stage) = (next(), next());
    TaskKey {
        run,
        segment: task.map_or(0, |_| stage),
        task: task.unwrap_or(0),
        attempt,
        stage,
    }
}

pub fn task(key: TaskKey, now_ms: u64, left_ms: u64) -> Task {
    let address = Address::parse("http://127.0.0.1:1").unwrap();
    let link = |(order, timeout_ms)| Link {
        class: "A".to_owned(),
        component: None,
        order,
        dealing: Dealing::Whole,
        worker: Some(WorkerAddress {
            name: format!("w{order}"),
            address: address.clone(),
        }),
        timeout_ms,
        options: BTreeMap::new(),
    };
    Task {
        key,
        arrived_ms: now_ms,
        deadline_ms: now_ms + left_ms,
        input: "13".to_owned(),
        items: vec![],
        sources: vec![],
        pins: vec![],
        grants: vec![],
        submitted_unix_ms: 0,
        retry: false,
        chain: (0..).zip([None, Some(2_000), None]).map(link).collect(),
    }
}

fn show_key(key: TaskKey) -> String {
    format!("{}/{}/{}", key.run.number, key.attempt, key.stage)
        + &match key.task {
            0 => String::new(),
            task => format!(".{task}"),
        }
}

fn show(output: &Output) -> String {
    match output {
        Output::Answer(Ok(())) => "taken".to_owned(),
        Output::Answer(Err(refusal)) => format!("refused: {refusal}"),
        Output::Start { task, time_ms } => format!("start {} for {time_ms} ms", show_key(task.key)),
        Output::Stop { key } => format!("stop {}", show_key(*key)),
        Output::Report(Report {
            task,
            account: _,
            queue_ms,
            run_ms,
            end,
        }) => {
            let end = match end.as_ref() {
                Ended::Held { .. } => "held".to_owned(),
                Ended::SourceLost { worker, .. } => format!("lost at {worker}"),
                Ended::Returned { items, .. } => format!("{} item(s)", items.len()),
                Ended::Failed { reason, .. } => reason.clone(),
            };
            format!(
                "report {} queued {queue_ms} ran {run_ms}: {end}",
                show_key(task.key)
            )
        }
        Output::Forward(Forward { task, .. }) => {
            let next = task.next().and_then(|link| link.worker.as_ref()).unwrap();
            format!("forward {} to {}", show_key(task.key), next.name)
        }
    }
}

// By value: a test is a line of data.
#[allow(clippy::needless_pass_by_value)]
fn check(effects: &str, expected: Expect) {
    expected.assert_eq(effects);
}

#[test]
fn a_stage_is_run_reported_and_forwarded() {
    let mut machine = Machine::with_slots(1);
    check(
        &machine.execute("7/1/0"),
        expect![[r"
            taken
            start 7/1/0 for 60000 ms
        "]],
    );
    machine.now_ms = 30;
    check(
        &machine.returned("7/1/0"),
        expect![[r"
            report 7/1/0 queued 0 ran 30: 1 item(s)
            forward 7/1/0 to w1
        "]],
    );
}

#[test]
fn the_last_stage_is_reported_only() {
    let mut machine = Machine::with_slots(1);
    machine.execute("7/1/2");
    check(
        &machine.returned("7/1/2"),
        expect![[r"
            report 7/1/2 queued 0 ran 0: 1 item(s)
        "]],
    );
}

#[test]
fn a_failed_stage_is_reported_and_not_forwarded() {
    let mut machine = Machine::with_slots(1);
    machine.execute("7/1/0");
    check(
        &machine.failed("7/1/0"),
        expect![[r"
            report 7/1/0 queued 0 ran 0: no luck
        "]],
    );
}

#[test]
fn tasks_beyond_the_slots_wait_in_order() {
    let mut machine = Machine::with_slots(1);
    machine.execute("1/1/2");
    assert_eq!(machine.execute("2/1/2"), "taken\n");
    assert_eq!(machine.execute("3/1/2"), "taken\n");
    machine.now_ms = 40;
    check(
        &machine.returned("1/1/2"),
        expect![[r"
            report 1/1/2 queued 0 ran 40: 1 item(s)
            start 2/1/2 for 59960 ms
        "]],
    );
    machine.now_ms = 50;
    check(
        &machine.returned("2/1/2"),
        expect![[r"
            report 2/1/2 queued 40 ran 10: 1 item(s)
            start 3/1/2 for 59950 ms
        "]],
    );
}

#[test]
fn a_full_queue_refuses_and_forgets_the_task() {
    let mut machine = Machine::with_slots(1);
    for run in 0..=QUEUED_TASKS_MAX {
        machine.execute(&format!("{run}/1/0"));
    }
    check(
        &machine.execute("5000/1/0"),
        expect![[r"
            refused: the worker has 1024 tasks waiting
        "]],
    );
    machine.returned("0/1/0");
    assert_eq!(machine.execute("5000/1/0"), "taken\n");
    assert_eq!(machine.core.queued(), QUEUED_TASKS_MAX);
}

#[test]
fn a_queue_of_large_tasks_is_full_earlier() {
    let mut machine = Machine::with_slots(1);
    let mut answers = vec![];
    for number in 1..=7 {
        let mut large = task(key(&format!("{number}/1/0")), 0, 1_000);
        large.items = vec![Item::plain(vec![0; QUEUED_BYTES_MAX / 4])];
        let mut outputs = vec![];
        machine.core.step(0, Input::Execute(large), &mut outputs);
        answers.extend(outputs.into_iter().filter_map(|output| match output {
            Output::Answer(answer) => Some(answer.is_ok()),
            _ => None,
        }));
    }
    // One runs, four wait.
    assert_eq!(answers, [true, true, true, true, true, false, false]);
}

#[test]
fn a_repeat_is_acknowledged_and_ignored() {
    let mut machine = Machine::with_slots(2);
    machine.execute("7/1/0");
    assert_eq!(machine.execute("7/1/0"), "taken\n", "while it runs");
    machine.returned("7/1/0");
    assert_eq!(machine.execute("7/1/0"), "taken\n", "when it has ended");
}

#[test]
fn a_newer_attempt_stops_the_older_one_of_its_stage_and_of_later_ones() {
    let mut machine = Machine::with_slots(8);
    for task in ["7/1/0", "7/1/1", "7/1/2", "8/1/1"] {
        machine.execute(task);
    }
    check(
        &machine.execute("7/2/1"),
        expect![[r"
            stop 7/1/1
            stop 7/1/2
            taken
            start 7/2/1 for 2000 ms
        "]],
    );
    assert_eq!(machine.returned("7/1/1"), "", "what was stopped has no end");
    assert!(
        machine.returned("7/1/0").contains("report"),
        "the stage before goes on"
    );
}

#[test]
fn a_straggler_of_an_older_attempt_is_ignored() {
    let mut machine = Machine::with_slots(8);
    machine.execute("7/2/1");
    assert_eq!(machine.execute("7/1/1"), "taken\n");
    assert_eq!(machine.execute("7/1/2"), "taken\n");
    assert!(
        machine.execute("7/1/0").contains("start"),
        "the stage before is still wanted"
    );
}

#[test]
fn another_scheduler_counts_other_runs() {
    let mut machine = Machine::with_slots(8);
    machine.execute("7/1/0");
    let run = RunKey {
        scheduler_incarnation: 2,
        number: 7,
    };
    let other = task(
        TaskKey {
            run,
            ..key("7/1/0")
        },
        0,
        60_000,
    );
    assert!(machine.step(Input::Execute(other)).contains("start"));
}

#[test]
fn nothing_of_a_cancelled_run_goes_on_or_starts() {
    let mut machine = Machine::with_slots(1);
    machine.execute("1/1/0");
    machine.execute("1/1/1");
    machine.execute("2/1/0");
    check(
        &machine.cancel(1),
        expect![[r"
            stop 1/1/0
            start 2/1/0 for 60000 ms
        "]],
    );
    assert_eq!(machine.execute("1/2/0"), "refused: the run was cancelled\n");
    assert_eq!(machine.core.queued(), 0);
}

#[test]
fn a_stage_has_no_more_time_than_its_own_and_the_runs() {
    let mut machine = Machine::with_slots(8);
    assert!(machine.execute("1/1/1").contains("for 2000 ms"));
    let short = task(key("2/1/1"), 0, 500);
    assert!(machine.step(Input::Execute(short)).contains("for 500 ms"));
    let late = task(key("3/1/1"), 0, 0);
    assert_eq!(
        machine.step(Input::Execute(late)),
        "refused: the run's deadline has passed\n"
    );
}

#[test]
fn a_task_whose_run_expires_in_the_queue_is_not_started() {
    let mut machine = Machine::with_slots(1);
    machine.execute("1/1/2");
    machine.step(Input::Execute(task(key("2/1/2"), 0, 500)));
    machine.execute("3/1/2");
    machine.now_ms = 500;
    let effects = machine.returned("1/1/2");
    assert!(
        effects.contains("start 3/1/2") && !effects.contains("start 2/1/2"),
        "{effects}"
    );
}

#[test]
fn no_task_starts_while_too_much_is_unacknowledged() {
    let mut machine = Machine::with_slots(1);
    for run in 0..DELIVERIES_MAX {
        let name = format!("{run}/1/2");
        machine.execute(&name);
        machine.returned(&name);
    }
    assert_eq!(machine.execute("5000/1/2"), "taken\n");
    assert_eq!(
        machine.step(Input::Delivered),
        "start 5000/1/2 for 60000 ms\n"
    );
}

#[test]
fn a_newer_attempt_at_one_task_stops_no_other_task_of_its_stage() {
    let mut machine = Machine::with_slots(8);
    machine.execute("1/1/1.1");
    machine.execute("1/1/1.2");
    machine.execute("1/1/2.1");
    check(
        &machine.execute("1/2/1.1"),
        expect![[r"
            stop 1/1/1.1
            taken
            start 1/2/1.1 for 2000 ms
        "]],
    );
}

#[test]
fn a_task_that_was_stopped_does_not_start_any_more() {
    let mut machine = Machine::with_slots(1);
    machine.execute("1/1/1.1");
    machine.execute("1/1/1.2");
    assert_eq!(machine.stop("1/1/1.2"), "");
    assert_eq!(machine.core.queued(), 0);
    assert_eq!(machine.stop("1/1/1.1"), "stop 1/1/1.1\n");
    assert_eq!(machine.execute("1/1/1.2"), "taken\n");
    // It was not even here yet.
    assert_eq!(machine.stop("1/1/1.3"), "");
    assert_eq!(machine.execute("1/1/1.3"), "taken\n");
}

#[test]
fn what_tasks_of_a_map_return_is_reported_or_held_but_not_forwarded() {
    let mut machine = Machine::with_slots(8);
    let mut of_map = task(key("1/1/1.1"), 0, 60_000);
    of_map.chain[1].dealing = Dealing::Chunks;
    assert_eq!(of_map.leaves(), None);
    machine.step(Input::Execute(of_map.clone()));
    check(
        &machine.returned("1/1/1.1"),
        expect![[r"
            report 1/1/1.1 queued 0 ran 0: 1 item(s)
        "]],
    );
    of_map.chain[2].dealing = Dealing::Partitions(3);
    assert_eq!(of_map.leaves(), Some(3));
    // The stage before is a plain one: it reports to the scheduler, which deals.
    of_map.key.stage = 0;
    assert!(of_map.next().is_none() && of_map.leaves().is_none());
}
