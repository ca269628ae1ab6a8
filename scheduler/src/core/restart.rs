//! Runs outlive their scheduler: they are kept before they begin, and taken up again by its next life.
//!
//! A run that is taken up begins again with its first stage, as new attempts of all its tasks: what earlier ones did to the
//! storage is gathered and not done again (see the worker's session). Its attempts count from higher up with each
//! recovery, so that no number is given twice.

use common::types::{RECOVERIES_MAX, first_attempt};

use super::Core;
use super::event::{Output, Recovered};
use super::run::{Run, RunNumber};
use super::runs::IN_FLIGHT_RUNS_MAX;

impl Core {
    /// Takes up the runs of an earlier life.
    pub(super) fn recover(
        &mut self,
        now_ms: u64,
        mut recovered: Vec<Recovered>,
        is_whole: bool,
        outputs: &mut Vec<Output>,
    ) {
        recovered.sort_by_key(|run| run.number);
        for Recovered {
            number,
            submission,
            recoveries,
            left_ms,
            outcome,
        } in recovered
        {
            let mut run = Run::new(number, now_ms, submission);
            run.deadline_ms = now_ms.saturating_add(left_ms);
            run.recoveries = recoveries;
            match outcome {
                Some(state) => {
                    run.kept = true;
                    self.runs.insert(run);
                    self.runs.finish(now_ms, number, state);
                    self.runs.settle(number);
                }
                None => self.take_up(run, outputs),
            }
        }
        if !is_whole {
            // A run with the number of another one would be taken for it by whoever remembers what that did.
            self.runs.skip(IN_FLIGHT_RUNS_MAX as u64);
        }
    }

    fn take_up(&mut self, mut run: Run, outputs: &mut Vec<Output>) {
        run.recoveries = (run.recoveries + 1).min(RECOVERIES_MAX);
        run.attempt = first_attempt(run.recoveries);
        for stage in &mut run.stages {
            stage.attempt = run.attempt;
            stage.first_attempt = run.attempt;
        }
        let number = run.number;
        self.runs.insert(run);
        outputs.push(Output::Keep { run: number });
    }

    /// The run is kept, and begins; or it could not be kept, and there is none.
    pub(super) fn kept(
        &mut self,
        now_ms: u64,
        number: RunNumber,
        is_kept: bool,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.running_mut(number).filter(|run| !run.kept) else {
            return;
        };
        if !is_kept && run.recoveries == 0 {
            self.release_all(now_ms, number);
            self.runs.remove(number);
            return;
        }
        run.kept = true;
        if run
            .stages
            .first()
            .is_some_and(|stage| stage.worker.is_some())
        {
            self.send(now_ms, number, outputs);
        } else {
            self.place(now_ms, number, None, outputs);
        }
    }
}
