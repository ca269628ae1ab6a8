//! The WASM way across the boundary: generated bindings of the contract, and conversions from and to the SDK's
//! types. Called by what [`operators!`](crate::operators) makes; no operator names it.

use std::collections::BTreeMap;

use crate::error::{BlobError, BlobFault, OperatorError, StorageError, StorageFault, UpdateError};
use crate::host::{BlobReader, Host};
use crate::registration::Operator;
use crate::types::{Item, Level, Record, Request, Version};

/// Generated from the contract.
#[allow(missing_docs, unsafe_code)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "operator",
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "marionette_sdk::wasm::bindings",
    });
}

use bindings::marionette::operator::{blob, clock, logging, random, storage, types as wit};

/// The class names of a library.
pub fn classes(operators: &[(&str, Operator)]) -> Vec<String> {
    operators
        .iter()
        .map(|(class, _)| (*class).to_owned())
        .collect()
}

/// Runs one operator of a library.
pub fn run(
    operators: &[(&str, Operator)],
    class: &str,
    request: wit::Request,
) -> Result<Vec<wit::Item>, wit::OperatorError> {
    report_panics();
    let request = Request {
        run: request.run,
        stage: request.stage,
        task: request.task,
        attempt: request.attempt,
        input: request.input,
        options: request.options,
        items: request.items.into_iter().map(Item::from).collect(),
    };
    crate::registration::run(operators, class, &request, &mut Imports::default())
        .map(|items| items.into_iter().map(wit::Item::from).collect())
        .map_err(wit::OperatorError::from)
}

/// A panic ends in a trap that says nothing; the log line before it is what the worker shows with the trap.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        logging::log(wit::Level::Error, &panic.to_string());
    }));
}

/// The host behind the component's imports.
#[derive(Default)]
struct Imports {
    readers: BTreeMap<u64, blob::Reader>,
    opened: u64,
}

impl Host for Imports {
    fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        storage::read(id)
            .map(Record::from)
            .map_err(|error| storage_error(id, error))
    }

    fn write(&mut self, id: &str, value: &[u8]) -> Result<Version, StorageError> {
        storage::write(id, value)
            .map(Version::from)
            .map_err(|error| storage_error(id, error))
    }

    fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<&[u8]>,
        new: &[u8],
    ) -> Result<Version, UpdateError> {
        updated(id, storage::update_if_value_is(id, old, new))
    }

    fn update_if_version_is(
        &mut self,
        id: &str,
        old: Option<Version>,
        new: &[u8],
    ) -> Result<Version, UpdateError> {
        let old = old.map(wit::Version::from);
        updated(id, storage::update_if_version_is(id, old, new))
    }

    fn blob_size(&mut self, url: &str) -> Result<u64, BlobError> {
        blob::size(url).map_err(|error| blob_error(url, error))
    }

    fn open_blob(
        &mut self,
        url: &str,
        offset: u64,
        length: Option<u64>,
    ) -> Result<BlobReader, BlobError> {
        let reader = blob::open(url, offset, length).map_err(|error| blob_error(url, error))?;
        self.opened += 1;
        self.readers.insert(self.opened, reader);
        Ok(BlobReader::new(self.opened, url))
    }

    fn read_blob(&mut self, reader: &BlobReader, bytes_max: u32) -> Result<Vec<u8>, BlobError> {
        match self.readers.get(&reader.id()) {
            Some(open) => open
                .read(bytes_max)
                .map_err(|error| blob_error(reader.url(), error)),
            // It was made by another host: nothing is left of it here.
            None => Ok(Vec::new()),
        }
    }

    fn close_blob(&mut self, reader: BlobReader) {
        self.readers.remove(&reader.id());
    }

    fn now(&mut self) -> u64 {
        clock::now()
    }

    fn random(&mut self) -> u64 {
        random::number()
    }

    fn random_bytes(&mut self, count: u32) -> Vec<u8> {
        random::bytes(count)
    }

    fn log(&mut self, level: Level, message: &str) {
        let level = match level {
            Level::Debug => wit::Level::Debug,
            Level::Info => wit::Level::Info,
            Level::Warn => wit::Level::Warn,
            Level::Error => wit::Level::Error,
        };
        logging::log(level, message);
    }
}

fn updated(
    id: &str,
    result: Result<wit::Version, wit::UpdateError>,
) -> Result<Version, UpdateError> {
    result.map(Version::from).map_err(|error| match error {
        wit::UpdateError::Mismatch(found) => UpdateError::Mismatch {
            id: id.to_owned(),
            found: found.map(Record::from),
        },
        wit::UpdateError::Storage(error) => UpdateError::Storage(storage_error(id, error)),
    })
}

