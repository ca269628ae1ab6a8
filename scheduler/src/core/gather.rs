//! Tasks of `map` and `reduce` come to their ends: what they left is gathered, and what was lost is made again.

use common::types::{CallLog, PINS_MAX, Part};

use super::Core;
use super::deal::Place;
use super::event::{Change, Output, StageEnd, StageReport};
use super::run::{Checkpoint, RunNumber, RunState, TimesMs};
use super::tasks::{Attempt, Left, Output as TaskOutput};
use super::trace::TracedTask;

/// A worker that could not be reached, or had no room, gets no task for so long.
const SHUNNED_MS: u64 = 500;
/// Items that one stage may leave with the scheduler, in bytes.
const STAGE_BYTES_MAX: usize = 256 << 20;

impl Core {
    /// An attempt at a task has come to its end, unless that is known.
    pub(super) fn task_ended(
        &mut self,
        now_ms: u64,
        report: StageReport,
        outputs: &mut Vec<Output>,
    ) {
        let place = Place {
            run: report.run,
            stage: report.stage,
            task: report.task,
        };
        let number = report.attempt;
        let ended = self.runs.tasks(place.run, place.stage, |tasks| {
            tasks.end(place.task, number)
        });
        let Some(attempt) = ended.flatten() else {
            return;
        };
        self.workers.release(now_ms, &attempt.worker);
        let traced = TracedTask {
            stage: place.stage,
            task: Some(place.task),
            attempt: number,
            worker: attempt.worker.clone(),
            times_ms: TimesMs {
                queue: report.queue_ms,
                run: report.run_ms,
                cold: report.cold_ms,
            },
            error: report.end.reason().map(str::to_owned),
            calls: report.calls,
        };
        self.runs.trace(place.run, traced);
        let held = |pins| {
            let worker = attempt.worker.clone();
            let left = Left::Held {
                worker,
                attempt: number,
            };
            TaskOutput { left, pins }
        };
        match report.end {
            StageEnd::Returned(Checkpoint { items, pins }) => {
                let left = Left::Items(items);
                self.task_done(now_ms, place, &attempt, TaskOutput { left, pins }, outputs);
            }
            StageEnd::Held { pins } => {
                let output = held(pins);
                self.task_done(now_ms, place, &attempt, output, outputs);
            }
            StageEnd::Failed { reason, permanent } => {
                self.task_failed(now_ms, place, &attempt.worker, &reason, permanent, outputs);
            }
            StageEnd::SourceLost {
                worker,
                parts,
                reason,
            } => self.source_lost(now_ms, place, (&worker, &parts), &reason, outputs),
        }
    }

    fn task_done(
        &mut self,
        now_ms: u64,
        place: Place,
        attempt: &Attempt,
        output: TaskOutput,
        outputs: &mut Vec<Output>,
    ) {
        let took_ms = now_ms.saturating_sub(attempt.since_ms);
        let finished = self.runs.tasks(place.run, place.stage, |tasks| {
            let needless = tasks.finish(place.task, output, took_ms);
            (needless, tasks.is_done(), tasks.bytes())
        });
        let Some((needless, is_done, bytes)) = finished else {
            return;
        };
        for attempt in needless {
            self.stop(now_ms, place, &attempt, outputs);
        }
        if bytes > STAGE_BYTES_MAX {
            let reason = format!(
                "the items that stage {} got and returned have more than {STAGE_BYTES_MAX} bytes together: let a `reduce` follow, whose items do not pass through the scheduler",
                self.order(place.run, place.stage)
            );
            self.finish(now_ms, place.run, RunState::Failed(reason), outputs);
        } else if is_done {
            self.complete(now_ms, place.run, place.stage, outputs);
        }
    }

    fn stop(&mut self, now_ms: u64, place: Place, attempt: &Attempt, outputs: &mut Vec<Output>) {
        self.workers.release(now_ms, &attempt.worker);
        let worker = self.workers.address(&attempt.worker);
        outputs.extend(worker.map(|worker| Output::StopTask {
            worker,
            run: place.run,
            attempt: attempt.number,
            stage: place.stage,
            task: place.task,
        }));
    }

    fn order(&self, number: RunNumber, stage: usize) -> u32 {
        let run = self.runs.get(number);
        run.and_then(|run| run.stages.get(stage))
            .map_or(0, |stage| stage.spec.order)
    }

    /// All tasks of a stage are done: on to the next.
    pub(super) fn complete(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        stage: usize,
        outputs: &mut Vec<Output>,
    ) {
        self.runs.spread.remove(&number);
        self.runs.dealing.remove(&number);
        // Somebody may still make again what nobody needs any more.
        for before in 0..stage {
            self.end_tasks(now_ms, number, before, outputs);
        }
        let (pins, order) = {
            let Some(run) = self.runs.running_mut(number) else {
                return;
            };
            for done in run.stages.iter_mut().take(stage + 1) {
                done.done = true;
            }
            let pins = run.checkpoint.as_ref().map(|before| before.pins.clone());
            (pins.unwrap_or_default(), self.order(number, stage))
        };
        let gathered = self.runs.tasks(number, stage, |tasks| {
            (tasks.gather(&pins), tasks.held().is_empty())
        });
        let Some((checkpoint, is_here)) = gathered else {
            return;
        };
        if checkpoint.pins.len() > PINS_MAX {
            let reason = format!(
                "the tasks of stage {order} touched {} records together, more than {PINS_MAX}",
                checkpoint.pins.len()
            );
            self.finish(now_ms, number, RunState::Failed(reason), outputs);
            return;
        }
        self.runs.keep(number, checkpoint);
        if is_here {
            self.end_tasks(now_ms, number, stage, outputs);
        }
        self.begin_stage(now_ms, number, stage + 1, outputs);
    }

