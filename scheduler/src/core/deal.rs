//! `map` and `reduce`: their tasks are dealt to workers as these have room.
//!
//! A worker has at most one task more than it can run at once, so that it need not wait for the next one, and those that
//! are faster get more. Runs take turns. When nothing waits any more, a slow task is started once more elsewhere; what
//! ends first counts.

use std::sync::Arc;

use common::types::{Part, Source, first_attempt};

use super::Core;
use super::event::{Change, Dispatch, Output};
use super::run::{RunNumber, RunState};
use super::tasks::{Attempt, Tasks};

/// Tasks at a worker beyond those that it can run at once.
const AHEAD: u32 = 1;

/// Names a task of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub run: RunNumber,
    pub stage: usize,
    pub task: u32,
}

impl Core {
    /// Begins with a stage, now that all before it are done.
    pub(super) fn begin_stage(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        stage: usize,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let Some(next) = run.stages.get(stage) else {
            let checkpoint = run.checkpoint.clone().unwrap_or_default();
            self.finish(now_ms, number, RunState::Completed(checkpoint), outputs);
            return;
        };
        if !next.spec.dealing.is_parallel() {
            self.begin_segment(now_ms, number, stage, outputs);
        } else if next.tasks.is_some() {
            // It had begun before something that it needs was lost.
            self.runs.dealing.insert(number);
            self.runs.spread.insert(number);
        } else {
            self.begin_tasks(now_ms, number, stage, outputs);
        }
    }

    fn begin_tasks(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        stage: usize,
        outputs: &mut Vec<Output>,
    ) {
        let items = self.runs.take_items(number);
        let recoveries = self.runs.get(number).map_or(0, |run| run.recoveries);
        let Some(of) = self.runs.stage_mut(number, stage) else {
            return;
        };
        let (order, class) = (of.spec.order, of.spec.class.clone());
        match Tasks::new(&of.spec, items, first_attempt(recoveries)) {
            Ok(tasks) => {
                let change = Change::Dealt {
                    order,
                    class,
                    tasks: tasks.progress().tasks,
                };
                outputs.push(Output::Changed {
                    run: number,
                    change,
                });
                let has_none = tasks.is_done();
                self.runs.set_tasks(number, stage, tasks);
                self.runs.dealing.insert(number);
                self.runs.spread.insert(number);
                if has_none {
                    self.complete(now_ms, number, stage, outputs);
                }
            }
            Err(why) => {
                let reason = format!("operator {class} (stage {order}) cannot be dealt: {why}");
                self.finish(now_ms, number, RunState::Failed(reason), outputs);
            }
        }
    }

    /// Gives tasks that wait to workers that have room. At the end of a step: by then all runs know of what it has lost.
    pub(super) fn deal(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        loop {
            let behind = self.runs.dealing.range(self.dealt + 1..);
            let turn: Vec<RunNumber> = behind
                .chain(self.runs.dealing.range(..=self.dealt))
                .copied()
                .collect();
            let has_dealt = turn
                .into_iter()
                .any(|number| self.deal_one(now_ms, number, outputs));
            if !has_dealt {
                return;
            }
        }
    }

    fn deal_one(&mut self, now_ms: u64, number: RunNumber, outputs: &mut Vec<Output>) -> bool {
        let Some(run) = self.runs.running_mut(number) else {
            return false;
        };
        let stage = run.frontier();
        let Some(of) = run.stages.get(stage) else {
            return false;
        };
        let Some((task, avoid)) = of.tasks.as_ref().and_then(|tasks| tasks.next()) else {
            self.runs.dealing.remove(&number);
            return false;
        };
        let slots = |slots: u32| slots.saturating_add(AHEAD);
        let free = self.workers.assign_free(now_ms, &of.spec, avoid, slots);
        let Some(worker) = free.or_else(|| self.workers.assign_free(now_ms, &of.spec, None, slots))
        else {
            return false;
        };
        self.dealt = number;
        let place = Place {
            run: number,
            stage,
            task,
        };
        self.begin_task(now_ms, place, worker.name, outputs);
        true
    }

