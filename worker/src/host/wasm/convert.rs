//! Conversions between the contract's generated types and the worker's.

use bytes::Bytes;
use common::types::{Item, Record, Version};

use super::bindings::marionette::operator::types as wit;
use crate::host::OperatorRequest;
use crate::host::blob::BlobError;
use crate::host::error::OperatorFailure;
use crate::host::limits::{ERROR_TEXT_BYTES_MAX, cut};
use crate::host::storage::{StorageError, UpdateError};

impl From<OperatorRequest> for wit::Request {
    fn from(request: OperatorRequest) -> Self {
        Self {
            run: request.run,
            stage: request.stage,
            task: request.task,
            attempt: request.attempt,
            input: request.input,
            options: request.options.into_iter().collect(),
            items: request.items.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Item> for wit::Item {
    fn from(item: Item) -> Self {
        Self {
            key: item.key,
            value: item.value.into(),
        }
    }
}

impl From<wit::Item> for Item {
    fn from(item: wit::Item) -> Self {
        Self {
            key: item.key,
            value: Bytes::from(item.value),
        }
    }
}

impl From<Version> for wit::Version {
    fn from(version: Version) -> Self {
        Self {
            number: version.number,
            replica: version.replica,
            step: version.step,
        }
    }
}

impl From<wit::Version> for Version {
    fn from(version: wit::Version) -> Self {
        Self {
            number: version.number,
            replica: version.replica,
            step: version.step,
        }
    }
}

impl From<Record> for wit::Record {
    fn from(record: Record) -> Self {
        Self {
            version: record.version.into(),
            value: record.value.into(),
        }
    }
}

impl From<StorageError> for wit::StorageError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotFound => Self::NotFound,
            StorageError::Discarded => Self::Discarded,
            StorageError::InvalidId(reason) => Self::InvalidId(reason),
            StorageError::TooLarge { bytes_max } => Self::TooLarge(bytes_max),
            StorageError::Overloaded => Self::Overloaded,
            StorageError::Unavailable(reason) => Self::Unavailable(reason),
            StorageError::Timeout => Self::Timeout,
            StorageError::Cancelled => Self::Cancelled,
            StorageError::LimitExceeded(limit) => Self::LimitExceeded(limit),
            StorageError::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<wit::StorageError> for StorageError {
    fn from(error: wit::StorageError) -> Self {
        match error {
            wit::StorageError::NotFound => Self::NotFound,
            wit::StorageError::Discarded => Self::Discarded,
            wit::StorageError::InvalidId(reason) => Self::InvalidId(bounded(reason)),
            wit::StorageError::TooLarge(bytes_max) => Self::TooLarge { bytes_max },
            wit::StorageError::Overloaded => Self::Overloaded,
            wit::StorageError::Unavailable(reason) => Self::Unavailable(bounded(reason)),
            wit::StorageError::Timeout => Self::Timeout,
            wit::StorageError::Cancelled => Self::Cancelled,
            wit::StorageError::LimitExceeded(limit) => Self::LimitExceeded(bounded(limit)),
            wit::StorageError::Other(reason) => Self::Other(bounded(reason)),
        }
    }
}

impl From<UpdateError> for wit::UpdateError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Mismatch(found) => Self::Mismatch(found.map(Into::into)),
            UpdateError::Storage(error) => Self::Storage(error.into()),
        }
    }
}

impl From<BlobError> for wit::BlobError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotGranted => Self::NotGranted,
            BlobError::NotFound => Self::NotFound,
            BlobError::InvalidUrl(reason) => Self::InvalidUrl(reason),
            BlobError::InvalidRange { bytes } => Self::InvalidRange(bytes),
            BlobError::Unavailable(reason) => Self::Unavailable(reason),
            BlobError::Cancelled => Self::Cancelled,
            BlobError::LimitExceeded(limit) => Self::LimitExceeded(limit),
            BlobError::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<wit::BlobError> for BlobError {
    fn from(error: wit::BlobError) -> Self {
        match error {
            wit::BlobError::NotGranted => Self::NotGranted,
            wit::BlobError::NotFound => Self::NotFound,
            wit::BlobError::InvalidUrl(reason) => Self::InvalidUrl(bounded(reason)),
            wit::BlobError::InvalidRange(bytes) => Self::InvalidRange { bytes },
            wit::BlobError::Unavailable(reason) => Self::Unavailable(bounded(reason)),
            wit::BlobError::Cancelled => Self::Cancelled,
            wit::BlobError::LimitExceeded(limit) => Self::LimitExceeded(bounded(limit)),
            wit::BlobError::Other(reason) => Self::Other(bounded(reason)),
        }
    }
}

impl From<wit::OperatorError> for OperatorFailure {
    fn from(error: wit::OperatorError) -> Self {
        match error {
            wit::OperatorError::UnknownClass => {
                Self::Failed("its component named this class but does not know it".to_owned())
            }
            wit::OperatorError::InvalidRequest(reason) => Self::InvalidRequest(bounded(reason)),
            wit::OperatorError::Failed(reason) => Self::Failed(bounded(reason)),
            wit::OperatorError::Storage(failure) => Self::Storage {
                id: bounded(failure.id),
                error: failure.error.into(),
            },
            wit::OperatorError::Blob(failure) => Self::Blob {
                url: bounded(failure.url),
                error: failure.error.into(),
            },
        }
    }
}

/// A guest's text, which ends up in messages.
fn bounded(text: String) -> String {
    cut(text, ERROR_TEXT_BYTES_MAX)
}
