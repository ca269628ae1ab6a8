//! Conversions between the SDK's types, which cross the native boundary, and the worker's.

use bytes::Bytes;
use common::types::{Item, Record, Version};
use marionette_sdk as sdk;

use crate::host::OperatorRequest;
use crate::host::blob::BlobError;
use crate::host::error::OperatorFailure;
use crate::host::limits::{ERROR_TEXT_BYTES_MAX, cut};
use crate::host::storage::{StorageError, UpdateError};

pub(super) fn request(request: OperatorRequest) -> sdk::Request {
    let item = |item: Item| sdk::Item {
        key: item.key,
        value: item.value.into(),
    };
    sdk::Request {
        run: request.run,
        stage: request.stage,
        task: request.task,
        attempt: request.attempt,
        input: request.input,
        options: request.options.into_iter().collect(),
        items: request.items.into_iter().map(item).collect(),
    }
}

pub(super) fn item(item: sdk::Item) -> Item {
    Item {
        key: item.key,
        value: Bytes::from(item.value),
    }
}

pub(super) fn version(version: Version) -> sdk::Version {
    sdk::Version {
        number: version.number,
        replica: version.replica,
        step: version.step,
    }
}

pub(super) fn version_of(version: sdk::Version) -> Version {
    Version {
        number: version.number,
        replica: version.replica,
        step: version.step,
    }
}

pub(super) fn record(record: Record) -> sdk::Record {
    sdk::Record {
        version: version(record.version),
        value: record.value.into(),
    }
}

pub(super) fn storage_error(id: &str, error: StorageError) -> sdk::StorageError {
    let fault = match error {
        StorageError::NotFound => sdk::StorageFault::NotFound,
        StorageError::Discarded => sdk::StorageFault::Discarded,
        StorageError::InvalidId(reason) => sdk::StorageFault::InvalidId(reason),
        StorageError::TooLarge { bytes_max } => sdk::StorageFault::TooLarge(bytes_max),
        StorageError::Overloaded => sdk::StorageFault::Overloaded,
        StorageError::Unavailable(reason) => sdk::StorageFault::Unavailable(reason),
        StorageError::Timeout => sdk::StorageFault::Timeout,
        StorageError::Cancelled => sdk::StorageFault::Cancelled,
        StorageError::LimitExceeded(limit) => sdk::StorageFault::LimitExceeded(limit),
        StorageError::Other(reason) => sdk::StorageFault::Other(reason),
    };
    sdk::StorageError {
        id: id.to_owned(),
        fault,
    }
}

pub(super) fn update_error(id: &str, error: UpdateError) -> sdk::UpdateError {
    match error {
        UpdateError::Mismatch(found) => sdk::UpdateError::Mismatch {
            id: id.to_owned(),
            found: found.map(record),
        },
        UpdateError::Storage(error) => sdk::UpdateError::Storage(storage_error(id, error)),
    }
}

pub(super) fn blob_error(url: &str, error: BlobError) -> sdk::BlobError {
    let fault = match error {
        BlobError::NotGranted => sdk::BlobFault::NotGranted,
        BlobError::NotFound => sdk::BlobFault::NotFound,
        BlobError::InvalidUrl(reason) => sdk::BlobFault::InvalidUrl(reason),
        BlobError::InvalidRange { bytes } => sdk::BlobFault::InvalidRange(bytes),
        BlobError::Unavailable(reason) => sdk::BlobFault::Unavailable(reason),
        BlobError::Cancelled => sdk::BlobFault::Cancelled,
        BlobError::LimitExceeded(limit) => sdk::BlobFault::LimitExceeded(limit),
        BlobError::Other(reason) => sdk::BlobFault::Other(reason),
    };
    sdk::BlobError {
        url: url.to_owned(),
        fault,
    }
}

pub(super) fn failure(error: sdk::OperatorError) -> OperatorFailure {
    match error {
        sdk::OperatorError::UnknownClass => {
            OperatorFailure::Failed("its library named this class but does not know it".to_owned())
        }
        sdk::OperatorError::InvalidRequest(reason) => {
            OperatorFailure::InvalidRequest(bounded(reason))
        }
        sdk::OperatorError::Failed(reason) => OperatorFailure::Failed(bounded(reason)),
        sdk::OperatorError::Storage(error) => OperatorFailure::Storage {
            id: bounded(error.id),
            error: fault(error.fault),
        },
        sdk::OperatorError::Blob(error) => OperatorFailure::Blob {
            url: bounded(error.url),
            error: blob_fault(error.fault),
        },
    }
}

fn fault(fault: sdk::StorageFault) -> StorageError {
    match fault {
        sdk::StorageFault::NotFound => StorageError::NotFound,
        sdk::StorageFault::Discarded => StorageError::Discarded,
        sdk::StorageFault::InvalidId(reason) => StorageError::InvalidId(bounded(reason)),
        sdk::StorageFault::TooLarge(bytes_max) => StorageError::TooLarge { bytes_max },
        sdk::StorageFault::Overloaded => StorageError::Overloaded,
        sdk::StorageFault::Unavailable(reason) => StorageError::Unavailable(bounded(reason)),
        sdk::StorageFault::Timeout => StorageError::Timeout,
        sdk::StorageFault::Cancelled => StorageError::Cancelled,
        sdk::StorageFault::LimitExceeded(limit) => StorageError::LimitExceeded(bounded(limit)),
        sdk::StorageFault::Other(reason) => StorageError::Other(bounded(reason)),
    }
}

fn blob_fault(fault: sdk::BlobFault) -> BlobError {
    match fault {
        sdk::BlobFault::NotGranted => BlobError::NotGranted,
        sdk::BlobFault::NotFound => BlobError::NotFound,
        sdk::BlobFault::InvalidUrl(reason) => BlobError::InvalidUrl(bounded(reason)),
        sdk::BlobFault::InvalidRange(bytes) => BlobError::InvalidRange { bytes },
        sdk::BlobFault::Unavailable(reason) => BlobError::Unavailable(bounded(reason)),
        sdk::BlobFault::Cancelled => BlobError::Cancelled,
        sdk::BlobFault::LimitExceeded(limit) => BlobError::LimitExceeded(bounded(limit)),
        sdk::BlobFault::Other(reason) => BlobError::Other(bounded(reason)),
    }
}

/// A guest's text, which ends up in messages.
fn bounded(text: String) -> String {
    cut(text, ERROR_TEXT_BYTES_MAX)
}