    fn begin_task(&mut self, now_ms: u64, place: Place, worker: String, outputs: &mut Vec<Output>) {
        let Some(run) = self.runs.running_mut(place.run) else {
            return;
        };
        run.assigned.insert(worker.clone());
        let tasks = run.tasks_mut(place.stage);
        if let Some(attempt) = tasks.and_then(|tasks| tasks.begin(place.task, worker, now_ms)) {
            self.send_task(now_ms, place, attempt, outputs);
        }
    }

    fn send_task(&mut self, now_ms: u64, place: Place, attempt: u32, outputs: &mut Vec<Output>) {
        let Some(run) = self.runs.get(place.run) else {
            return;
        };
        let Some(tasks) = run.stages.get(place.stage).and_then(|of| of.tasks.as_ref()) else {
            return;
        };
        let Some((_, at)) = tasks
            .under_way()
            .find(|(task, at)| *task == place.task && at.number == attempt)
        else {
            return;
        };
        let name = (place.stage, place.task, attempt);
        let Some(dispatch) = self.dispatch(now_ms, run, name, &at.worker) else {
            return;
        };
        let before = place.stage.checked_sub(1);
        let left = before
            .and_then(|before| run.stages.get(before))
            .and_then(|of| of.tasks.as_ref());
        let source = |(name, parts): (&str, Vec<Part>)| {
            let worker = self.workers.address(name)?;
            Some(Source { worker, parts })
        };
        let held = left.into_iter().flat_map(|tasks| tasks.held());
        outputs.push(Output::Send(Dispatch {
            checkpoint: run
                .checkpoint
                .as_ref()
                .map(|before| Arc::new(tasks.checkpoint(place.task, before))),
            sources: held.filter_map(source).collect(),
            ..dispatch
        }));
    }

    /// Sends again what may not have arrived, and starts slow tasks once more.
    pub(super) fn attend_tasks(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let spread: Vec<RunNumber> = self.runs.spread.iter().copied().collect();
        for number in spread {
            self.resend_tasks(now_ms, number, outputs);
            self.speculate(now_ms, number, outputs);
        }
    }

    fn resend_tasks(&mut self, now_ms: u64, number: RunNumber, outputs: &mut Vec<Output>) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let stage = run.frontier();
        let Some(tasks) = run.tasks_mut(stage) else {
            return;
        };
        let is_due = |attempt: &Attempt| attempt.resend_ms.is_some_and(|at_ms| at_ms <= now_ms);
        let due: Vec<(u32, u32)> = tasks
            .under_way()
            .filter(|(_, attempt)| is_due(attempt))
            .map(|(task, attempt)| (task, attempt.number))
            .collect();
        for (task, attempt) in due {
            let place = Place {
                run: number,
                stage,
                task,
            };
            let tasks = self
                .runs
                .running_mut(number)
                .and_then(|run| run.tasks_mut(stage));
            if let Some(sent) = tasks.and_then(|tasks| tasks.attempt_mut(task, attempt)) {
                sent.resend_ms = None;
            }
            self.send_task(now_ms, place, attempt, outputs);
        }
    }

    fn speculate(&mut self, now_ms: u64, number: RunNumber, outputs: &mut Vec<Output>) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let stage = run.frontier();
        let Some(of) = run.stages.get(stage) else {
            return;
        };
        let spec = of.spec.clone();
        let slow = of.tasks.as_ref().map(|tasks| tasks.slow(now_ms));
        for (task, at) in slow.unwrap_or_default() {
            let slots = |slots: u32| slots;
            let Some(free) = self.workers.assign_free(now_ms, &spec, Some(&at), slots) else {
                return;
            };
            let place = Place {
                run: number,
                stage,
                task,
            };
            self.begin_task(now_ms, place, free.name, outputs);
        }
    }
}
