//! Workers die, operators fail, messages are lost: which task is sent again, where, and as which attempt.
//!
//! A task that is sent to the same worker keeps its attempt number, and the worker ignores the repeat if it has it
//! already. A task that goes to another worker gets a new number, and so do all later stages.

use common::types::{CallLog, Link};

use super::event::{Change, Dispatch, Output, ReassignError, Reassignment};
use super::run::{Resend, Run, RunNumber, RunState, TimesMs};
use super::trace::TracedTask;
use super::{Core, workers::Workers};

/// Items that one task may get, in bytes: they go into one message.
const TASK_BYTES_MAX: usize = 24 << 20;
/// Pause before a task that did not reach its worker is sent again; doubled up to the maximum.
const RESEND_MS: u64 = 100;
const RESEND_MS_MAX: u64 = 1_600;

impl Core {
    pub(super) fn lose_worker(
        &mut self,
        now_ms: u64,
        name: &str,
        cause: &'static str,
        outputs: &mut Vec<Output>,
    ) {
        if !self.workers.remove(name) {
            return;
        }
        outputs.push(Output::WorkerLost {
            worker: name.to_owned(),
            cause,
        });
        let in_flight: Vec<RunNumber> = self.runs.in_flight().iter().copied().collect();
        for number in in_flight {
            self.lose_worker_of(now_ms, number, name, cause, outputs);
            self.lose_tasks(now_ms, number, name, cause, outputs);
        }
    }

    fn lose_worker_of(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        name: &str,
        cause: &'static str,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let frontier = run.frontier();
        // Whoever comes to these finds them without a worker: the stage before them by Reassign, or `advance`.
        for stage in run.stages.iter_mut().skip(frontier + 1) {
            if stage.worker.as_deref() == Some(name) {
                stage.worker = None;
            }
        }
        let worker_of = |index: usize| {
            run.stages
                .get(index)
                .and_then(|stage| stage.worker.as_deref())
        };
        if worker_of(frontier) == Some(name) {
            let lost = TracedTask {
                stage: frontier,
                task: None,
                attempt: run.stages.get(frontier).map_or(0, |stage| stage.attempt),
                worker: name.to_owned(),
                times_ms: TimesMs::default(),
                error: Some(format!("the worker {cause}")),
                calls: CallLog::default(),
            };
            self.runs.trace(number, lost);
            self.stage_failed(
                now_ms,
                number,
                frontier,
                &format!("the worker {cause}"),
                false,
                outputs,
            );
        } else if frontier.checked_sub(1).and_then(worker_of) == Some(name)
            && worker_of(frontier).is_some()
        {
            // Dead between its report and the end of its forwarding: if the task has arrived, this one is ignored.
            self.send(now_ms, number, outputs);
        }
    }

    /// An attempt at the stage has failed: the next one, on another worker if there is one, or the end of the run.
    pub(super) fn stage_failed(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        stage: usize,
        reason: &str,
        permanent: bool,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let Some(failed) = run.stages.get_mut(stage) else {
            return;
        };
        let worker = failed.worker.clone().unwrap_or_default();
        let (class, order) = (failed.spec.class.clone(), failed.spec.order);
        if permanent || failed.tries >= failed.spec.attempts_max {
            let attempts = match failed.tries {
                1 => String::new(),
                tries => format!(" in attempt {tries}"),
            };
            let reason = format!(
                "operator {class} (stage {order}) failed on worker {worker}{attempts}: {reason}"
            );
            self.finish(now_ms, number, RunState::Failed(reason), outputs);
            return;
        }
        failed.tries += 1;
        let change = Change::StageFailed {
            order,
            class,
            worker: worker.clone(),
            reason: reason.to_owned(),
        };
        outputs.push(Output::Changed {
            run: number,
            change,
        });
        self.place(now_ms, number, Some(&worker), outputs);
    }

