//! All runs: those in flight, and a bounded history of those that have ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use common::types::Item;

use super::event::SubmitError;
use super::run::{Checkpoint, Run, RunNumber, RunState, Stage};
use super::tasks::Tasks;
use super::trace::{TRACED_TASKS_MAX, TracedTask};

/// Runs without an outcome that is kept.
pub const IN_FLIGHT_RUNS_MAX: usize = 10_000;
/// Input and newest checkpoint of all runs without an outcome, together.
pub const IN_FLIGHT_BYTES_MAX: usize = 1 << 30;
/// Input and output of finished runs that are remembered, together.
pub const HISTORY_BYTES_MAX: usize = 256 << 20;

/// Invariant: every known run is either in flight or in the history.
#[derive(Default)]
pub struct Runs {
    known: BTreeMap<RunNumber, Run>,
    /// Of the known runs that have one.
    keys: BTreeMap<Arc<str>, RunNumber>,
    submitted: u64,
    in_flight: BTreeSet<RunNumber>,
    /// Those, and those whose outcome is not kept yet.
    unsettled: BTreeSet<RunNumber>,
    in_flight_bytes: usize,
    deadlines: BTreeSet<(u64, RunNumber)>,
    /// In the order in which they ended.
    history: VecDeque<RunNumber>,
    history_bytes: usize,
    history_runs_max: usize,
    /// Of the history, since it was asked last.
    forgotten: Vec<RunNumber>,
    /// Runs of the history that workers may not know to be over: those that had begun under another scheduler.
    pub untold: BTreeSet<RunNumber>,
    /// Runs whose next task waits for a worker or for being sent again.
    pub attention: BTreeSet<RunNumber>,
    /// Runs that are at a `map` or `reduce`.
    pub spread: BTreeSet<RunNumber>,
    /// Those of them that may have tasks that nobody is at.
    pub dealing: BTreeSet<RunNumber>,
}

impl Runs {
    pub fn new(history_runs_max: usize) -> Self {
        Self {
            history_runs_max: history_runs_max.max(1),
            ..Self::default()
        }
    }

    /// The number of the next run.
    pub fn next_number(&self) -> RunNumber {
        self.submitted + 1
    }

    pub fn get(&self, number: RunNumber) -> Option<&Run> {
        self.known.get(&number)
    }

    pub fn stage_mut(&mut self, number: RunNumber, stage: usize) -> Option<&mut Stage> {
        self.known.get_mut(&number)?.stages.get_mut(stage)
    }

    /// The run, unless it has its outcome.
    pub fn running_mut(&mut self, number: RunNumber) -> Option<&mut Run> {
        self.known.get_mut(&number).filter(|run| run.is_running())
    }

    pub fn newest_first(&self) -> impl Iterator<Item = &Run> {
        self.known.values().rev()
    }

    pub fn in_flight(&self) -> &BTreeSet<RunNumber> {
        &self.in_flight
    }

    pub fn unsettled(&self) -> &BTreeSet<RunNumber> {
        &self.unsettled
    }

    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// The known run with this key.
    pub fn with_key(&self, key: &str) -> Option<&Run> {
        self.keys.get(key).and_then(|number| self.get(*number))
    }

    pub fn admit(&self) -> Result<(), SubmitError> {
        if self.unsettled.len() >= IN_FLIGHT_RUNS_MAX {
            return Err(SubmitError::TooManyRuns {
                runs_max: IN_FLIGHT_RUNS_MAX,
            });
        }
        if self.in_flight_bytes >= IN_FLIGHT_BYTES_MAX {
            return Err(SubmitError::TooManyBytes {
                bytes_max: IN_FLIGHT_BYTES_MAX,
            });
        }
        Ok(())
    }

    pub fn insert(&mut self, run: Run) -> &mut Run {
        self.submitted = self.submitted.max(run.number);
        if let Some(key) = &run.key {
            self.keys.insert(Arc::clone(key), run.number);
        }
        self.in_flight.insert(run.number);
        self.unsettled.insert(run.number);
        self.in_flight_bytes += bytes_of(&run);
        self.deadlines.insert((run.deadline_ms, run.number));
        self.known.entry(run.number).or_insert(run)
    }

    /// Unless the key stands for a later run.
    fn forget_key(&mut self, run: &Run) {
        if let Some(key) = run
            .key
            .as_ref()
            .filter(|key| self.keys.get(*key) == Some(&run.number))
        {
            self.keys.remove(key);
        }
    }

    /// The outcome of the run may be told; and the run be forgotten.
    pub fn settle(&mut self, number: RunNumber) {
        if let Some(run) = self.known.get_mut(&number) {
            run.settled = true;
        }
        self.unsettled.remove(&number);
        self.forget();
    }

    /// The run is in the storage, whatever has become of it.
    pub fn note_kept(&mut self, number: RunNumber) -> Option<&Run> {
        let run = self.known.get_mut(&number).filter(|run| !run.kept)?;
        run.kept = true;
        Some(run)
    }

    /// So many runs were counted at least.
    pub fn skip_to(&mut self, submitted: RunNumber) {
        self.submitted = self.submitted.max(submitted);
    }

    /// Which runs are known no more.
    pub fn take_forgotten(&mut self) -> impl Iterator<Item = RunNumber> + use<> {
        std::mem::take(&mut self.forgotten).into_iter()
    }

