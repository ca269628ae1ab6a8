//! What can go wrong in an operator. `?` turns the errors of storage calls into [`OperatorError`].

use std::fmt;

#[cfg(not(target_family = "wasm"))]
use serde::{Deserialize, Serialize};

use crate::types::Record;

/// Why a storage call failed. The storage is unchanged except after [`StorageFault::Timeout`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub enum StorageFault {
    /// The record does not exist (or was deleted).
    NotFound,
    /// The version that this run sees of the record was discarded since.
    Discarded,
    /// The id is empty, too long, or reserved; the text says which.
    InvalidId(String),
    /// The value has more bytes than this, the most that the storage takes.
    TooLarge(u64),
    /// The storage has too much to do; a later attempt may succeed.
    Overloaded,
    /// No replica of the record that could serve the call can be reached.
    Unavailable(String),
    /// No answer came in time. Whether a write or update took effect is unknown.
    Timeout,
    /// The run was cancelled, or a newer attempt has begun: return at once.
    Cancelled,
    /// The operator has used up the limit named.
    LimitExceeded(String),
    /// Any other reason.
    Other(String),
}

impl fmt::Display for StorageFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => out.write_str("not found"),
            Self::Discarded => {
                out.write_str("the version that this run sees was discarded: too many newer ones")
            }
            Self::InvalidId(reason) => write!(out, "invalid id: {reason}"),
            Self::TooLarge(bytes_max) => write!(out, "the value exceeds {bytes_max} bytes"),
            Self::Overloaded => out.write_str("the storage is overloaded"),
            Self::Unavailable(reason) => write!(out, "unavailable: {reason}"),
            Self::Timeout => out.write_str("no answer in time; the outcome is unknown"),
            Self::Cancelled => out.write_str("the run was cancelled or has a newer attempt"),
            Self::LimitExceeded(limit) => write!(out, "limit exceeded: {limit}"),
            Self::Other(reason) => out.write_str(reason),
        }
    }
}

/// A storage call that failed: on which record, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub struct StorageError {
    /// The id of the record.
    pub id: String,
    /// Why.
    pub fault: StorageFault,
}

impl StorageError {
    /// Whether the call failed because the record does not exist.
    pub fn is_not_found(&self) -> bool {
        self.fault == StorageFault::NotFound
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "record {:?}: {}", self.id, self.fault)
    }
}

impl std::error::Error for StorageError {}

/// Why an update failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub enum UpdateError {
    /// The record is not as tested.
    Mismatch {
        /// The id of the record.
        id: String,
        /// The record found, `None` when there is none.
        found: Option<Record>,
    },
    /// The test was not made, or its outcome is unknown ([`StorageFault::Timeout`]).
    Storage(StorageError),
}

impl fmt::Display for UpdateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { id, found: None } => write!(out, "record {id:?} does not exist"),
            Self::Mismatch { id, found: Some(_) } => {
                write!(out, "record {id:?} is not as expected")
            }
            Self::Storage(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for UpdateError {}

/// Why a blob could not be opened or read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub enum BlobFault {
    /// The application grants no prefix of this URL.
    NotGranted,
    /// There is no such blob.
    NotFound,
    /// The URL cannot be understood, or has a scheme that the worker does not know.
    InvalidUrl(String),
    /// The range begins behind the end of the blob, which has this many bytes.
    InvalidRange(u64),
    /// The store of the blob cannot be reached, or fails.
    Unavailable(String),
    /// The run was cancelled, or a newer attempt has begun: return at once.
    Cancelled,
    /// The operator has used up the limit named.
    LimitExceeded(String),
    /// Any other reason.
    Other(String),
}

impl fmt::Display for BlobFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted => out.write_str("the application does not grant it"),
            Self::NotFound => out.write_str("not found"),
            Self::InvalidUrl(reason) => write!(out, "invalid URL: {reason}"),
            Self::InvalidRange(bytes) => {
                write!(out, "the range begins behind its end at {bytes} bytes")
            }
            Self::Unavailable(reason) => write!(out, "unavailable: {reason}"),
            Self::Cancelled => out.write_str("the run was cancelled or has a newer attempt"),
            Self::LimitExceeded(limit) => write!(out, "limit exceeded: {limit}"),
            Self::Other(reason) => out.write_str(reason),
        }
    }
}

/// A blob that could not be opened or read: which, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub struct BlobError {
    /// Where it should have been.
    pub url: String,
    /// Why.
    pub fault: BlobFault,
}

impl fmt::Display for BlobError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "blob {:?}: {}", self.url, self.fault)
    }
}

impl std::error::Error for BlobError {}

/// Why a task failed: what an operator returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub enum OperatorError {
    /// This library holds no operator of the class asked for. Operators themselves have no use for it.
    UnknownClass,
    /// The operator cannot work on this request, whoever runs it and however often.
    InvalidRequest(String),
    /// The operator failed for a reason of its own; another attempt may succeed.
    Failed(String),
    /// A storage call failed and the operator had no answer to it.
    Storage(StorageError),
    /// A blob could not be opened or read and the operator had no answer to it.
    Blob(BlobError),
}

impl fmt::Display for OperatorError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownClass => out.write_str("no operator of this class"),
            Self::InvalidRequest(reason) | Self::Failed(reason) => out.write_str(reason),
            Self::Storage(error) => error.fmt(out),
            Self::Blob(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for OperatorError {}

impl From<BlobError> for OperatorError {
    fn from(error: BlobError) -> Self {
        Self::Blob(error)
    }
}

impl From<StorageError> for OperatorError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<UpdateError> for OperatorError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Storage(error) => Self::Storage(error),
            mismatch @ UpdateError::Mismatch { .. } => Self::Failed(mismatch.to_string()),
        }
    }
}