    /// Gives the next stage of the run to a worker, preferably not `avoid`, as a new attempt; without one the run
    /// waits.
    pub(super) fn place(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        avoid: Option<&str>,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let frontier = run.frontier();
        if let Some(worker) = run.assign(frontier, None) {
            self.workers.release(now_ms, &worker);
        }
        let Some(stage) = run.stages.get(frontier) else {
            return;
        };
        let chosen = self
            .workers
            .assign(&stage.spec, avoid)
            .or_else(|| self.workers.assign(&stage.spec, None));
        run.assign(frontier, chosen.map(|at| at.name));
        run.resend = None;
        if run
            .stages
            .get(frontier)
            .is_some_and(|stage| stage.worker.is_some())
        {
            fill(run, frontier + 1, &mut self.workers);
            run.begin_attempt(frontier);
            outputs.extend(placed(run, frontier));
            self.send(now_ms, number, outputs);
        } else {
            let (order, class) = run
                .stages
                .get(frontier)
                .map_or((0, String::new()), |stage| {
                    (stage.spec.order, stage.spec.class.clone())
                });
            outputs.push(Output::Changed {
                run: number,
                change: Change::Waiting { order, class },
            });
            self.runs.attention.insert(number);
        }
    }

    /// Places the plain stages from this one on, and sends the first task; without a worker the run waits.
    pub(super) fn begin_segment(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        stage: usize,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let bytes = run.checkpoint.as_ref().map_or(0, |before| before.bytes());
        if bytes > TASK_BYTES_MAX {
            let order = run.stages.get(stage).map_or(0, |stage| stage.spec.order);
            let reason = format!(
                "stage {order} would get {bytes} bytes of items, more than {TASK_BYTES_MAX}: make it a `reduce`, or let one come before it"
            );
            self.finish(now_ms, number, RunState::Failed(reason), outputs);
            return;
        }
        fill(run, stage, &mut self.workers);
        for of in run.stages.iter_mut().skip(stage) {
            of.first_attempt = of.attempt;
        }
        let is_placed = run.stages.get(stage).is_some_and(|of| of.worker.is_some());
        if is_placed {
            self.send(now_ms, number, outputs);
        } else {
            self.place(now_ms, number, None, outputs);
        }
    }

    /// Sends the next task of the run to its worker, as the attempt that it already has.
    pub(super) fn send(&mut self, now_ms: u64, number: RunNumber, outputs: &mut Vec<Output>) {
        let run = self.runs.get(number);
        let Some(run) = run.filter(|run| run.is_running() && run.kept) else {
            return;
        };
        let frontier = run.frontier();
        let Some(stage) = run.stages.get(frontier) else {
            return;
        };
        let is_retry = run.recoveries > 0 || stage.attempt > stage.first_attempt;
        let task = (frontier, 0, stage.attempt);
        let worker = stage.worker.as_deref();
        if let Some(dispatch) = worker.and_then(|at| self.dispatch(now_ms, run, task, at)) {
            outputs.push(Output::Send(Dispatch {
                is_retry,
                ..dispatch
            }));
            self.prepare_behind(number, frontier, outputs);
        }
    }

    /// A task for an active worker, with all that the stage before left. Attempts after the first one are retries.
    pub(super) fn dispatch(
        &self,
        now_ms: u64,
        run: &Run,
        (stage, task, attempt): (usize, u32, u32),
        worker: &str,
    ) -> Option<Dispatch> {
        Some(Dispatch {
            worker: self.workers.address(worker)?,
            run: run.number,
            attempt,
            stage,
            task,
            is_retry: attempt > 1,
            input: run.input.clone(),
            left_ms: run.deadline_ms.saturating_sub(now_ms),
            chain: chain(run, &self.workers),
            grants: run.grants.clone(),
            submitted_unix_ms: run.submitted_unix_ms,
            checkpoint: run.checkpoint.clone(),
            sources: Vec::new(),
        })
    }

