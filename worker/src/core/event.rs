//! What reaches the machine, and what it wants done.

use std::sync::Arc;

use common::types::{CallLog, Item, Part, Pin};
use thiserror::Error;

use super::task::{RunKey, Task, TaskKey};

/// Everything that can happen to a worker.
#[derive(Debug, Clone)]
pub enum Input {
    /// Answered by [`Output::Answer`].
    Execute(Task),
    /// A task that was started has come to its end.
    Ended {
        key: TaskKey,
        end: Ended,
        account: Account,
    },
    CancelRun(RunKey),
    /// Another attempt was faster.
    StopTask(TaskKey),
    /// A report or a forward is over, whatever came of it.
    Delivered,
}

/// Everything that a worker does. Each report and each forward is followed by one [`Input::Delivered`].
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// To whoever wants the task executed.
    Answer(Result<(), Refusal>),
    /// Run the stage; followed by one [`Input::Ended`], unless it is stopped.
    Start {
        task: Arc<Task>,
        time_ms: u64,
    },
    Stop {
        key: TaskKey,
    },
    /// Tell the scheduler until it has acknowledged it, or the run's deadline has passed.
    Report(Report),
    /// Hand the request to the next worker until one has acknowledged it, or the run's deadline has passed.
    Forward(Forward),
}

/// Why a task was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the worker has {tasks_max} tasks waiting")]
    QueueFull { tasks_max: usize },
    #[error("the tasks that wait at the worker hold {bytes_max} bytes")]
    QueueTooLarge { bytes_max: usize },
    #[error("the run was cancelled")]
    Cancelled,
    #[error("the run's deadline has passed")]
    Late,
}

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Returned {
        items: Vec<Item>,
        pins: Vec<Pin>,
    },
    /// Its items wait here for the tasks of the `reduce` behind it.
    Held {
        pins: Vec<Pin>,
    },
    Failed {
        reason: String,
        /// No other attempt can end otherwise.
        permanent: bool,
    },
    /// What tasks of the stage before have left at a worker could not be fetched.
    SourceLost {
        worker: String,
        parts: Vec<Part>,
        reason: String,
    },
}

/// What a stage took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Until its operator was ready to run.
    pub cold_ms: u64,
    pub calls: CallLog,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub task: Arc<Task>,
    pub queue_ms: u64,
    pub run_ms: u64,
    /// Its `cold_ms` is a part of `run_ms`.
    pub account: Account,
    pub end: Arc<Ended>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The task that has ended here.
    pub task: Arc<Task>,
    pub end: Arc<Ended>,
}
