//! What a component's calls work on while it runs one task: the session, the log, and the memory it may use.

use bytes::Bytes;
use marionette_sdk::Level;
use wasmtime::ResourceLimiter;

use super::bindings::marionette::operator::{logging, storage, types as wit};
use crate::host::limits::TABLE_ELEMENTS_MAX;
use crate::host::remote::RemoteStorage;
use crate::host::storage::StorageCalls;
use crate::host::task_log::TaskLog;

/// The data of one store.
pub(super) struct TaskState {
    storage: RemoteStorage,
    log: TaskLog,
    memory: MemoryUse,
}

impl TaskState {
    pub(super) fn new(storage: RemoteStorage, log: TaskLog, memory: MemoryUse) -> Self {
        Self {
            storage,
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
        let record = self.storage.read(&id).await;
        record.map(Into::into).map_err(Into::into)
    }

    async fn write(
        &mut self,
        id: String,
        value: Vec<u8>,
    ) -> Result<wit::Version, wit::StorageError> {
        let version = self.storage.write(&id, Bytes::from(value)).await;
        version.map(Into::into).map_err(Into::into)
    }

    async fn update_if_value_is(
        &mut self,
        id: String,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<wit::Version, wit::UpdateError> {
        let (old, new) = (old.map(Bytes::from), Bytes::from(new));
        let version = self.storage.update_if_value_is(&id, old, new).await;
        version.map(Into::into).map_err(Into::into)
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
