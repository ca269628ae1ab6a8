//! The WASM way across the boundary: generated bindings of the contract, and conversions from and to the SDK's
//! types. Called by what [`operators!`](crate::operators) makes; no operator names it.

use crate::error::{OperatorError, StorageError, StorageFault, UpdateError};
use crate::host::Host;
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

use bindings::marionette::operator::{logging, storage, types as wit};

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
        attempt: request.attempt,
        input: request.input,
        items: request.items.into_iter().map(Item::from).collect(),
    };
    crate::registration::run(operators, class, &request, &mut Imports)
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
struct Imports;

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
        storage::update_if_value_is(id, old, new)
            .map(Version::from)
            .map_err(|error| match error {
                wit::UpdateError::Mismatch(found) => UpdateError::Mismatch {
                    id: id.to_owned(),
                    found: found.map(Record::from),
                },
                wit::UpdateError::Storage(error) => UpdateError::Storage(storage_error(id, error)),
            })
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

impl From<wit::Record> for Record {
    fn from(record: wit::Record) -> Self {
        Self {
            version: record.version.into(),
            value: record.value,
        }
    }
}
