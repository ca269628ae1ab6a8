//! Stages end, and at last the run.

use common::types::WorkerAddress;

use super::Core;
use super::event::{CancelError, Change, Output, StageEnd, StageReport, UnknownRun};
use super::run::{Checkpoint, Progress, RunNumber, RunState, TimesMs};
use super::trace::TracedTask;

impl Core {
    /// Notes the end of a stage, unless the report is about an older attempt or is a repeat.
    pub(super) fn stage_done(
        &mut self,
        now_ms: u64,
        report: StageReport,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.get(report.run) else {
            return;
        };
        let (running, frontier) = (run.is_running(), run.frontier());
        let Some(stage) = run.stages.get(report.stage) else {
            return;
        };
        if stage.spec.dealing.is_parallel() {
            return self.task_ended(now_ms, report, outputs);
        }
        let expected =
            stage.attempt == report.attempt && stage.worker.as_ref() == Some(&report.worker);
        if !expected || stage.times_ms.is_some() {
            return;
        }
        let is_done = stage.done;
        let times_ms = TimesMs {
            queue: report.queue_ms,
            run: report.run_ms,
            cold: report.cold_ms,
        };
        let traced = TracedTask {
            stage: report.stage,
            task: None,
            attempt: report.attempt,
            worker: report.worker,
            times_ms,
            error: report.end.reason().map(str::to_owned),
            calls: report.calls,
        };
        self.runs.trace(report.run, traced);
        match report.end {
            StageEnd::Returned(checkpoint) => {
                let change = self.note_returned(report.run, report.stage, times_ms);
                outputs.extend(change);
                // A report overtaken by that of a later stage only completes the record.
                if running && !is_done {
                    self.advance(now_ms, report.run, report.stage, checkpoint, outputs);
                }
            }
            // Plain stages neither hold items nor fetch them.
            StageEnd::Held { .. } | StageEnd::SourceLost { .. } => {}
            StageEnd::Failed { .. } if !running || is_done => {}
            // It has overtaken the report of the stage before, without which nothing can be tried again.
            StageEnd::Failed {
                reason,
                permanent: false,
            } if report.stage > frontier => {
                if let Some(stage) = self.runs.stage_mut(report.run, report.stage) {
                    stage.failure = Some(reason);
                }
            }
            StageEnd::Failed { reason, permanent } => {
                let (run, stage) = (report.run, report.stage);
                self.stage_failed(now_ms, run, stage, &reason, permanent, outputs);
            }
        }
    }

    fn note_returned(
        &mut self,
        number: RunNumber,
        stage: usize,
        times_ms: TimesMs,
    ) -> Option<Output> {
        let stage = self.runs.stage_mut(number, stage)?;
        stage.times_ms = Some(times_ms);
        Some(Output::Changed {
            run: number,
            change: Change::StageDone {
                order: stage.spec.order,
                class: stage.spec.class.clone(),
                worker: stage.worker.clone().unwrap_or_default(),
                run_ms: times_ms.run,
            },
        })
    }

    /// The stage is done, and so are all before it: their reports may come later. The worker forwards the request to
    /// the next one by itself, unless that was lost.
    fn advance(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        stage: usize,
        checkpoint: Checkpoint,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        for done in run
            .stages
            .iter_mut()
            .take(stage + 1)
            .filter(|stage| !stage.done)
        {
            done.done = true;
            if let Some(worker) = &done.worker {
                self.workers.release(now_ms, worker);
            }
        }
        run.resend = None;
        run.unreached = 0;
        let next = stage + 1;
        let in_segment = next < run.segment_end(stage);
        let started = run.stages.get_mut(next).filter(|_| in_segment);
        let Some(started) = started else {
            self.runs.keep(number, checkpoint);
            self.begin_stage(now_ms, number, next, outputs);
            return;
        };
        let (placed, failure) = (started.worker.is_some(), started.failure.take());
        self.runs.keep(number, checkpoint);
        if !placed {
            self.place(now_ms, number, None, outputs);
        } else if let Some(reason) = failure {
            self.stage_failed(now_ms, number, next, &reason, false, outputs);
        }
    }

    /// Gives the run its outcome, once, and stops what may still run of it.
    pub(super) fn finish(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        state: RunState,
        outputs: &mut Vec<Output>,
    ) {
        self.release_all(now_ms, number);
        if !self.runs.finish(now_ms, number, state.clone()) {
            return;
        }
        if matches!(state, RunState::Expired(_)) {
            self.tell_workers(number, outputs);
        }
        self.tell_end(number, state, outputs);
    }