    /// Replaces the checkpoint of a running run.
    pub fn keep(&mut self, number: RunNumber, checkpoint: Checkpoint) {
        let Some(run) = self.known.get_mut(&number).filter(|run| run.is_running()) else {
            return;
        };
        self.in_flight_bytes -= bytes_of(run);
        run.checkpoint = Some(Arc::new(checkpoint));
        self.in_flight_bytes += bytes_of(run);
    }

    /// Takes the items out of the checkpoint of a running run: from now on they are its tasks'.
    pub fn take_items(&mut self, number: RunNumber) -> Vec<Item> {
        let before = self
            .running_mut(number)
            .and_then(|run| run.checkpoint.clone());
        let Some(before) = before else {
            return Vec::new();
        };
        self.keep(
            number,
            Checkpoint {
                items: Vec::new(),
                pins: before.pins.clone(),
            },
        );
        Arc::unwrap_or_clone(before).items
    }

    pub fn set_tasks(&mut self, number: RunNumber, stage: usize, tasks: Tasks) {
        if let Some(of) = self.stage_mut(number, stage) {
            of.progress = tasks.progress();
            let bytes = tasks.bytes();
            of.tasks = Some(Box::new(tasks));
            self.in_flight_bytes += bytes;
        }
    }

    /// Looks at the tasks of a stage of a running run, or changes them.
    pub fn tasks<T>(
        &mut self,
        number: RunNumber,
        stage: usize,
        change: impl FnOnce(&mut Tasks) -> T,
    ) -> Option<T> {
        let of = self.running_mut(number)?.stages.get_mut(stage)?;
        let tasks = of.tasks.as_deref_mut()?;
        let before = tasks.bytes();
        let result = change(tasks);
        let after = tasks.bytes();
        of.progress = tasks.progress();
        self.in_flight_bytes = self.in_flight_bytes + after - before;
        Some(result)
    }

    pub fn drop_tasks(&mut self, number: RunNumber, stage: usize) -> Option<Box<Tasks>> {
        let tasks = self
            .running_mut(number)?
            .stages
            .get_mut(stage)?
            .tasks
            .take()?;
        self.in_flight_bytes -= tasks.bytes();
        Some(tasks)
    }

    /// Gives a running run its outcome. False when it has one already: nothing changes then.
    pub fn finish(&mut self, now_ms: u64, number: RunNumber, state: RunState) -> bool {
        let Some(run) = self.known.get_mut(&number).filter(|run| run.is_running()) else {
            return false;
        };
        self.in_flight_bytes -= bytes_of(run);
        self.in_flight.remove(&number);
        self.deadlines.remove(&(run.deadline_ms, number));
        self.attention.remove(&number);
        self.spread.remove(&number);
        self.dealing.remove(&number);
        if run.recoveries > 0 {
            self.untold.insert(number);
        }
        run.state = state;
        run.ended_ms = Some(now_ms);
        run.checkpoint = None;
        run.resend = None;
        self.history_bytes += bytes_of(run);
        self.history.push_back(number);
        true
    }

    /// Remembers what became of a task; of a plain stage, once.
    pub fn trace(&mut self, number: RunNumber, task: TracedTask) {
        let Some(run) = self.known.get_mut(&number) else {
            return;
        };
        let is_known = |known: &TracedTask| {
            (known.task, known.stage, known.attempt) == (None, task.stage, task.attempt)
        };
        if task.task.is_none() && run.trace.iter().any(is_known) {
            return;
        }
        let is_full = run.trace.len() >= TRACED_TASKS_MAX;
        let oldest = is_full.then(|| run.trace.pop_front()).flatten();
        let (gone, new) = (oldest.map_or(0, |task| task.bytes()), task.bytes());
        run.trace.push_back(task);
        let bytes = if run.is_running() {
            &mut self.in_flight_bytes
        } else {
            &mut self.history_bytes
        };
        *bytes = *bytes + new - gone;
    }

    pub fn past_deadline(&self, now_ms: u64) -> Vec<RunNumber> {
        let past = self
            .deadlines
            .iter()
            .take_while(|(deadline_ms, _)| *deadline_ms <= now_ms);
        past.map(|(_, number)| *number).collect()
    }

    /// Drops the oldest finished runs while there are too many; the newest stays, and what is not settled.
    fn forget(&mut self) {
        while self.history.len() > self.history_runs_max
            || (self.history.len() > 1 && self.history_bytes > HISTORY_BYTES_MAX)
        {
            let oldest = self.history.front().copied();
            let is_settled =
                |number: &RunNumber| self.known.get(number).is_none_or(|run| run.settled);
            let Some(oldest) = oldest.filter(is_settled) else {
                return;
            };
            self.history.pop_front();
            let Some(run) = self.known.remove(&oldest) else {
                return;
            };
            self.history_bytes -= bytes_of(&run);
            self.forgotten.push(run.number);
            self.untold.remove(&run.number);
            self.forget_key(&run);
        }
    }
}

/// What counts against the bounds; changes only in the functions above.
fn bytes_of(run: &Run) -> usize {
    let items = match &run.state {
        RunState::Running => run
            .checkpoint
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.bytes()),
        RunState::Completed(output) => output.bytes(),
        RunState::Failed(reason) | RunState::Expired(reason) => reason.len(),
        RunState::Cancelled => 0,
    };
    let tasks = run.stages.iter().filter_map(|stage| stage.tasks.as_ref());
    let tasks: usize = tasks.map(|tasks| tasks.bytes()).sum();
    let trace: usize = run.trace.iter().map(TracedTask::bytes).sum();
    run.input.len() + items + tasks + trace
}