fn blob_error(url: &str, error: wit::BlobError) -> BlobError {
    let fault = match error {
        wit::BlobError::NotGranted => BlobFault::NotGranted,
        wit::BlobError::NotFound => BlobFault::NotFound,
        wit::BlobError::InvalidUrl(reason) => BlobFault::InvalidUrl(reason),
        wit::BlobError::InvalidRange(bytes) => BlobFault::InvalidRange(bytes),
        wit::BlobError::Unavailable(reason) => BlobFault::Unavailable(reason),
        wit::BlobError::Cancelled => BlobFault::Cancelled,
        wit::BlobError::LimitExceeded(limit) => BlobFault::LimitExceeded(limit),
        wit::BlobError::Other(reason) => BlobFault::Other(reason),
    };
    BlobError {
        url: url.to_owned(),
        fault,
    }
}

fn storage_error(id: &str, error: wit::StorageError) -> StorageError {
    let fault = match error {
        wit::StorageError::NotFound => StorageFault::NotFound,
        wit::StorageError::Discarded => StorageFault::Discarded,
        wit::StorageError::InvalidId(reason) => StorageFault::InvalidId(reason),
        wit::StorageError::TooLarge(bytes_max) => StorageFault::TooLarge(bytes_max),
        wit::StorageError::Overloaded => StorageFault::Overloaded,
        wit::StorageError::Unavailable(reason) => StorageFault::Unavailable(reason),
        wit::StorageError::Timeout => StorageFault::Timeout,
        wit::StorageError::Cancelled => StorageFault::Cancelled,
        wit::StorageError::LimitExceeded(limit) => StorageFault::LimitExceeded(limit),
        wit::StorageError::Other(reason) => StorageFault::Other(reason),
    };
    StorageError {
        id: id.to_owned(),
        fault,
    }
}

impl From<StorageFault> for wit::StorageError {
    fn from(fault: StorageFault) -> Self {
        match fault {
            StorageFault::NotFound => Self::NotFound,
            StorageFault::Discarded => Self::Discarded,
            StorageFault::InvalidId(reason) => Self::InvalidId(reason),
            StorageFault::TooLarge(bytes_max) => Self::TooLarge(bytes_max),
            StorageFault::Overloaded => Self::Overloaded,
            StorageFault::Unavailable(reason) => Self::Unavailable(reason),
            StorageFault::Timeout => Self::Timeout,
            StorageFault::Cancelled => Self::Cancelled,
            StorageFault::LimitExceeded(limit) => Self::LimitExceeded(limit),
            StorageFault::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<BlobFault> for wit::BlobError {
    fn from(fault: BlobFault) -> Self {
        match fault {
            BlobFault::NotGranted => Self::NotGranted,
            BlobFault::NotFound => Self::NotFound,
            BlobFault::InvalidUrl(reason) => Self::InvalidUrl(reason),
            BlobFault::InvalidRange(bytes) => Self::InvalidRange(bytes),
            BlobFault::Unavailable(reason) => Self::Unavailable(reason),
            BlobFault::Cancelled => Self::Cancelled,
            BlobFault::LimitExceeded(limit) => Self::LimitExceeded(limit),
            BlobFault::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<OperatorError> for wit::OperatorError {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::UnknownClass => Self::UnknownClass,
            OperatorError::InvalidRequest(reason) => Self::InvalidRequest(reason),
            OperatorError::Failed(reason) => Self::Failed(reason),
            OperatorError::Storage(error) => Self::Storage(wit::StorageFailure {
                id: error.id,
                error: error.fault.into(),
            }),
            OperatorError::Blob(error) => Self::Blob(wit::BlobFailure {
                url: error.url,
                error: error.fault.into(),
            }),
        }
    }
}

impl From<wit::Item> for Item {
    fn from(item: wit::Item) -> Self {
        Self {
            key: item.key,
            value: item.value,
        }
    }
}

impl From<Item> for wit::Item {
    fn from(item: Item) -> Self {
        Self {
            key: item.key,
            value: item.value,
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

impl From<Version> for wit::Version {
    fn from(version: Version) -> Self {
        Self {
            number: version.number,
            replica: version.replica,
            step: version.step,
        }
    }
}

impl From<wit::Record> for Record {
    fn from(record: wit::Record) -> Self {
        Self {
            version: record.version.into(),
            value: record.value,
        }
    }
}
