//! What reaches the machine, and what it wants done.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::types::{
    CallLog, ComponentHash, Dealing, Link, Part, Pin, Ring, Source, WorkerAddress,
};
use thiserror::Error;

use super::run::{Checkpoint, RunNumber, RunState};

/// Everything that can happen to a scheduler.
#[derive(Debug, Clone)]
pub enum Input {
    /// Answered by [`Answer::Submitted`].
    Submit(Submission),
    /// What earlier lives of this scheduler, or others before it, have left in the storage. Comes before the first
    /// submission.
    Recover {
        runs: Vec<Recovered>,
        /// Runs that were counted at least: their numbers are not given again.
        submitted: RunNumber,
    },
    /// An [`Output::Keep`] has come to its end.
    Kept {
        run: RunNumber,
    },
    /// The outcome of a run is kept.
    Settled {
        run: RunNumber,
    },
    /// Answered by [`Answer::Registered`].
    Heartbeat(Heartbeat),
    StageDone(StageReport),
    /// The executor of the stage before, under `attempt`, cannot reach the worker `gone` of `stage`.
    /// Answered by [`Answer::Reassigned`].
    Reassign {
        run: RunNumber,
        attempt: u32,
        stage: usize,
        gone: String,
    },
    /// Answered by [`Answer::Cancelled`].
    Cancel {
        run: RunNumber,
    },
    /// The process of this worker has been reaped.
    CertifyDeath {
        worker: String,
    },
    /// Answered by [`Answer::RingSet`].
    SetRing(Ring),
    /// Which component runs submitted from now on use for each deployed class.
    SetCatalog(BTreeMap<String, ComponentHash>),
    /// An [`Output::Prepare`] had no success.
    PrepareFailed {
        worker: String,
        component: ComponentHash,
    },
    /// An [`Output::Send`] did not reach its worker, or that refused it.
    SendFailed {
        run: RunNumber,
        attempt: u32,
        stage: usize,
        task: u32,
        /// No answer came: the worker may be executing it.
        may_have_arrived: bool,
    },
    /// Time has passed; comes several times a second.
    Tick,
}

/// Everything that a scheduler does.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// To the caller whose input this step took.
    Answer(Answer),
    /// Give this task to its worker; if that fails: [`Input::SendFailed`]. Sending one twice is harmless.
    Send(Dispatch),
    /// Keep the run in the storage; followed by one [`Input::Kept`]. Until then nothing of it starts.
    Keep {
        run: RunNumber,
    },
    /// The run is known no more: what was kept of it is of no use.
    Forgotten {
        run: RunNumber,
    },
    /// The worker will need this component: it had better fetch and compile it now. If that fails:
    /// [`Input::PrepareFailed`].
    Prepare {
        worker: WorkerAddress,
        component: ComponentHash,
    },
    /// Tell the worker that the run is over.
    CancelRun {
        worker: WorkerAddress,
        run: RunNumber,
    },
    /// Tell the worker that this attempt at a task is of no use any more.
    StopTask {
        worker: WorkerAddress,
        run: RunNumber,
        attempt: u32,
        stage: usize,
        task: u32,
    },
    /// The record of the run has changed: for the log and for whoever debugs.
    Changed {
        run: RunNumber,
        change: Change,
    },
    /// The run has its outcome, and is kept. Exactly one for each run; followed by one [`Input::Settled`], until which nobody is
    /// told of it.
    Finished {
        run: RunNumber,
        state: RunState,
    },
    WorkerAppeared {
        worker: String,
    },
    WorkerLost {
        worker: String,
        cause: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Submitted(Result<RunNumber, SubmitError>),
    /// Who may have tasks of the run, or get some from one another: it is over for sure when they know of it.
    Cancelled(Result<Vec<WorkerAddress>, CancelError>),
    Registered(Result<Option<Arc<Ring>>, TooManyWorkers>),
    Reassigned(Result<Reassignment, ReassignError>),
    RingSet(Result<(), RingError>),
}

/// A run that was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    pub number: RunNumber,
    pub submission: Submission,
    /// How often a scheduler began to lead since it was submitted.
    pub recoveries: u32,
    /// Until its deadline, from now.
    pub left_ms: u64,
    /// If it has one; then it is only remembered.
    pub outcome: Option<RunState>,
}

/// A run to be made of an application.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The same key again means the same run.
    pub key: Option<String>,
    pub input: String,
    /// The name of the application, for people.
    pub application: String,
    /// At least one, in order.
    pub stages: Vec<StageSpec>,
    pub timeout_ms: u64,
    /// Floors: versions that the submitter has seen.
    pub seen: Vec<Pin>,
    /// Prefixes of the URLs that its operators may open.
    pub grants: Vec<String>,
    /// When it came, in milliseconds since 1970: for operators alone.
    pub submitted_unix_ms: u64,
}

/// A stage as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageSpec {
    pub class: String,
    /// Its number in the application file.
    pub order: u32,
    pub dealing: Dealing,
    /// Items of one task of a `map`, at least 1.
    pub chunk: usize,
    pub timeout_ms: Option<u64>,
    /// At least 1.
    pub attempts_max: u32,
    /// As the application file gives them, by name.
    pub options: BTreeMap<String, String>,
    /// The deployed component that the run has pinned: any worker can run it.
    pub component: Option<ComponentHash>,
}

/// A worker is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub worker: WorkerAddress,
    pub incarnation: u64,
    /// Sorted.
    pub classes: Vec<String>,
    pub slots: u32,
}

