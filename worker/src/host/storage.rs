//! What an operator's storage calls become: the trait that the session of a run implements.

use std::any::Any;

use async_trait::async_trait;
use bytes::Bytes;
use common::types::{Record, Version};
use thiserror::Error;

/// The storage as one run sees it. One task at a time uses it, one call at a time.
///
/// A call that is dropped half-way (the deadline passed, the run was cancelled) leaves the session usable; the
/// outcome of a dropped write is unknown.
///
/// [`Any`], so that the caller of a task gets its own type back:
/// `(storage as Box<dyn Any>).downcast::<Session>()`.
#[async_trait]
pub trait StorageCalls: Any + Send {
    /// The pinned version of the record, or its newest.
    async fn read(&mut self, id: &str) -> Result<Record, StorageError>;

    /// Makes `value` the newest version.
    async fn write(&mut self, id: &str, value: Bytes) -> Result<Version, StorageError>;

    /// Makes `new` the newest version if the newest value is `old` (absent: the record does not exist).
    async fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<Bytes>,
        new: Bytes,
    ) -> Result<Version, UpdateError>;

    /// Makes `new` the newest version if the newest is `old` (the null version: the record was never written).
    async fn update_if_version_is(
        &mut self,
        id: &str,
        old: Version,
        new: Bytes,
    ) -> Result<Version, UpdateError>;
}

/// Why a storage call failed; the cases of the contract (`storage-error` in `operators/wit`).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StorageError {
    #[error("not found")]
    NotFound,
    #[error("the version that this run sees was discarded: too many newer ones exist")]
    Discarded,
    #[error("invalid id: {0}")]
    InvalidId(String),
    #[error("the value exceeds {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("the storage is overloaded")]
    Overloaded,
    #[error("unavailable: {0}")]
    Unavailable(String),
    #[error("no answer in time; the outcome is unknown")]
    Timeout,
    #[error("the run was cancelled or has a newer attempt")]
    Cancelled,
    #[error("limit exceeded: {0}")]
    LimitExceeded(String),
    #[error("{0}")]
    Other(String),
}

impl StorageError {
    /// Whether the same call may succeed later, or at another replica.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::Unavailable(_) | Self::Timeout | Self::Other(_)
        )
    }
}

/// Why an update failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// The record is not as tested; holds the record found.
    #[error("the record is not as expected")]
    Mismatch(Option<Record>),
    #[error(transparent)]
    Storage(#[from] StorageError),
}
