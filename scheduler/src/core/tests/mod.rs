//! The machine as tables: inputs in the order of time, the list of effects beside each.

mod deployed;
mod life;
mod placement;
mod recovery;
mod restart;
mod spread;

use std::collections::BTreeMap;

use common::fabric::Address;
use common::types::{CallLog, CommitMode, Dealing, Item, Part, Ring, Source, WorkerAddress};
use expect_test::{Expect, expect};

use super::event::Reassignment;
use super::trace::TRACED_TASKS_MAX;
use super::*;

const HISTORY_RUNS_MAX: usize = 100;

struct Cluster {
    core: Core,
    now_ms: u64,
}

impl Cluster {
    /// With a ring, and workers that have the operators A and B.
    fn with(workers: &[&str]) -> Self {
        let nodes = vec![("s1".to_owned(), address())];
        let ring = Ring::new(nodes, None, CommitMode::FailStop, 10).unwrap();
        let mut cluster = Self {
            core: Core::new(0, Some(ring), true, HISTORY_RUNS_MAX),
            now_ms: 0,
        };
        for name in workers {
            cluster.beat(name, 1, "A B");
        }
        cluster
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.core.step(self.now_ms, input, &mut outputs);
        self.check_invariants();
        self.store(outputs)
    }

    /// The storage keeps at once what it is given.
    fn store(&mut self, outputs: Vec<Output>) -> Vec<Output> {
        let mut effects = Vec::new();
        for output in outputs {
            let input = match output {
                Output::Keep { run } => Some(Input::Kept { run }),
                Output::Finished { run, .. } => Some(Input::Settled { run }),
                _ => None,
            };
            if !matches!(output, Output::Keep { .. }) {
                effects.push(output);
            }
            if let Some(input) = input {
                effects.extend(self.step(input));
            }
        }
        effects
    }

    /// Outstanding tasks are exactly those of the stages that are assigned and not done.
    fn check_invariants(&self) {
        for worker in self.core.workers() {
            let running = self.core.runs().filter(|run| run.is_running());
            let mine =
                |stage: &&Stage| !stage.done && stage.worker.as_ref() == Some(&worker.at.name);
            let stages: Vec<&Stage> = running.flat_map(|run| &run.stages).collect();
            let tasks = stages.iter().filter_map(|stage| stage.tasks.as_ref());
            let at_tasks = tasks.flat_map(|tasks| tasks.under_way());
            let count = stages.iter().copied().filter(mine).count()
                + at_tasks
                    .filter(|(_, at)| at.worker == worker.at.name)
                    .count();
            assert_eq!(worker.outstanding as usize, count, "{}", worker.at.name);
        }
        for run in self.core.runs() {
            assert!(
                run.stages.is_sorted_by_key(|stage| !stage.done),
                "done stages come first"
            );
            assert!(
                run.stages.is_sorted_by_key(|stage| stage.attempt),
                "attempts do not fall"
            );
        }
    }

    fn beat(&mut self, name: &str, incarnation: u64, classes: &str) -> String {
        let worker = WorkerAddress {
            name: name.to_owned(),
            address: address(),
        };
        let classes = classes.split_whitespace().map(str::to_owned).collect();
        show(&self.step(Input::Heartbeat(Heartbeat {
            worker,
            incarnation,
            classes,
            slots: 4,
        })))
    }

    fn submit(&mut self, chain: &str) -> String {
        show(&self.step(Input::Submit(submission(chain))))
    }

    fn submit_with_key(&mut self, key: &str, chain: &str) -> String {
        show(&self.step(Input::Submit(Submission {
            key: Some(key.to_owned()),
            ..submission(chain)
        })))
    }

    fn cancel(&mut self, run: RunNumber) -> String {
        show(&self.step(Input::Cancel { run }))
    }

    fn report(&mut self, task: &str, worker: &str, end: StageEnd) -> String {
        show(&self.step(report(task, worker, end)))
    }

    fn done(&mut self, task: &str, worker: &str) -> String {
        let items = vec![Item::plain(format!("{task} by {worker}"))];
        self.report(
            task,
            worker,
            StageEnd::Returned(Checkpoint {
                items,
                pins: vec![],
            }),
        )
    }

    fn failed(&mut self, task: &str, worker: &str, permanent: bool) -> String {
        self.report(
            task,
            worker,
            StageEnd::Failed {
                reason: "no luck".to_owned(),
                permanent,
            },
        )
    }

    fn reassign(&mut self, task: &str, gone: &str) -> String {
        let (run, attempt, stage, _) = parse(task);
        show(&self.step(Input::Reassign {
            run,
            attempt,
            stage,
            gone: gone.to_owned(),
        }))
    }

    fn send_failed(&mut self, task: &str) -> String {
        let (run, attempt, stage, task) = parse(task);
        show(&self.step(Input::SendFailed {
            run,
            attempt,
            stage,
            task,
            may_have_arrived: false,
        }))
    }

    fn dies(&mut self, name: &str) -> String {
        show(&self.step(Input::CertifyDeath {
            worker: name.to_owned(),
        }))
    }

    fn tick_at(&mut self, now_ms: u64) -> String {
        self.now_ms = now_ms;
        show(&self.step(Input::Tick))
    }
}

fn report(task: &str, worker: &str, end: StageEnd) -> Input {
    let (run, attempt, stage, task) = parse(task);
    Input::StageDone(StageReport {
        run,
        attempt,
        stage,
        task,
        worker: worker.to_owned(),
        queue_ms: 1,
        run_ms: 2,
        cold_ms: 0,
        calls: CallLog::default(),
        end,
    })
}