/// A worker's word on how a stage ended there.
#[derive(Debug, Clone, PartialEq)]
pub struct StageReport {
    pub run: RunNumber,
    pub attempt: u32,
    /// Index into the chain.
    pub stage: usize,
    /// The number of the task within the stage; 0 in plain ones.
    pub task: u32,
    pub worker: String,
    pub queue_ms: u64,
    pub run_ms: u64,
    /// Of `run_ms`: until the operator was ready to run.
    pub cold_ms: u64,
    pub calls: CallLog,
    pub end: StageEnd,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StageEnd {
    Returned(Checkpoint),
    /// Its items wait at its worker for the `reduce` behind it.
    Held {
        pins: Vec<Pin>,
    },
    /// What tasks of the stage before have left at a worker could not be had.
    SourceLost {
        worker: String,
        parts: Vec<Part>,
        reason: String,
    },
    Failed {
        reason: String,
        /// No other attempt can end otherwise.
        permanent: bool,
    },
}

impl StageEnd {
    /// Why it failed.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Returned(_) | Self::Held { .. } => None,
            Self::Failed { reason, .. } | Self::SourceLost { reason, .. } => Some(reason),
        }
    }
}

/// One task on its way to a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    pub worker: WorkerAddress,
    pub run: RunNumber,
    pub attempt: u32,
    /// Index into the chain.
    pub stage: usize,
    /// The number of the task within the stage; 0 in plain ones.
    pub task: u32,
    /// An older attempt at the task may have begun.
    pub is_retry: bool,
    pub input: Arc<str>,
    /// Until the run's deadline, from now.
    pub left_ms: u64,
    pub chain: Vec<Link>,
    pub grants: Arc<[String]>,
    pub submitted_unix_ms: u64,
    /// What the stage before left, or the task's part of it; absent for the first.
    pub checkpoint: Option<Arc<Checkpoint>>,
    /// Where the rest of its items is.
    pub sources: Vec<Source>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassignment {
    pub worker: WorkerAddress,
    pub attempt: u32,
}

/// Why a run was not accepted; nothing has happened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    #[error(
        "no worker is active: start one with `worker ID URL GOSSIP_DELAY`, or wait until one has registered"
    )]
    NoWorker,
    #[error(
        "no storage nodes are known: the scheduler needs a ring (SetRing) before it takes runs"
    )]
    NoRing,
    /// With the classes that active workers have.
    #[error("the application has stages that cannot be run")]
    WrongStages {
        stages: Vec<WrongStage>,
        known: Vec<String>,
    },
    #[error("{runs_max} runs are in flight: try again when some have ended")]
    TooManyRuns { runs_max: usize },
    #[error("runs in flight hold {bytes_max} bytes of items: try again when some have ended")]
    TooManyBytes { bytes_max: usize },
    #[error("the key belongs to run {run}, which has another input or application")]
    KeyTaken { run: RunNumber },
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no run {0}, or it ended so long ago that it was forgotten")]
pub struct UnknownRun(pub RunNumber);

/// Why a run was not cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CancelError {
    #[error(transparent)]
    Unknown(#[from] UnknownRun),
    #[error("run {run} has ended: {state}")]
    Ended { run: RunNumber, state: String },
}

/// An index into [`Submission::stages`] and what is wrong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongStage {
    UnknownClass(usize),
    /// A `map` or `reduce` without a stage before it has no items.
    NoItems(usize),
    /// What a `reduce` leaves is not kept for another one when a worker is lost.
    ReduceBehindReduce(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a scheduler has at most {workers_max} workers")]
pub struct TooManyWorkers {
    pub workers_max: usize,
}

/// Why no other worker was given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReassignError {
    /// Give the task up.
    #[error("this attempt at the run is no longer wanted")]
    NotWanted,
    /// Try the worker again, or ask later.
    #[error("no other worker has the operator {class}")]
    NoOther { class: String },
}

/// Why the ring was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RingError {
    #[error("the ring has epoch {epoch}, older than the known one of epoch {known}")]
    Older { epoch: u64, known: u64 },
    #[error("another ring of epoch {epoch} is known already")]
    Other { epoch: u64 },
}

/// What has changed in the record of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Submitted {
        application: String,
        input: Arc<str>,
        workers: Vec<String>,
    },
    StageDone {
        order: u32,
        class: String,
        worker: String,
        run_ms: u64,
    },
    StageFailed {
        order: u32,
        class: String,
        worker: String,
        reason: String,
    },
    Placed {
        order: u32,
        class: String,
        worker: String,
        attempt: u32,
    },
    Waiting {
        order: u32,
        class: String,
    },
    /// A `map` or `reduce` has begun.
    Dealt {
        order: u32,
        class: String,
        tasks: usize,
    },
    Ended {
        state: RunState,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Submitted {
                application,
                input,
                workers,
            } => {
                let input = input.escape_debug();
                write!(
                    f,
                    "submitted: {application} on \"{input}\", assigned to {}",
                    workers.join(" → ")
                )
            }
            Self::StageDone {
                order,
                class,
                worker,
                run_ms,
            } => {
                write!(f, "stage {order} ({class}) done on {worker} in {run_ms} ms")
            }
            Self::StageFailed {
                order,
                class,
                worker,
                reason,
            } => {
                write!(f, "stage {order} ({class}) failed on {worker}: {reason}")
            }
            Self::Placed {
                order,
                class,
                worker,
                attempt,
            } => {
                write!(
                    f,
                    "stage {order} ({class}) assigned to {worker} as attempt {attempt}"
                )
            }
            Self::Waiting { order, class } => {
                write!(f, "stage {order} waits for a worker with {class}")
            }
            Self::Dealt {
                order,
                class,
                tasks,
            } => write!(f, "stage {order} ({class}) has {tasks} tasks"),
            Self::Ended { state } => write!(f, "{state}"),
        }
    }
}
