//! A host in memory, to run an operator in a unit test, and to see what it does when calls fail:
//!
//! ```
//! # use marionette_sdk::{Host, Item, OperatorError, Request};
//! # fn greet(request: &Request, host: &mut dyn Host) -> Result<String, OperatorError> {
//! #     host.write("last_greeted", request.input.as_bytes())?;
//! #     Ok(format!("Hello, {}!", request.input))
//! # }
//! use marionette_sdk::StorageFault;
//! use marionette_sdk::testing::{Call, MemoryHost, request};
//!
//! let mut host = MemoryHost::default();
//! assert_eq!(greet(&request("world", &[]), &mut host).unwrap(), "Hello, world!");
//! assert_eq!(host.text("last_greeted"), Some("world"));
//!
//! host.fail_next(Call::Write, "last_greeted", StorageFault::Overloaded);
//! assert!(greet(&request("nobody", &[]), &mut host).is_err());
//! assert_eq!(host.text("last_greeted"), Some("world"));
//! ```

use std::collections::BTreeMap;

use crate::error::{BlobError, BlobFault, StorageError, StorageFault, UpdateError};
use crate::host::{BlobReader, Host};
use crate::types::{Item, Level, Record, Request, Version};

/// A request of run 1, stage 0, task 0, attempt 1, without options, with one item of text for each of `items`.
pub fn request(input: &str, items: &[&str]) -> Request {
    Request {
        run: 1,
        attempt: 1,
        input: input.to_owned(),
        items: items.iter().map(|text| Item::from(*text)).collect(),
        ..Request::default()
    }
}

/// A kind of storage call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Host::read`].
    Read,
    /// [`Host::write`].
    Write,
    /// [`Host::update_if_value_is`] and [`Host::update_if_version_is`].
    Update,
}

/// What shall happen at a later call on a record.
#[derive(Clone, Debug)]
enum Mishap {
    Fault(Call, StorageFault),
    /// Somebody else writes this just before an update.
    Race(Vec<u8>),
}

/// Records in memory on one replica, numbered 1, and blobs, that nobody else uses; only the newest versions are kept.
#[derive(Clone, Debug, Default)]
pub struct MemoryHost {
    /// The records by id.
    pub records: BTreeMap<String, Record>,
    /// The blobs by URL; those that are not here are not granted.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// What [`Host::now`] returns.
    pub now_ms: u64,
    /// What was logged.
    pub lines: Vec<(Level, String)>,
    mishaps: Vec<(String, Mishap)>,
    /// What is left for each open reader.
    readers: BTreeMap<u64, Vec<u8>>,
    opened: u64,
    drawn: u64,
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

    /// The next call of this kind on the record fails and changes nothing. Several faults come in this order.
    pub fn fail_next(&mut self, call: Call, id: &str, fault: StorageFault) {
        self.mishaps
            .push((id.to_owned(), Mishap::Fault(call, fault)));
    }

    /// Just before the next update of the record somebody else writes this, so that the update finds another record
    /// than the operator knows. Several races come in this order, one at each update.
    pub fn lose_next_update(&mut self, id: &str, to: &str) {
        let value = to.as_bytes().to_vec();
        self.mishaps.push((id.to_owned(), Mishap::Race(value)));
    }

    /// The value of a record as text; `None` when it does not exist or is not UTF-8.
    pub fn text(&self, id: &str) -> Option<&str> {
        self.records.get(id).and_then(Record::text)
    }

    fn store(&mut self, id: &str, value: &[u8]) -> Version {
        let before = self.records.get(id);
        let version = Version {
            number: before.map_or(0, |record| record.version.number) + 1,
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

    /// What was to happen at this call.
    fn begin(&mut self, call: Call, id: &str) -> Result<(), StorageError> {
        let concerns = |(of, mishap): &(String, Mishap)| {
            of == id
                && match mishap {
                    Mishap::Fault(at, _) => *at == call,
                    Mishap::Race(_) => call == Call::Update,
                }
        };
        let Some(place) = self.mishaps.iter().position(concerns) else {
            return Ok(());
        };
        match self.mishaps.remove(place).1 {
            Mishap::Fault(_, fault) => Err(StorageError {
                id: id.to_owned(),
                fault,
            }),
            Mishap::Race(value) => {
                self.store(id, &value);
                Ok(())
            }
        }
    }

    fn update_if(
        &mut self,
        id: &str,
        is_as_tested: impl FnOnce(Option<&Record>) -> bool,
        new: &[u8],
    ) -> Result<Version, UpdateError> {
        self.begin(Call::Update, id).map_err(UpdateError::Storage)?;
        let found = self.records.get(id);
        if !is_as_tested(found) {
            return Err(UpdateError::Mismatch {
                id: id.to_owned(),
                found: found.cloned(),
            });
        }
        match found.map(|record| record.version) {
            None => Ok(self.store(id, new)),
            Some(tested) => {
                let step = tested.step + 1;
                Ok(self.put(id, Version { step, ..tested }, new))
            }
        }
    }

    fn blob(&self, url: &str) -> Result<&Vec<u8>, BlobError> {
        self.blobs.get(url).ok_or_else(|| BlobError {
            url: url.to_owned(),
            fault: BlobFault::NotGranted,
        })
    }
}

impl Host for MemoryHost {
    fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        self.begin(Call::Read, id)?;
        self.records.get(id).cloned().ok_or_else(|| StorageError {
            id: id.to_owned(),
            fault: StorageFault::NotFound,
        })
    }

    fn write(&mut self, id: &str, value: &[u8]) -> Result<Version, StorageError> {
        self.begin(Call::Write, id)?;
        Ok(self.store(id, value))
    }

    fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<&[u8]>,
        new: &[u8],
    ) -> Result<Version, UpdateError> {
        let is_old = |found: Option<&Record>| found.map(|record| record.value.as_slice()) == old;
        self.update_if(id, is_old, new)
    }

