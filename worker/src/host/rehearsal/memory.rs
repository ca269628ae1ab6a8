//! Records in memory, on which an operator runs without a cluster, and what shall go wrong with them. The same rules as
//! `marionette_sdk::testing::MemoryHost`, behind the worker's own trait.
//!
//! Absent: pins (nobody else writes but for a [`Fault::Race`], which an update then sees as in a cluster).

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use common::types::{Record, ReplicaId, Version};

use crate::host::storage::{StorageCalls, StorageError, UpdateError};

/// The one replica of all records.
const REPLICA: ReplicaId = 1;
/// As the contract bounds them.
const ID_BYTES_MAX: usize = 1_024;

/// A kind of storage call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    /// By value and by version.
    Update,
}

/// What shall happen at a later call on a record. Several come in their order, one at each call that they concern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next call of this kind fails and changes nothing.
    Fail {
        call: Call,
        id: String,
        error: StorageError,
    },
    /// Just before the next update somebody else writes this.
    Race { id: String, value: Bytes },
}

impl Fault {
    fn concerns(&self, call: Call, id: &str) -> bool {
        match self {
            Self::Fail {
                call: at, id: of, ..
            } => *at == call && of == id,
            Self::Race { id: of, .. } => call == Call::Update && of == id,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail { call, id, .. } => {
                let call = match call {
                    Call::Read => "read",
                    Call::Write => "write",
                    Call::Update => "update",
                };
                write!(out, "a {call} of {id:?} that fails")
            }
            Self::Race { id, .. } => write!(out, "an update of {id:?} that is lost"),
        }
    }
}

/// The storage of one attempt.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    pub records: BTreeMap<String, Record>,
    /// Those that have not happened yet.
    pub faults: Vec<Fault>,
}

impl MemoryStorage {
    /// With these records, each written once.
    pub fn new(records: &BTreeMap<String, Bytes>, faults: Vec<Fault>) -> Self {
        let mut storage = Self {
            records: BTreeMap::new(),
            faults,
        };
        for (id, value) in records {
            storage.put(id, value.clone());
        }
        storage
    }

    /// With these records of text, and without faults.
    pub fn of(records: &[(&str, &str)]) -> Self {
        let owned = |(id, text): &(&str, &str)| ((*id).to_owned(), Bytes::from((*text).to_owned()));
        Self::new(&records.iter().map(owned).collect(), Vec::new())
    }

    /// The storage that came back with a result; `None` when it is of another type.
    pub fn back(storage: Box<dyn StorageCalls>) -> Option<Self> {
        let storage: Box<dyn Any> = storage;
        storage.downcast::<Self>().ok().map(|storage| *storage)
    }

    fn put(&mut self, id: &str, value: Bytes) -> Version {
        let highest = self.records.get(id);
        let version = Version::write(highest.map_or(0, |record| record.version.number), REPLICA);
        self.records
            .insert(id.to_owned(), Record { version, value });
        version
    }

    /// What was to happen at this call.
    fn begin(&mut self, call: Call, id: &str) -> Result<(), StorageError> {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            let reason = format!("an id has 1 to {ID_BYTES_MAX} bytes, not {}", id.len());
            return Err(StorageError::InvalidId(reason));
        }
        let place = self
            .faults
            .iter()
            .position(|fault| fault.concerns(call, id));
        match place.map(|place| self.faults.remove(place)) {
            None => Ok(()),
            Some(Fault::Fail { error, .. }) => Err(error),
            Some(Fault::Race { value, .. }) => {
                self.put(id, value);
                Ok(())
            }
        }
    }

    fn update_if(
        &mut self,
        id: &str,
        is_as_tested: impl FnOnce(Option<&Record>) -> bool,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        self.begin(Call::Update, id)?;
        if !is_as_tested(self.records.get(id)) {
            return Err(UpdateError::Mismatch(self.records.get(id).cloned()));
        }
        let Some(record) = self.records.get_mut(id) else {
            return Ok(self.put(id, new));
        };
        record.version = record.version.successor();
        record.value = new;
        Ok(record.version)
    }
}

#[async_trait]
impl StorageCalls for MemoryStorage {
    async fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        self.begin(Call::Read, id)?;
        self.records.get(id).cloned().ok_or(StorageError::NotFound)
    }

    async fn write(&mut self, id: &str, value: Bytes) -> Result<Version, StorageError> {
        self.begin(Call::Write, id)?;
        Ok(self.put(id, value))
    }

    async fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<Bytes>,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        let is_old = |found: Option<&Record>| found.map(|record| &record.value) == old.as_ref();
        self.update_if(id, is_old, new)
    }

    async fn update_if_version_is(
        &mut self,
        id: &str,
        old: Version,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        let is_old =
            |found: Option<&Record>| found.map_or(Version::NULL, |record| record.version) == old;
        self.update_if(id, is_old, new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(faults: Vec<Fault>) -> MemoryStorage {
        let records = BTreeMap::from([("k".to_owned(), Bytes::from("1"))]);
        MemoryStorage::new(&records, faults)
    }

    #[tokio::test]
    async fn an_update_that_loses_finds_what_the_other_wrote() {
        let race = Fault::Race {
            id: "k".to_owned(),
            value: Bytes::from("2"),
        };
        let mut storage = storage(vec![race]);
        let lost = storage.update_if_value_is("k", Some("1".into()), "3".into());
        let Err(UpdateError::Mismatch(Some(found))) = lost.await else {
            panic!()
        };
        assert_eq!(found.value, "2");
        let won = storage.update_if_version_is("k", found.version, "3".into());
        assert_eq!(won.await, Ok(found.version.successor()));
        assert_eq!(storage.faults, []);
    }

    #[tokio::test]
    async fn faults_come_in_order_at_their_own_calls() {
        let fault = |error| Fault::Fail {
            call: Call::Read,
            id: "k".to_owned(),
            error,
        };
        let faults = vec![
            fault(StorageError::Overloaded),
            fault(StorageError::Timeout),
        ];
        let mut storage = storage(faults);
        assert!(storage.write("k", "2".into()).await.is_ok());
        assert_eq!(storage.read("k").await, Err(StorageError::Overloaded));
        assert_eq!(storage.read("k").await, Err(StorageError::Timeout));
        assert_eq!(storage.read("k").await.unwrap().value, "2");
    }

    #[tokio::test]
    async fn ids_have_the_bounds_of_the_contract() {
        for id in ["", &"x".repeat(ID_BYTES_MAX + 1)] {
            let refused = storage(Vec::new()).read(id).await;
            assert!(matches!(refused, Err(StorageError::InvalidId(_))));
        }
    }
}
