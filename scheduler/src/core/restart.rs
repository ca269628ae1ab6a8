//! Runs outlive their scheduler: they are kept before they begin, and taken up again by its next life.
//!
//! A run that is taken up begins again with its first stage, as new attempts of all its tasks: what earlier ones did to the
//! storage is gathered and not done again (see the worker's session). Its attempts count from higher up under each
//! scheduler that leads, so that no number is given twice.

use common::types::{RECOVERIES_MAX, first_attempt};

use super::Core;
use super::event::{Output, Recovered};
use super::run::{Run, RunNumber, RunState};

impl Core {
    /// Takes up the runs of an earlier life.
    pub(super) fn recover(
        &mut self,
        now_ms: u64,
        mut recovered: Vec<Recovered>,
        submitted: RunNumber,
        outputs: &mut Vec<Output>,
    ) {
        self.runs.skip_to(submitted);
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
            run.kept = true;
            if let Some(state) = outcome {
                self.runs.insert(run);
                self.runs.finish(now_ms, number, state);
                self.runs.settle(number);
            } else {
                run.recoveries = recoveries;
                self.take_up(now_ms, run, outputs);
            }
        }
    }

    fn take_up(&mut self, now_ms: u64, mut run: Run, outputs: &mut Vec<Output>) {
        let (number, is_too_often) = (run.number, run.recoveries > RECOVERIES_MAX);
        run.attempt = first_attempt(run.recoveries.min(RECOVERIES_MAX));
        for stage in &mut run.stages {
            stage.attempt = run.attempt;
            stage.first_attempt = run.attempt;
        }
        self.runs.insert(run);
        if is_too_often {
            let reason = format!("schedulers have begun it anew {RECOVERIES_MAX} times");
            return self.finish(now_ms, number, RunState::Failed(reason), outputs);
        }
        self.place(now_ms, number, None, outputs);
    }

    /// The run is in the storage, and begins.
    pub(super) fn kept(&mut self, now_ms: u64, number: RunNumber, outputs: &mut Vec<Output>) {
        let Some(run) = self.runs.note_kept(number) else {
            return;
        };
        if !run.is_running() {
            let state = run.state.clone();
            return outputs.push(Output::Finished { run: number, state });
        }
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
