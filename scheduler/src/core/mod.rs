//! The scheduler as a machine without I/O: it takes a time and an input, and fills a list of outputs.
//!
//! Absent: async, clocks, chance, the network, protobuf. [`crate::server`] carries inputs and outputs.
//!
//! - [`event`]: inputs and outputs. - [`run`]: a run and its stages. - [`runs`]: all runs, in flight and finished.
//! - [`workers`]: who is active, and the choice among them. - [`submission`]: what is refused, first placement.
//! - [`tasks`]: the tasks of a `map` or `reduce`. - [`deal`]: who gets them. - [`gather`]: what becomes of them.
//! - [`restart`]: runs outlive their scheduler. - [`lease`]: which of several schedulers leads.
//! - [`trace`]: what a run did and waits for. - [`catalog`]: deployed operators. - [`progress`]: stages end, runs end. - [`recovery`]: workers die, tasks are sent again.

mod catalog;
mod deal;
mod event;
mod gather;
pub mod lease;
mod progress;
mod recovery;
mod restart;
mod run;
mod runs;
mod submission;
mod tasks;
mod trace;
mod workers;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::types::{ComponentHash, Ring};

pub use event::{
    Answer, CancelError, Change, Dispatch, Heartbeat, Input, Output, ReassignError, Recovered,
    RingError, StageEnd, StageReport, StageSpec, Submission, SubmitError, TooManyWorkers,
    UnknownRun, WrongStage,
};
pub use run::{Checkpoint, Run, RunNumber, RunState, Stage};
pub use trace::TracedTask;
pub use workers::{Presence, Worker};

use runs::Runs;
use workers::{Registration, Workers};

/// A worker that is silent for longer is evicted.
pub const SILENCE_MS_MAX: u64 = 5_000;
/// When nothing reached the scheduler itself for longer, its workers are not blamed for their silence.
const PAUSE_MS: u64 = 1_000;

/// Everything that the scheduler knows.
#[derive(Default)]
pub struct Core {
    ring: Option<Arc<Ring>>,
    workers: Workers,
    runs: Runs,
    /// Which component runs use for each deployed class.
    catalog: BTreeMap<String, ComponentHash>,
    /// Whether workers are told to get ready for what they will need.
    warms_up: bool,
    ticked_ms: u64,
    /// The run that was dealt a task last.
    dealt: RunNumber,
}

impl Core {
    /// `history_runs_max`: runs that have ended and are remembered, at least 1.
    pub fn new(now_ms: u64, ring: Option<Ring>, warms_up: bool, history_runs_max: usize) -> Self {
        Self {
            ring: ring.map(Arc::new),
            warms_up,
            ticked_ms: now_ms,
            runs: Runs::new(history_runs_max),
            ..Self::default()
        }
    }

