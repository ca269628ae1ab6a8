//! What a component's calls work on while it runs one task: the session, blobs, time and chance, the log, and the
//! memory it may use.

use bytes::Bytes;
use common::types::Version;
use marionette_sdk::Level;
use wasmtime::ResourceLimiter;
use wasmtime::component::Resource;

use super::bindings::marionette::operator::{blob, clock, logging, random, storage, types as wit};
use crate::host::blob::BlobRange;
use crate::host::limits::TABLE_ELEMENTS_MAX;
use crate::host::remote::RemoteCalls;
use crate::host::surroundings::Surroundings;
use crate::host::task_log::TaskLog;

/// The data of one store.
pub(super) struct TaskState {
    calls: RemoteCalls,
    surroundings: Surroundings,
    log: TaskLog,
    memory: MemoryUse,
}

/// A reader of a blob, of which only the number is on this side.
pub struct BlobReader;

impl TaskState {
    pub(super) fn new(
        calls: RemoteCalls,
        surroundings: Surroundings,
        log: TaskLog,
        memory: MemoryUse,
    ) -> Self {
        Self {
            calls,
            surroundings,
            log,
            memory,
        }
    }

    pub(super) fn memory(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.memory
    }

    pub(super) fn is_out_of_memory(&self) -> bool {
        self.memory.exceeded
    }

    pub(super) fn last_error(&self) -> Option<&str> {
        self.log.last_error()
    }
}

/// Counts all linear memories of a task together.
pub(super) struct MemoryUse {
    bytes: usize,
    bytes_max: usize,
    exceeded: bool,
}

impl MemoryUse {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: 0,
            bytes_max,
            exceeded: false,
        }
    }
}

impl ResourceLimiter for MemoryUse {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.bytes_max {
            self.exceeded = true;
            return Ok(false);
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

impl wit::Host for TaskState {}

impl storage::Host for TaskState {
    async fn read(&mut self, id: String) -> Result<wit::Record, wit::StorageError> {
        let record = self.calls.read(id).await;
        record.map(Into::into).map_err(Into::into)
    }

    async fn write(
        &mut self,
        id: String,
        value: Vec<u8>,
    ) -> Result<wit::Version, wit::StorageError> {
        let version = self.calls.write(id, Bytes::from(value)).await;
        version.map(Into::into).map_err(Into::into)
    }

    async fn update_if_value_is(
        &mut self,
        id: String,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<wit::Version, wit::UpdateError> {
        let (old, new) = (old.map(Bytes::from), Bytes::from(new));
        let version = self.calls.update_if_value_is(id, old, new).await;
        version.map(Into::into).map_err(Into::into)
    }

    async fn update_if_version_is(
        &mut self,
        id: String,
        old: Option<wit::Version>,
        new: Vec<u8>,
    ) -> Result<wit::Version, wit::UpdateError> {
        let old = old.map_or(Version::NULL, Version::from);
        let version = self.calls.update_if_version_is(id, old, Bytes::from(new));
        version.await.map(Into::into).map_err(Into::into)
    }
}

impl blob::Host for TaskState {
    async fn size(&mut self, url: String) -> Result<u64, wit::BlobError> {
        self.calls.blob_size(url).await.map_err(Into::into)
    }

    async fn open(
        &mut self,
        url: String,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Resource<BlobReader>, wit::BlobError> {
        let range = BlobRange { offset, length };
        let reader = self.calls.open_blob(url, range).await?;
        let number = u32::try_from(reader).map_err(|_| {
            wit::BlobError::LimitExceeded("a task opens at most 4,294,967,295 blobs".to_owned())
        })?;
        Ok(Resource::new_own(number))
    }
}

impl blob::HostReader for TaskState {
    async fn read(
        &mut self,
        reader: Resource<BlobReader>,
        bytes_max: u32,
    ) -> Result<Vec<u8>, wit::BlobError> {
        let bytes = self.calls.read_blob(reader.rep().into(), bytes_max).await;
        bytes.map(Into::into).map_err(Into::into)
    }

    async fn drop(&mut self, reader: Resource<BlobReader>) -> wasmtime::Result<()> {
        self.calls.close_blob(reader.rep().into()).await;
        Ok(())
    }
}

impl clock::Host for TaskState {
    async fn now(&mut self) -> u64 {
        self.surroundings.now()
    }
}

impl random::Host for TaskState {
    async fn number(&mut self) -> u64 {
        self.surroundings.random()
    }

    async fn bytes(&mut self, count: u32) -> Vec<u8> {
        self.surroundings.random_bytes(count)
    }
}

impl logging::Host for TaskState {
    async fn log(&mut self, level: wit::Level, message: String) {
        let level = match level {
            wit::Level::Debug => Level::Debug,
            wit::Level::Info => Level::Info,
            wit::Level::Warn => Level::Warn,
            wit::Level::Error => Level::Error,
        };
        self.log.line(level, message);
    }
}
