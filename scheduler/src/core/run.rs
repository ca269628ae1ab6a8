//! A run and its stages.
//!
//! Invariants: the stages that are done come before those that are not. The attempt numbers of the stages never fall
//! along the chain, and a stage that gets another worker gets another attempt number: one (run, attempt, stage) is
//! given to one worker only. A `map` or `reduce` has tasks of its own, each with its own attempts ([`super::tasks`]); plain
//! stages between two of those are handed on from worker to worker: a *segment*. Once there is an outcome, the state does not change any more.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use common::types::{Item, Pin};

use super::event::{StageSpec, Submission};
use super::tasks::Tasks;
use super::trace::TracedTask;

/// From 1, counted by one scheduler.
pub type RunNumber = u64;

/// What a stage left: from here the next one can be started, as often as need be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    pub items: Vec<Item>,
    pub pins: Vec<Pin>,
}

impl Checkpoint {
    /// Keys, values and ids of records, together.
    pub fn bytes(&self) -> usize {
        let items = self
            .items
            .iter()
            .map(|item| item.value.len() + item.key.as_ref().map_or(0, String::len));
        let pins = self
            .pins
            .iter()
            .map(|pin| pin.record.len() + size_of::<Pin>());
        items.chain(pins).sum()
    }
}

/// How a run fares, and finally its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    Running,
    /// With what the last stage returned.
    Completed(Arc<Checkpoint>),
    /// Names operator, stage, worker and reason.
    Failed(String),
    /// Names the time and what was waited for.
    Expired(String),
    /// As its submitter, or somebody else, wished.
    Cancelled,
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Completed(output) => write!(f, "completed with {} item(s)", output.items.len()),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            Self::Expired(reason) => write!(f, "expired: {reason}"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// How long a stage took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimesMs {
    pub queue: u64,
    /// In the operator, with `cold`.
    pub run: u64,
    /// Until the operator was ready to run.
    pub cold: u64,
}

/// One stage of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    pub spec: StageSpec,
    /// Who runs it, or ran it. Absent: nobody is left; the scheduler places it when it is its turn.
    pub worker: Option<String>,
    /// Only reports of this attempt count.
    pub attempt: u32,
    /// The one with which its segment began.
    pub first_attempt: u32,
    /// How often it was started, as far as the scheduler knows; 1 when nothing failed.
    pub tries: u32,
    pub done: bool,
    /// Why this attempt has failed, until the stage before is known to be done: its checkpoint is still on its way.
    pub failure: Option<String>,
    /// Once the worker has reported them.
    pub times_ms: Option<TimesMs>,
    /// Of a `map` or `reduce` that has begun, as long as somebody may need them.
    pub tasks: Option<Box<Tasks>>,
    /// How many tasks it has, and how many are done; zero for a plain stage.
    pub progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub tasks: usize,
    pub done: usize,
}

/// A task that did not reach its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resend {
    pub at_ms: u64,
    /// Preferably not this worker again. Absent: it may be executing the task, so it goes to nobody else.
    pub avoid: Option<String>,
}

/// One execution of an application on an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub number: RunNumber,
    /// Chosen by its submitter.
    pub key: Option<Arc<str>>,
    pub input: Arc<str>,
    pub application: String,
    /// Prefixes of the URLs that its operators may open.
    pub grants: Arc<[String]>,
    /// Since 1970, for its operators; everything else goes by `submitted_ms`.
    pub submitted_unix_ms: u64,
    pub submitted_ms: u64,
    /// How long it may take, as its submitter wished.
    pub timeout_ms: u64,
    pub deadline_ms: u64,
    pub ended_ms: Option<u64>,
    /// What its submitter wrote, to be kept.
    pub seen: Vec<Pin>,
    /// Whether the storage has it: before that, nothing of it starts.
    pub kept: bool,
    /// How often a scheduler began to lead since it was submitted.
    pub recoveries: u32,
    pub state: RunState,
    /// Whether its outcome may be told.
    pub settled: bool,
    pub stages: Vec<Stage>,
    /// Every worker that a stage was ever assigned to: it may have got a task of the run, from whomever.
    pub assigned: BTreeSet<String>,
    /// The newest attempt number given to any stage.
    pub attempt: u32,
    /// Of the last stage that is done, or what the submitter has seen; while the run is running.
    pub checkpoint: Option<Arc<Checkpoint>>,
    pub resend: Option<Resend>,
    /// How often its next task has not reached a worker.
    pub unreached: u32,
    /// The attempts that have ended, the newest last.
    pub trace: VecDeque<TracedTask>,
}

impl Run {
    pub fn new(number: RunNumber, now_ms: u64, submission: Submission) -> Self {
        let stage = |spec| Stage {
            spec,
            worker: None,
            attempt: 1,
            first_attempt: 1,
            tries: 1,
            done: false,
            failure: None,
            times_ms: None,
            tasks: None,
            progress: Progress::default(),
        };
        Self {
            number,
            key: submission.key.map(Into::into),
            input: submission.input.into(),
            application: submission.application,
            grants: submission.grants.into(),
            submitted_unix_ms: submission.submitted_unix_ms,
            submitted_ms: now_ms,
            timeout_ms: submission.timeout_ms,
            deadline_ms: now_ms.saturating_add(submission.timeout_ms),
            ended_ms: None,
            seen: submission.seen.clone(),
            kept: false,
            recoveries: 0,
            state: RunState::Running,
            settled: false,
            stages: submission.stages.into_iter().map(stage).collect(),
            assigned: BTreeSet::new(),
            attempt: 1,
            checkpoint: (!submission.seen.is_empty()).then(|| {
                Arc::new(Checkpoint {
                    items: Vec::new(),
                    pins: submission.seen,
                })
            }),
            resend: None,
            unreached: 0,
            trace: VecDeque::new(),
        }
    }

    /// Gives a stage to a worker, or to nobody; who had it before.
    pub fn assign(&mut self, stage: usize, worker: Option<String>) -> Option<String> {
        let stage = self.stages.get_mut(stage)?;
        self.assigned.extend(worker.clone());
        std::mem::replace(&mut stage.worker, worker)
    }

    pub fn is_running(&self) -> bool {
        self.state == RunState::Running
    }

    /// How it fares, as far as that may be told.
    pub fn told_state(&self) -> &RunState {
        if self.settled {
            &self.state
        } else {
            &RunState::Running
        }
    }

    /// The first stage that is not done, as far as is known; the length of the chain when all are.
    pub fn frontier(&self) -> usize {
        self.stages
            .iter()
            .position(|stage| !stage.done)
            .unwrap_or(self.stages.len())
    }

    pub fn elapsed_ms(&self, now_ms: u64) -> u64 {
        self.ended_ms
            .unwrap_or(now_ms)
            .saturating_sub(self.submitted_ms)
    }

    /// The end of the segment that begins with this stage: the next `map` or `reduce`, or the end of the chain.
    pub fn segment_end(&self, from: usize) -> usize {
        let mut behind = self.stages.iter().enumerate().skip(from);
        behind
            .find(|(_, stage)| stage.spec.dealing.is_parallel())
            .map_or(self.stages.len(), |(stage, _)| stage)
    }

    pub fn tasks_mut(&mut self, stage: usize) -> Option<&mut Tasks> {
        self.stages.get_mut(stage)?.tasks.as_deref_mut()
    }

    /// From this stage on, only reports of a new attempt count.
    pub fn begin_attempt(&mut self, from: usize) {
        self.attempt += 1;
        for stage in self.stages.iter_mut().skip(from) {
            stage.attempt = self.attempt;
            stage.failure = None;
        }
    }
}
