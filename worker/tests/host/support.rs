//! A storage in memory, and short ways to run an operator on it.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use common::types::{Item, Record, Version};
use worker::host::{
    HostConfig, OperatorError, OperatorFailure, OperatorHost, OperatorRequest, StorageCalls,
    StorageError, UpdateError,
};

/// Long enough never to be the reason of a failure.
pub const PLENTY: Duration = Duration::from_mins(1);

/// Records in memory; `silent` ones are never answered for.
#[derive(Default)]
pub struct MemoryStorage {
    pub records: BTreeMap<String, Record>,
}

/// A record of this id is never answered for.
pub const SILENT: &str = "silent";

impl MemoryStorage {
    pub fn boxed(records: &[(&str, &str)]) -> Box<dyn StorageCalls> {
        let mut storage = Self::default();
        for (id, value) in records {
            storage.put(id, Bytes::from((*value).to_owned()));
        }
        Box::new(storage)
    }

    fn put(&mut self, id: &str, value: Bytes) -> Version {
        let highest = self
            .records
            .get(id)
            .map_or(0, |record| record.version.number);
        let version = Version::write(highest, 1);
        self.records
            .insert(id.to_owned(), Record { version, value });
        version
    }

    async fn update_if(
        &mut self,
        id: &str,
        is_as_tested: impl FnOnce(Option<&Record>) -> bool + Send,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        answer(id).await;
        let found = self.records.get(id).cloned();
        if !is_as_tested(found.as_ref()) {
            return Err(UpdateError::Mismatch(found));
        }
        let Some(record) = self.records.get_mut(id) else {
            return Ok(self.put(id, new));
        };
        record.version = record.version.successor();
        record.value = new;
        Ok(record.version)
    }
}

async fn answer(id: &str) {
    if id == SILENT {
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl StorageCalls for MemoryStorage {
    async fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        answer(id).await;
        self.records.get(id).cloned().ok_or(StorageError::NotFound)
    }

    async fn write(&mut self, id: &str, value: Bytes) -> Result<Version, StorageError> {
        answer(id).await;
        Ok(self.put(id, value))
    }

    async fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<Bytes>,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        let is_old = |found: Option<&Record>| found.map(|record| &record.value) == old.as_ref();
        self.update_if(id, is_old, new).await
    }

    async fn update_if_version_is(
        &mut self,
        id: &str,
        old: Version,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        let is_old =
            |found: Option<&Record>| found.map_or(Version::NULL, |record| record.version) == old;
        self.update_if(id, is_old, new).await
    }
}

/// The storage that came back with a result, to look into.
pub fn records(storage: Box<dyn StorageCalls>) -> BTreeMap<String, Record> {
    let storage: Box<dyn Any> = storage;
    let storage = storage.downcast::<MemoryStorage>();
    storage.map(|storage| storage.records).unwrap_or_default()
}

pub fn request(class: &str, input: &str, items: &[&str]) -> OperatorRequest {
    OperatorRequest {
        class: class.to_owned(),
        run: 7,
        attempt: 1,
        input: input.to_owned(),
        items: items
            .iter()
            .map(|text| Item::plain((*text).to_owned()))
            .collect(),
        ..OperatorRequest::default()
    }
}

pub async fn host(directory: &Path, allow_native: bool) -> OperatorHost {
    let config = HostConfig {
        directory: Some(directory.to_owned()),
        allow_native,
        slots: 2,
        ..HostConfig::default()
    };
    OperatorHost::start(config).await.expect("the host starts")
}

/// Runs on no records, with plenty of time.
pub async fn run(host: &OperatorHost, class: &str) -> Result<Vec<Item>, OperatorError> {
    let (result, _) = host
        .run(request(class, "", &[]), MemoryStorage::boxed(&[]), PLENTY)
        .await;
    result
}

pub async fn failure(host: &OperatorHost, class: &str) -> OperatorFailure {
    run(host, class).await.expect_err("the task fails").failure
}

/// Ends the test when something that must not wait does.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PLENTY, future)
        .await
        .expect("it ends in bounded time")
}