    /// Notes that a task has not reached its worker; [`Core::attend`] sends it again.
    pub(super) fn send_failed(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        (attempt, stage, task): (u32, usize, u32),
        may_have_arrived: bool,
    ) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        if run.tasks_mut(stage).is_some() {
            return self.task_send_failed(now_ms, number, (attempt, stage, task), may_have_arrived);
        }
        let Some(failed) = run.stages.get(stage).filter(|_| run.frontier() == stage) else {
            return;
        };
        let Some(worker) = failed.worker.clone().filter(|_| failed.attempt == attempt) else {
            return;
        };
        let avoid = (!may_have_arrived).then_some(worker);
        let pause_ms = RESEND_MS << run.unreached.min(RESEND_MS_MAX.ilog2());
        run.unreached += 1;
        run.resend = Some(Resend {
            at_ms: now_ms + pause_ms.min(RESEND_MS_MAX),
            avoid,
        });
        self.runs.attention.insert(number);
    }

    /// Looks after the runs whose next task has no worker or has not reached it.
    pub(super) fn attend(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let waiting: Vec<RunNumber> = self.runs.attention.iter().copied().collect();
        for number in waiting {
            let Some(run) = self.runs.running_mut(number) else {
                continue;
            };
            let Some(stage) = run.stages.get(run.frontier()) else {
                continue;
            };
            match run.resend.clone() {
                Some(resend) if resend.at_ms > now_ms => {}
                Some(resend) => {
                    run.resend = None;
                    self.runs.attention.remove(&number);
                    match &resend.avoid {
                        Some(avoid) => self.send_elsewhere(now_ms, number, avoid, outputs),
                        None => self.send(now_ms, number, outputs),
                    }
                }
                None if stage.worker.is_some() => {
                    self.runs.attention.remove(&number);
                }
                None if self.workers.can_run(&stage.spec) => {
                    self.runs.attention.remove(&number);
                    self.place(now_ms, number, None, outputs);
                }
                None => {}
            }
        }
    }

    fn send_elsewhere(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        avoid: &str,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.running_mut(number) else {
            return;
        };
        let Some(stage) = run.stages.get(run.frontier()) else {
            return;
        };
        if stage.worker.as_deref() == Some(avoid)
            && self.workers.can_run_besides(&stage.spec, avoid)
        {
            self.place(now_ms, number, Some(avoid), outputs);
        } else {
            self.send(now_ms, number, outputs);
        }
    }

    /// Another worker for a stage whose worker cannot be reached. Asked again, it answers alike.
    pub(super) fn reassign(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        attempt: u32,
        stage: usize,
        gone: &str,
        outputs: &mut Vec<Output>,
    ) -> Result<Reassignment, ReassignError> {
        let run = self
            .runs
            .running_mut(number)
            .ok_or(ReassignError::NotWanted)?;
        let before = stage
            .checked_sub(1)
            .and_then(|before| run.stages.get(before));
        let asked_by_executor = before.is_some_and(|before| before.attempt == attempt);
        let wanted = run
            .stages
            .get(stage)
            .filter(|stage| asked_by_executor && !stage.done);
        let asked = wanted.ok_or(ReassignError::NotWanted)?;
        if asked.worker.is_none() || asked.worker.as_deref() == Some(gone) {
            let other = self.workers.assign(&asked.spec, Some(gone));
            let other = other.ok_or_else(|| ReassignError::NoOther {
                class: asked.spec.class.clone(),
            })?;
            if let Some(worker) = run.assign(stage, Some(other.name)) {
                self.workers.release(now_ms, &worker);
            }
            run.begin_attempt(stage);
            outputs.extend(placed(run, stage));
        }
        let asked = run.stages.get(stage).ok_or(ReassignError::NotWanted)?;
        let worker = asked
            .worker
            .as_ref()
            .and_then(|name| self.workers.address(name));
        let worker = worker.ok_or_else(|| ReassignError::NoOther {
            class: asked.spec.class.clone(),
        })?;
        Ok(Reassignment {
            worker,
            attempt: asked.attempt,
        })
    }
}

/// Finds workers for the stages from this one on to the end of its segment that have none. Only with a new attempt: tasks
/// under way name the old ones.
pub(super) fn fill(run: &mut Run, from: usize, workers: &mut Workers) {
    for stage in from..run.segment_end(from) {
        let Some(lacking) = run.stages.get(stage).filter(|of| of.worker.is_none()) else {
            continue;
        };
        let worker = workers.assign(&lacking.spec, None).map(|at| at.name);
        run.assign(stage, worker);
    }
}

fn chain(run: &Run, workers: &Workers) -> Vec<Link> {
    let link = |stage: &super::Stage| Link {
        class: stage.spec.class.clone(),
        component: stage.spec.component,
        order: stage.spec.order,
        dealing: stage.spec.dealing,
        worker: stage.worker.as_ref().and_then(|name| workers.address(name)),
        timeout_ms: stage.spec.timeout_ms,
        options: stage.spec.options.clone(),
    };
    run.stages.iter().map(link).collect()
}

fn placed(run: &Run, stage: usize) -> Option<Output> {
    let placed = run.stages.get(stage)?;
    let change = Change::Placed {
        order: placed.spec.order,
        class: placed.spec.class.clone(),
        worker: placed.worker.clone()?,
        attempt: placed.attempt,
    };
    Some(Output::Changed {
        run: run.number,
        change,
    })
}