    /// The outcome of the run is kept. Only now workers may hear that it has completed or failed: they would refuse it if
    /// another scheduler had to take it up.
    pub(super) fn settle(&mut self, number: RunNumber, outputs: &mut Vec<Output>) {
        let is_told = self.runs.get(number).is_some_and(|run| {
            let mut stages = run.stages.iter();
            match run.state {
                RunState::Failed(_) => true,
                // What tasks have left for others is at the workers until they hear of the end.
                RunState::Completed(_) => stages.any(|of| of.spec.dealing.is_parallel()),
                _ => false,
            }
        });
        if is_told {
            self.tell_workers(number, outputs);
        }
        self.runs.settle(number);
    }

    fn tell_workers(&self, number: RunNumber, outputs: &mut Vec<Output>) {
        let workers = self.involved(number).into_iter();
        outputs.extend(workers.map(|worker| Output::CancelRun {
            worker,
            run: number,
        }));
    }

    /// Nobody has anything to do for a run that is about to end.
    pub(super) fn release_all(&mut self, now_ms: u64, number: RunNumber) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let open = run.stages.iter().filter(|stage| !stage.done);
        let mut busy: Vec<String> = open.filter_map(|stage| stage.worker.clone()).collect();
        for stage in 0..run.stages.len() {
            let tasks = self.runs.drop_tasks(number, stage);
            let at_tasks = tasks.iter().flat_map(|tasks| tasks.under_way());
            busy.extend(at_tasks.map(|(_, attempt)| attempt.worker.clone()));
        }
        for worker in busy {
            self.workers.release(now_ms, &worker);
        }
    }

    fn tell_end(&self, number: RunNumber, state: RunState, outputs: &mut Vec<Output>) {
        outputs.push(Output::Changed {
            run: number,
            change: Change::Ended {
                state: state.clone(),
            },
        });
        // An outcome without its run would be taken for that of another one.
        if self.runs.get(number).is_some_and(|run| run.kept) {
            outputs.push(Output::Finished { run: number, state });
        }
    }

    /// Ends the run at somebody's wish; who asked tells the workers. Asked again, it answers alike.
    pub(super) fn cancel(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        outputs: &mut Vec<Output>,
    ) -> Result<Vec<WorkerAddress>, CancelError> {
        let run = self.runs.get(number).ok_or(UnknownRun(number))?;
        match &run.state {
            RunState::Running => {
                self.release_all(now_ms, number);
                self.runs.finish(now_ms, number, RunState::Cancelled);
                self.tell_end(number, RunState::Cancelled, outputs);
            }
            RunState::Cancelled => {}
            state => {
                return Err(CancelError::Ended {
                    run: number,
                    state: state.to_string(),
                });
            }
        }
        Ok(self.involved(number))
    }

    /// The active workers that may have tasks of the run, or get some from one another.
    fn involved(&self, number: RunNumber) -> Vec<WorkerAddress> {
        let Some(run) = self.runs.get(number) else {
            return Vec::new();
        };
        if run.recoveries > 0 {
            // An earlier life of the scheduler gave it to workers that are not known any more.
            return self.workers.active().map(|at| at.at.clone()).collect();
        }
        let names = run.assigned.iter();
        names
            .filter_map(|name| self.workers.address(name))
            .collect()
    }

    /// A worker that comes may be at a run that has ended meanwhile.
    pub(super) fn tell_ended(&self, now_ms: u64, worker: &str, outputs: &mut Vec<Output>) {
        let Some(worker) = self.workers.address(worker) else {
            return;
        };
        // After its deadline it stops by itself.
        let untold = self.runs.untold.iter();
        let untold = untold.filter_map(|number| self.runs.get(*number));
        let untold = untold.filter(|run| run.settled && now_ms < run.deadline_ms);
        outputs.extend(untold.map(|run| Output::CancelRun {
            worker: worker.clone(),
            run: run.number,
        }));
    }

    pub(super) fn expire(&mut self, now_ms: u64, number: RunNumber, outputs: &mut Vec<Output>) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let waited_for = match run.stages.get(run.frontier()) {
            _ if !run.kept => "the storage has not taken the run".to_owned(),
            Some(stage) => {
                let (class, order) = (&stage.spec.class, stage.spec.order);
                let Progress { tasks, done } = stage.progress;
                match &stage.worker {
                    _ if stage.spec.dealing.is_parallel() => format!(
                        "of {tasks} tasks of operator {class} (stage {order}) {done} were done"
                    ),
                    Some(worker) => {
                        format!("operator {class} (stage {order}) on worker {worker} had not ended")
                    }
                    None => format!("no worker was left for operator {class} (stage {order})"),
                }
            }
            None => "every stage was done".to_owned(),
        };
        let after_ms = run.deadline_ms.saturating_sub(run.submitted_ms);
        let reason = format!("no outcome within {after_ms} ms: {waited_for}");
        self.finish(now_ms, number, RunState::Expired(reason), outputs);
    }
}