    fn update_if_version_is(
        &mut self,
        id: &str,
        old: Option<Version>,
        new: &[u8],
    ) -> Result<Version, UpdateError> {
        let is_old = |found: Option<&Record>| found.map(|record| record.version) == old;
        self.update_if(id, is_old, new)
    }

    fn blob_size(&mut self, url: &str) -> Result<u64, BlobError> {
        self.blob(url).map(|blob| blob.len() as u64)
    }

    fn open_blob(
        &mut self,
        url: &str,
        offset: u64,
        length: Option<u64>,
    ) -> Result<BlobReader, BlobError> {
        let blob = self.blob(url)?;
        let range = usize::try_from(offset)
            .ok()
            .and_then(|offset| blob.get(offset..));
        let Some(range) = range else {
            let url = url.to_owned();
            let fault = BlobFault::InvalidRange(blob.len() as u64);
            return Err(BlobError { url, fault });
        };
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.unwrap_or(range.len()).min(range.len());
        let left = range.iter().copied().take(length).collect();
        self.opened += 1;
        self.readers.insert(self.opened, left);
        Ok(BlobReader::new(self.opened, url))
    }

    fn read_blob(&mut self, reader: &BlobReader, bytes_max: u32) -> Result<Vec<u8>, BlobError> {
        let left = self.readers.entry(reader.id()).or_default();
        let rest = left.split_off(left.len().min(bytes_max as usize));
        Ok(std::mem::replace(left, rest))
    }

    fn close_blob(&mut self, reader: BlobReader) {
        self.readers.remove(&reader.id());
    }

    fn now(&mut self) -> u64 {
        self.now_ms
    }

    /// Counts: a test wants to know what comes.
    fn random(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn random_bytes(&mut self, count: u32) -> Vec<u8> {
        (0..count).map(|_| self.random().to_le_bytes()[0]).collect()
    }

    fn log(&mut self, level: Level, message: &str) {
        self.lines.push((level, message.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_that_loses_finds_what_the_other_wrote() {
        let mut host = MemoryHost::with_records(&[("k", "1")]);
        host.lose_next_update("k", "2");
        let lost = host.update_if_value_is("k", Some(b"1"), b"3");
        let Err(UpdateError::Mismatch { found, .. }) = lost else {
            panic!("{lost:?}")
        };
        assert_eq!(found.as_ref().and_then(Record::text), Some("2"));
        let found = found.map(|record| record.version);
        assert!(host.update_if_version_is("k", found, b"3").is_ok());
        assert_eq!(host.text("k"), Some("3"));
    }

    #[test]
    fn faults_come_in_order_at_their_own_calls() {
        let mut host = MemoryHost::with_records(&[("k", "1")]);
        host.fail_next(Call::Read, "k", StorageFault::Overloaded);
        host.fail_next(Call::Read, "k", StorageFault::Timeout);
        assert!(host.write("k", b"2").is_ok());
        let mut faults = Vec::new();
        while let Err(error) = host.read("k") {
            faults.push(error.fault);
        }
        assert_eq!(faults, [StorageFault::Overloaded, StorageFault::Timeout]);
    }

    #[test]
    fn a_range_of_a_blob_is_read_piece_by_piece() {
        let mut host = MemoryHost::default();
        host.blobs
            .insert("file:///a".to_owned(), b"abcdef".to_vec());
        let reader = host.open_blob("file:///a", 1, Some(4)).unwrap();
        assert_eq!(host.read_blob(&reader, 3).unwrap(), b"bcd");
        assert_eq!(host.read_blob(&reader, 3).unwrap(), b"e");
        assert_eq!(host.read_blob(&reader, 3).unwrap(), b"");
        host.close_blob(reader);
        let beyond = host.open_blob("file:///a", 7, None).unwrap_err();
        assert_eq!(beyond.fault, BlobFault::InvalidRange(6));
        assert_eq!(
            host.blob_size("file:///b").unwrap_err().fault,
            BlobFault::NotGranted
        );
    }
}
