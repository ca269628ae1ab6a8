//! How a task fails, and what can be wrong with a file of operators.

use std::path::PathBuf;
use std::time::Duration;

use common::types::ComponentHash;
use thiserror::Error;

use super::blob::BlobError;
use super::storage::StorageError;

/// The operator host could not be started.
#[derive(Debug, Error)]
#[error("the operator host cannot start: {0}")]
pub struct StartError(pub(super) String);

/// Something is wrong with a file or directory of operators; the others are usable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("operators in {}: {reason}", path.display())]
pub struct LoadProblem {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong, and where it helps, what to do.
    pub reason: String,
}

/// A task that did not return items: which, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("operator {class} in run {run}: {failure}")]
pub struct OperatorError {
    /// The operator's class.
    pub class: String,
    /// The number of the run.
    pub run: u64,
    /// Why.
    pub failure: OperatorFailure,
}

/// Why a task did not return items.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OperatorFailure {
    /// No file and no built-in component holds the class.
    #[error("unknown class{}", suggestion(nearest))]
    UnknownClass {
        /// Known classes with similar names, best first.
        nearest: Vec<String>,
    },
    /// Two files hold the class, so it is nobody's.
    #[error("the class is in two files, {} and {}: remove one", first.display(), second.display())]
    Conflict { first: PathBuf, second: PathBuf },
    /// The deployed component could not be made ready.
    #[error("its component {} cannot be run: {reason}", hash.short())]
    Component { hash: ComponentHash, reason: String },
    /// The operator says that it can never work on this request.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// The operator's own error.
    #[error("{0}")]
    Failed(String),
    /// A storage call failed and the operator had no answer to it.
    #[error("record {id:?}: {error}")]
    Storage { id: String, error: StorageError },
    /// A blob could not be opened or read and the operator had no answer to it.
    #[error("blob {url:?}: {error}")]
    Blob { url: String, error: BlobError },
    /// The component did what WASM forbids, called what does not exist, or panicked.
    #[error("trapped: {reason}")]
    Trap { reason: String },
    /// A native operator panicked.
    #[error("panicked: {reason}")]
    Panic { reason: String },
    /// The process of a native operator ended.
    #[error("crashed: {reason}")]
    Crash { reason: String },
    /// The time for the task was over.
    #[error("exceeded its deadline of {} ms", deadline.as_millis())]
    DeadlineExceeded { deadline: Duration },
    /// The component wanted more memory.
    #[error("exceeded its memory limit of {bytes_max} bytes")]
    MemoryLimit { bytes_max: usize },
    /// The items returned, or the arguments of one call, are too large.
    #[error("returned or passed to a call more than {bytes_max} bytes")]
    OutputTooLarge { bytes_max: usize },
    /// The worker, not the operator, is at fault.
    #[error("the worker failed: {0}")]
    Host(String),
}

impl OperatorFailure {
    /// Whether another attempt, maybe on another worker, could end otherwise.
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Storage { error, .. } => error.is_passing(),
            Self::Blob { error, .. } => error.is_passing(),
            Self::InvalidRequest(_)
            | Self::DeadlineExceeded { .. }
            | Self::MemoryLimit { .. }
            | Self::OutputTooLarge { .. } => false,
            // Another worker may have other files of operators, or more luck.
            Self::UnknownClass { .. }
            | Self::Component { .. }
            | Self::Conflict { .. }
            | Self::Host(_)
            | Self::Failed(_)
            | Self::Trap { .. }
            | Self::Panic { .. }
            | Self::Crash { .. } => true,
        }
    }
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}
