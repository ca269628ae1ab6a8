//! A run begins: what is refused, and the first placement of all its stages.

use common::types::Dealing;

use super::Core;
use super::event::{Change, Output, StageSpec, Submission, SubmitError, WrongStage};
use super::recovery::fill;
use super::run::{Run, RunNumber};

/// A `reduce` that does not say has a partition for each worker, but not more than these.
const PARTITIONS_DEFAULT_MAX: u32 = 64;

impl Core {
    /// Assigns the stages one after another, each to the worker with the fewest outstanding tasks, those just
    /// assigned included. The first task is sent when the run is kept.
    pub(super) fn submit(
        &mut self,
        now_ms: u64,
        mut submission: Submission,
        outputs: &mut Vec<Output>,
    ) -> Result<RunNumber, SubmitError> {
        if let Some(number) = self.submitted_before(&submission)? {
            return Ok(number);
        }
        for stage in &mut submission.stages {
            stage.component = self.catalog.get(&stage.class).copied();
        }
        self.check(&submission)?;
        let everywhere = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        for stage in &mut submission.stages {
            if stage.dealing == Dealing::Partitions(0) {
                stage.dealing = Dealing::Partitions(everywhere.clamp(1, PARTITIONS_DEFAULT_MAX));
            }
        }
        let number = self.runs.next_number();
        let run = self.runs.insert(Run::new(number, now_ms, submission));
        fill(run, 0, &mut self.workers);
        let change = Change::Submitted {
            application: run.application.clone(),
            input: run.input.clone(),
            workers: run
                .stages
                .iter()
                .filter_map(|stage| stage.worker.clone())
                .collect(),
        };
        outputs.push(Output::Changed {
            run: number,
            change,
        });
        outputs.push(Output::Keep { run: number });
        Ok(number)
    }

    /// The run that this key has made already.
    fn submitted_before(&self, submission: &Submission) -> Result<Option<RunNumber>, SubmitError> {
        let key = submission.key.as_deref();
        let Some(run) = key.and_then(|key| self.runs.with_key(key)) else {
            return Ok(None);
        };
        // Which component a class had is the run's own business, and so are partitions that nobody wrote.
        let written = |spec: &StageSpec| StageSpec {
            component: None,
            dealing: match spec.dealing {
                Dealing::Partitions(_) if !spec.options.contains_key("partitions") => {
                    Dealing::Partitions(0)
                }
                dealing => dealing,
            },
            ..spec.clone()
        };
        let stages = run.stages.iter().map(|stage| written(&stage.spec));
        // Neither how long it may take nor what its submitter has seen makes it another run.
        let is_same = *run.input == *submission.input
            && *run.grants == *submission.grants
            && run.application == submission.application
            && stages.eq(submission.stages.iter().map(written));
        if is_same {
            Ok(Some(run.number))
        } else {
            Err(SubmitError::KeyTaken { run: run.number })
        }
    }

    fn check(&self, submission: &Submission) -> Result<(), SubmitError> {
        if self.workers.is_empty() {
            return Err(SubmitError::NoWorker);
        }
        if self.ring.is_none() {
            return Err(SubmitError::NoRing);
        }
        let mut known = self.workers.classes();
        known.extend(self.catalog.keys().cloned());
        known.sort_unstable();
        known.dedup();
        let is_reduce = |index: usize| {
            let stage = submission.stages.get(index);
            stage.is_some_and(|stage| matches!(stage.dealing, Dealing::Partitions(_)))
        };
        let wrong = |(index, stage): (usize, &StageSpec)| {
            if is_reduce(index) && index.checked_sub(1).is_some_and(is_reduce) {
                return Some(WrongStage::ReduceBehindReduce(index));
            }
            if index == 0 && stage.dealing.is_parallel() {
                Some(WrongStage::NoItems(index))
            } else {
                let unknown = known.binary_search(&stage.class).is_err();
                unknown.then_some(WrongStage::UnknownClass(index))
            }
        };
        let stages: Vec<WrongStage> = submission
            .stages
            .iter()
            .enumerate()
            .filter_map(wrong)
            .collect();
        if !stages.is_empty() {
            return Err(SubmitError::WrongStages { stages, known });
        }
        self.runs.admit()
    }
}