/// `run/attempt/stage`, and the task of a `map` or `reduce` behind a point.
fn parse(task: &str) -> (RunNumber, u32, usize, u32) {
    let parts = task.split(['/', '.']);
    let mut parts = parts.map(|part| part.parse::<u32>().unwrap());
    let mut next = || parts.next().unwrap();
    let (run, attempt, stage) = (next().into(), next(), next() as usize);
    (run, attempt, stage, parts.next().unwrap_or(0))
}

fn address() -> Address {
    Address::parse("http://127.0.0.1:1").unwrap()
}

/// `A:2` is the operator A with at most 2 attempts; a star marks a `map`, `A%2` is a `reduce` with 2 partitions.
fn submission(chain: &str) -> Submission {
    let stage = |(order, word): (u32, &str)| {
        let (class, attempts) = word.split_once(':').unwrap_or((word, "3"));
        let (class, dealing) = match class.split_once('%') {
            Some((class, partitions)) => (class, Dealing::Partitions(partitions.parse().unwrap())),
            None if class.ends_with('*') => (class.trim_end_matches('*'), Dealing::Chunks),
            None => (class, Dealing::Whole),
        };
        StageSpec {
            class: class.to_owned(),
            order,
            dealing,
            chunk: 1,
            timeout_ms: None,
            attempts_max: attempts.parse().unwrap(),
            options: BTreeMap::new(),
            component: None,
        }
    };
    let stages = (0..).zip(chain.split_whitespace()).map(stage).collect();
    Submission {
        key: None,
        seen: vec![],
        input: "13".to_owned(),
        application: "app".to_owned(),
        stages,
        timeout_ms: 60_000,
        grants: vec![],
        submitted_unix_ms: 0,
    }
}

fn show(outputs: &[Output]) -> String {
    outputs
        .iter()
        .map(|output| show_one(output) + "\n")
        .collect()
}

fn show_one(output: &Output) -> String {
    match output {
        Output::Prepare { worker, component } => {
            format!("prepare {} on {}", component.short(), worker.name)
        }
        Output::Answer(Answer::Submitted(Ok(run))) => format!("accepted {run}"),
        Output::Answer(Answer::Submitted(Err(error))) => format!("refused: {error}"),
        Output::Answer(Answer::Cancelled(Ok(involved))) => {
            let names: Vec<&str> = involved.iter().map(|at| at.name.as_str()).collect();
            format!("over when {} know", names.join(" and "))
        }
        Output::Answer(Answer::Cancelled(Err(error))) => format!("not cancelled: {error}"),
        Output::Answer(Answer::Registered(result)) => format!("registered {}", result.is_ok()),
        Output::Answer(Answer::Reassigned(Ok(Reassignment { worker, attempt }))) => {
            format!("reassigned to {} as attempt {attempt}", worker.name)
        }
        Output::Answer(Answer::Reassigned(Err(error))) => format!("not reassigned: {error}"),
        Output::Answer(Answer::RingSet(result)) => format!("ring {result:?}"),
        Output::Send(dispatch) => {
            let workers: Vec<&str> = dispatch
                .chain
                .iter()
                .map(|link| link.worker.as_ref().map_or("-", |at| at.name.as_str()))
                .collect();
            let items = dispatch
                .checkpoint
                .iter()
                .flat_map(|checkpoint| &checkpoint.items);
            let items: Vec<_> = items
                .map(|item| String::from_utf8_lossy(&item.value))
                .collect();
            let Dispatch {
                run,
                attempt,
                stage,
                worker,
                ..
            } = dispatch;
            let retry = if dispatch.is_retry { " again" } else { "" };
            if dispatch.chain[*stage].dealing.is_parallel() {
                let (task, to) = (dispatch.task, &worker.name);
                let held = dispatch.sources.iter().map(show_source);
                let held: Vec<String> = held.collect();
                return format!(
                    "send{retry} {run}/{attempt}/{stage}.{task} to {to} with {items:?} {}",
                    held.join(" ")
                );
            }
            format!(
                "send{retry} {run}/{attempt}/{stage} to {} of {} with {items:?}",
                worker.name,
                workers.join(" ")
            )
        }
        Output::StopTask {
            worker,
            run,
            attempt,
            stage,
            task,
        } => format!("stop {run}/{attempt}/{stage}.{task} at {}", worker.name),
        Output::Keep { run } => format!("keep {run}"),
        Output::Forgotten { run } => format!("forgotten {run}"),
        Output::CancelRun { worker, run } => format!("cancel {run} at {}", worker.name),
        Output::Changed { run, change } => format!("run {run} {change}"),
        Output::Finished { run, state } => format!("finished {run}: {state}"),
        Output::WorkerAppeared { worker } => format!("{worker} appeared"),
        Output::WorkerLost { worker, cause } => format!("{worker} {cause}"),
    }
}

/// `w1[0/1 2/1]`: the tasks and attempts.
fn show_source(source: &Source) -> String {
    let parts = source
        .parts
        .iter()
        .map(|part| format!("{}/{}", part.task, part.attempt));
    let parts: Vec<String> = parts.collect();
    format!("{}[{}]", source.worker.name, parts.join(" "))
}

// By value: a test is a line of data.
#[allow(clippy::needless_pass_by_value)]
fn check(effects: &str, expected: Expect) {
    expected.assert_eq(effects);
}
