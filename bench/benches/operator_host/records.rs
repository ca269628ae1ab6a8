//! Records in memory, as the host's storage calls see them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use common::types::{Record, Version};
use worker::host::{StorageCalls, StorageError, UpdateError};

#[derive(Default)]
pub struct Records(BTreeMap<String, Record>);

impl Records {
    fn put(&mut self, id: &str, value: Bytes) -> Version {
        let before = self.0.get(id).map_or(0, |record| record.version.number);
        let version = Version::write(before, 1);
        self.0.insert(id.to_owned(), Record { version, value });
        version
    }
}

#[async_trait]
impl StorageCalls for Records {
    async fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        self.0.get(id).cloned().ok_or(StorageError::NotFound)
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
        let found = self.0.get(id);
        if found.map(|record| &record.value) != old.as_ref() {
            return Err(UpdateError::Mismatch(found.cloned()));
        }
        Ok(self.put(id, new))
    }

    async fn update_if_version_is(
        &mut self,
        id: &str,
        old: Version,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        let found = self.0.get(id);
        if found.map_or(Version::NULL, |record| record.version) != old {
            return Err(UpdateError::Mismatch(found.cloned()));
        }
        Ok(self.put(id, new))
    }
}
