//! One component in the real host, and a storage in memory on which an update can lose.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use common::types::{Item, Record, Version};
use worker::host::{
    HostConfig, OperatorError, OperatorHost, OperatorRequest, StorageCalls, StorageError,
    UpdateError,
};

/// Long enough never to be the reason of a failure.
const PLENTY: Duration = Duration::from_mins(5);

/// A host with one component.
pub struct Loaded {
    host: OperatorHost,
    _directory: tempfile::TempDir,
}

impl Loaded {
    pub async fn from(component: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join(component.file_name().unwrap());
        std::fs::copy(component, copy).unwrap();
        let config = HostConfig {
            directory: Some(directory.path().to_owned()),
            slots: 2,
            ..HostConfig::default()
        };
        let host = OperatorHost::start(config).await.unwrap();
        assert_eq!(host.problems(), []);
        Self {
            host,
            _directory: directory,
        }
    }

    pub async fn run(
        &self,
        class: &str,
        input: &str,
        storage: MemoryStorage,
    ) -> (Result<Vec<Item>, OperatorError>, MemoryStorage) {
        let request = OperatorRequest {
            class: class.to_owned(),
            run: 7,
            attempt: 1,
            input: input.to_owned(),
            ..OperatorRequest::default()
        };
        let (result, storage) = self.host.run(request, Box::new(storage), PLENTY).await;
        let storage: Box<dyn Any> = storage;
        (result, *storage.downcast::<MemoryStorage>().unwrap())
    }
}

/// Records in memory. Updates of ids that end in `overloaded` fail.
#[derive(Default)]
pub struct MemoryStorage {
    records: BTreeMap<String, Record>,
    /// Just before the next update of these somebody else adds 1.
    races: BTreeSet<String>,
}

impl MemoryStorage {
    pub fn with(records: &[(&str, &str)], races: &[&str]) -> Self {
        let mut storage = Self::default();
        for (id, text) in records {
            storage.put(id, Bytes::from((*text).to_owned()));
        }
        storage.races = races.iter().map(|id| (*id).to_owned()).collect();
        storage
    }

    pub fn text(&self, id: &str) -> String {
        String::from_utf8(self.records[id].value.to_vec()).unwrap()
    }

    fn put(&mut self, id: &str, value: Bytes) -> Version {
        let before = self.records.get(id);
        let version = Version::write(before.map_or(0, |record| record.version.number), 1);
        self.records
            .insert(id.to_owned(), Record { version, value });
        version
    }

    fn update_if(
        &mut self,
        id: &str,
        is_as_tested: impl FnOnce(Option<&Record>) -> bool,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        if id.ends_with("overloaded") {
            return Err(UpdateError::Storage(StorageError::Overloaded));
        }
        if self.races.remove(id) {
            let count: u64 = self.text(id).parse().unwrap();
            self.put(id, Bytes::from((count + 1).to_string()));
        }
        let found = self.records.get(id);
        if is_as_tested(found) {
            Ok(self.put(id, new))
        } else {
            Err(UpdateError::Mismatch(found.cloned()))
        }
    }
}

#[async_trait]
impl StorageCalls for MemoryStorage {
    async fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        self.records.get(id).cloned().ok_or(StorageError::NotFound)
    }

    async fn write(&mut self, id: &str, value: Bytes) -> Result<Version, StorageError> {
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