    /// Nobody needs these tasks any more, nor what they left.
    fn end_tasks(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        stage: usize,
        outputs: &mut Vec<Output>,
    ) {
        let Some(tasks) = self.runs.drop_tasks(number, stage) else {
            return;
        };
        for (task, attempt) in tasks.under_way() {
            let place = Place {
                run: number,
                stage,
                task,
            };
            self.stop(now_ms, place, attempt, outputs);
        }
    }

    fn task_failed(
        &mut self,
        now_ms: u64,
        place: Place,
        worker: &str,
        reason: &str,
        permanent: bool,
        outputs: &mut Vec<Output>,
    ) {
        let Some(stage) = self.runs.stage_mut(place.run, place.stage) else {
            return;
        };
        let spec = &stage.spec;
        let (order, class, tries_max) = (spec.order, spec.class.clone(), spec.attempts_max);
        let Some(tasks) = stage.tasks.as_deref_mut() else {
            return;
        };
        // Somebody else is at it, and may well be why this one was given up.
        if !permanent && tasks.is_cared_for(place.task) {
            return;
        }
        if permanent || !tasks.try_again(place.task, tries_max, worker) {
            let task = place.task;
            let reason = format!(
                "operator {class} (stage {order}, task {task}) failed on worker {worker}: {reason}"
            );
            self.finish(now_ms, place.run, RunState::Failed(reason), outputs);
            return;
        }
        self.runs.dealing.insert(place.run);
        outputs.push(Output::Changed {
            run: place.run,
            change: Change::StageFailed {
                order,
                class,
                worker: worker.to_owned(),
                reason: reason.to_owned(),
            },
        });
    }

    /// What the stage before left at a worker cannot be had: it is made again, unless that was done meanwhile.
    fn source_lost(
        &mut self,
        now_ms: u64,
        place: Place,
        (worker, parts): (&str, &[Part]),
        reason: &str,
        outputs: &mut Vec<Output>,
    ) {
        let Some(before) = place.stage.checked_sub(1) else {
            return;
        };
        let lost: Vec<Part> = parts.to_vec();
        let undone = self.runs.tasks(place.run, before, |tasks| {
            lost.into_iter()
                .filter(|part| tasks.undo(*part))
                .collect::<Vec<Part>>()
        });
        for Part { task, .. } in undone.unwrap_or_default() {
            if let Some(stage) = self.runs.stage_mut(place.run, before) {
                stage.done = false;
            }
            let lost = Place {
                stage: before,
                task,
                ..place
            };
            let reason = format!("what it left cannot be fetched: {reason}");
            self.task_failed(now_ms, lost, worker, &reason, false, outputs);
        }
        self.runs.spread.insert(place.run);
        self.runs.dealing.insert(place.run);
    }

    /// Takes note that a worker is gone, for one run.
    pub(super) fn lose_tasks(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        worker: &str,
        cause: &'static str,
        outputs: &mut Vec<Output>,
    ) {
        let stages = self.runs.get(number).map_or(0, |run| run.stages.len());
        for stage in 0..stages {
            let Some(loss) = self.runs.tasks(number, stage, |tasks| tasks.lose(worker)) else {
                continue;
            };
            if loss.undone > 0
                && let Some(of) = self.runs.stage_mut(number, stage)
            {
                of.done = false;
                self.runs.spread.insert(number);
                self.runs.dealing.insert(number);
            }
            for (task, attempt) in loss.attempts {
                let reason = format!("the worker {cause}");
                self.runs.trace(
                    number,
                    TracedTask {
                        stage,
                        task: Some(task),
                        attempt: attempt.number,
                        worker: worker.to_owned(),
                        times_ms: TimesMs::default(),
                        error: Some(reason.clone()),
                        calls: CallLog::default(),
                    },
                );
                let place = Place {
                    run: number,
                    stage,
                    task,
                };
                self.task_failed(now_ms, place, worker, &reason, false, outputs);
            }
        }
    }

    /// A task has not reached its worker, or perhaps it has.
    pub(super) fn task_send_failed(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        (attempt, stage, task): (u32, usize, u32),
        may_have_arrived: bool,
    ) {
        let Some(tasks) = self
            .runs
            .running_mut(number)
            .and_then(|run| run.tasks_mut(stage))
        else {
            return;
        };
        if may_have_arrived {
            if let Some(sent) = tasks.attempt_mut(task, attempt) {
                sent.resend_ms = Some(now_ms + SHUNNED_MS);
            }
            return;
        }
        if let Some(unsent) = tasks.end(task, attempt) {
            self.workers.release(now_ms, &unsent.worker);
            self.workers.shun(&unsent.worker, now_ms + SHUNNED_MS);
            self.runs.dealing.insert(number);
        }
    }
}