    /// Takes one input. An [`Output::Answer`] among the outputs belongs to this input; there is at most one.
    pub fn step(&mut self, now_ms: u64, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Submit(submission) => {
                let result = self.submit(now_ms, submission, outputs);
                outputs.push(Output::Answer(Answer::Submitted(result)));
            }
            Input::Recover { runs, submitted } => self.recover(now_ms, runs, submitted, outputs),
            Input::Kept { run } => self.kept(now_ms, run, outputs),
            Input::Settled { run } => self.settle(run, outputs),
            Input::Heartbeat(heartbeat) => {
                let result = self.heartbeat(now_ms, heartbeat, outputs);
                outputs.push(Output::Answer(Answer::Registered(result)));
            }
            Input::StageDone(report) => self.stage_done(now_ms, report, outputs),
            Input::Reassign {
                run,
                attempt,
                stage,
                gone,
            } => {
                let result = self.reassign(now_ms, run, attempt, stage, &gone, outputs);
                outputs.push(Output::Answer(Answer::Reassigned(result)));
            }
            Input::Cancel { run } => {
                let result = self.cancel(now_ms, run, outputs);
                outputs.push(Output::Answer(Answer::Cancelled(result)));
            }
            Input::CertifyDeath { worker } => self.lose_worker(now_ms, &worker, "died", outputs),
            Input::SetRing(ring) => {
                let result = self.set_ring(ring);
                outputs.push(Output::Answer(Answer::RingSet(result)));
            }
            Input::SendFailed {
                run,
                attempt,
                stage,
                task,
                may_have_arrived,
            } => self.send_failed(now_ms, run, (attempt, stage, task), may_have_arrived),
            Input::SetCatalog(catalog) => self.set_catalog(catalog, outputs),
            Input::PrepareFailed { worker, component } => {
                self.workers.is_unprepared(&worker, component);
            }
            Input::Tick => self.tick(now_ms, outputs),
        }
        self.deal(now_ms, outputs);
        let forgotten = self.runs.take_forgotten();
        outputs.extend(forgotten.map(|run| Output::Forgotten { run }));
    }

    /// Whether workers are told to get ready for what they will need.
    pub fn warms_up(&self) -> bool {
        self.warms_up
    }

    pub fn ring(&self) -> Option<&Arc<Ring>> {
        self.ring.as_ref()
    }

    /// The active workers, by name.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.active()
    }

    /// Every worker ever heard of (the last ones, if they are many) and whether it is there.
    pub fn presences(&self, now_ms: u64) -> Vec<Presence> {
        self.workers.presences(now_ms)
    }

    pub fn run(&self, number: RunNumber) -> Option<&Run> {
        self.runs.get(number)
    }

    /// The runs still known, newest first.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.newest_first()
    }

    /// How many runs have no outcome yet.
    pub fn in_flight(&self) -> usize {
        self.runs.in_flight().len()
    }

    /// Runs whose tasks may be tried again: here, or by another life of this scheduler, for all that the storage knows.
    pub fn unsettled(&self) -> Vec<RunNumber> {
        self.runs.unsettled().iter().copied().collect()
    }

    /// How many runs were accepted by this scheduler.
    pub fn submitted(&self) -> u64 {
        self.runs.submitted()
    }

    fn heartbeat(
        &mut self,
        now_ms: u64,
        heartbeat: Heartbeat,
        outputs: &mut Vec<Output>,
    ) -> Result<Option<Arc<Ring>>, TooManyWorkers> {
        let name = heartbeat.worker.name.clone();
        if self.workers.is_predecessor_of(&heartbeat) {
            self.lose_worker(now_ms, &name, "was restarted", outputs);
        }
        let registration = self.workers.heard(now_ms, heartbeat)?;
        if registration != Registration::Unchanged {
            if registration == Registration::New {
                self.prepare_all(&name, outputs);
                self.tell_ended(now_ms, &name, outputs);
                outputs.push(Output::WorkerAppeared { worker: name });
            }
            self.attend(now_ms, outputs);
        }
        Ok(self.ring.clone())
    }

    fn set_ring(&mut self, ring: Ring) -> Result<(), RingError> {
        if let Some(known) = &self.ring {
            if ring.epoch < known.epoch {
                return Err(RingError::Older {
                    epoch: ring.epoch,
                    known: known.epoch,
                });
            }
            if ring.epoch == known.epoch && ring != **known {
                return Err(RingError::Other { epoch: ring.epoch });
            }
        }
        self.ring = Some(Arc::new(ring));
        Ok(())
    }

    fn tick(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let pause_ms = now_ms.saturating_sub(self.ticked_ms);
        self.ticked_ms = now_ms;
        if pause_ms > PAUSE_MS {
            self.workers.forgive(now_ms, pause_ms);
        }
        for name in self.workers.silent(now_ms) {
            self.lose_worker(now_ms, &name, "was silent for too long", outputs);
        }
        for number in self.runs.past_deadline(now_ms) {
            self.expire(now_ms, number, outputs);
        }
        self.attend(now_ms, outputs);
        self.attend_tasks(now_ms, outputs);
    }
}
