//! A host in memory, to run an operator in a unit test:
//!
//! ```
//! # use marionette_sdk::{Host, Item, OperatorError, Request};
//! # fn greet(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
//! #     host.write("last_greeted", request.input.as_bytes())?;
//! #     Ok(vec![Item::from(format!("Hello, {}!", request.input))])
//! # }
//! use marionette_sdk::testing::{MemoryHost, request};
//!
//! let mut host = MemoryHost::default();
//! let items = greet(&request("world", &[]), &mut host).unwrap();
//! assert_eq!(items, [Item::from("Hello, world!")]);
//! assert_eq!(host.text("last_greeted"), Some("world"));
//! ```

use std::collections::BTreeMap;

use crate::error::{StorageError, StorageFault, UpdateError};
use crate::host::Host;
use crate::types::{Item, Level, Record, Request, Version};

/// A request of run 1, stage 0, attempt 1, with one item of text for each of `items`.
pub fn request(input: &str, items: &[&str]) -> Request {
    Request {
        run: 1,
        stage: 0,
        attempt: 1,
        input: input.to_owned(),
        items: items.iter().map(|text| Item::from(*text)).collect(),
    }
}

/// Records in memory on one replica, numbered 1, that nobody else uses; only the newest versions are kept.
#[derive(Clone, Debug, Default)]
pub struct MemoryHost {
    /// The records by id.
    pub records: BTreeMap<String, Record>,
    /// What was logged.
    pub lines: Vec<(Level, String)>,
}

impl MemoryHost {
    /// With these records, each `(id, text)`.
    pub fn with_records(records: &[(&str, &str)]) -> Self {
        let mut host = Self::default();
        for (id, text) in records {
            host.store(id, text.as_bytes());
        }
        host
    }

    /// The value of a record as text; `None` when it does not exist or is not UTF-8.
    pub fn text(&self, id: &str) -> Option<&str> {
        self.records.get(id).and_then(Record::text)
    }

    fn store(&mut self, id: &str, value: &[u8]) -> Version {
        let number = self
            .records
            .get(id)
            .map_or(0, |record| record.version.number)
            + 1;
        let version = Version {
            number,
            replica: 1,
            step: 0,
        };
        self.put(id, version, value)
    }

    fn put(&mut self, id: &str, version: Version, value: &[u8]) -> Version {
        let value = value.to_vec();
        self.records
            .insert(id.to_owned(), Record { version, value });
        version
    }
}

impl Host for MemoryHost {
    fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        self.records.get(id).cloned().ok_or_else(|| StorageError {
            id: id.to_owned(),
            fault: StorageFault::NotFound,
        })
    }

    fn write(&mut self, id: &str, value: &[u8]) -> Result<Version, StorageError> {
        Ok(self.store(id, value))
    }

    fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<&[u8]>,
        new: &[u8],
    ) -> Result<Version, UpdateError> {
        let found = self.records.get(id);
        if found.map(|record| record.value.as_slice()) != old {
            return Err(UpdateError::Mismatch {
                id: id.to_owned(),
                found: found.cloned(),
            });
        }
        match found.map(|record| record.version) {
            None => Ok(self.store(id, new)),
            Some(tested) => {
                let version = Version {
                    step: tested.step + 1,
                    ..tested
                };
                Ok(self.put(id, version, new))
            }
        }
    }

    fn log(&mut self, level: Level, message: &str) {
        self.lines.push((level, message.to_owned()));
    }
}
