//! What a component's calls work on while it runs one task: the session, blobs, time and chance, the log, and the
//! memory it may use.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::types::Version;
use marionette_sdk::Level;
use wasmtime::ResourceLimiter;
use wasmtime::component::Resource;

use super::bindings::marionette::operator::{blob, clock, logging, random, storage, types as wit};
use super::place::Ticked;
use crate::host::OperatorRequest;
use crate::host::blob::BlobRange;
use crate::host::limits::{FUEL_TICK_TAKES, HOST_CALLS_TICK, TABLE_ELEMENTS_MAX};
use crate::host::remote::RemoteCalls;
use crate::host::surroundings::Surroundings;
use crate::host::task_log::TaskLog;

/// The data of one store: of its task, and of its memory, which may outlive the task.
pub(super) struct TaskState {
    task: TaskParts,
    memory: MemoryUse,
    /// The reader that was opened last, and the last one of earlier tasks: what they left open is at its end.
    reader_last: u32,
    reader_before: u32,
}

/// What belongs to one task alone.
pub(super) struct TaskParts {
    pub calls: RemoteCalls,
    pub surroundings: Surroundings,
    pub log: TaskLog,
    /// Whether the task has not ended by a tick of the epoch.
    pub ticked: Ticked,
    /// In a simulation: how many calls were answered here. They take time, too.
    pub answered: Option<u32>,
}

impl TaskParts {
    pub(super) fn new(request: &OperatorRequest, calls: RemoteCalls, ticked: Ticked) -> Self {
        Self {
            calls,
            surroundings: Surroundings::new(request),
            log: TaskLog::new(request),
            ticked,
            answered: None,
        }
    }

    /// At each call that no session answers.
    async fn answer_here(&mut self) -> &mut Self {
        if let Some(answered) = &mut self.answered {
            *answered = answered.wrapping_add(1);
            if answered.is_multiple_of(HOST_CALLS_TICK) {
                tokio::time::sleep(FUEL_TICK_TAKES).await;
            }
        }
        self
    }
}

/// A reader of a blob, of which only the number is on this side.
pub struct BlobReader;

impl TaskState {
    pub(super) fn new(task: TaskParts, memory: MemoryUse) -> Self {
        Self {
            task,
            memory,
            reader_last: 0,
            reader_before: 0,
        }
    }

    /// The next task with the same memory.
    pub(super) fn begin(&mut self, task: TaskParts) {
        self.task = task;
        self.reader_before = self.reader_last;
    }

    /// The number of a reader in this task; none when it is of an earlier one.
    fn reader(&self, reader: &Resource<BlobReader>) -> Option<u64> {
        let number = reader.rep().checked_sub(self.reader_before);
        number.filter(|number| *number > 0).map(u64::from)
    }

    pub(super) fn tick(&self) {
        self.task.ticked.store(true, Ordering::Relaxed);
    }

    pub(super) fn memory(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.memory
    }

    pub(super) fn is_out_of_memory(&self) -> bool {
        self.memory.exceeded
    }

    pub(super) fn last_error(&self) -> Option<&str> {
        self.task.log.last_error()
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
        let record = self.task.calls.read(id).await;
        record.map(Into::into).map_err(Into::into)
    }

    async fn write(
        &mut self,
        id: String,
        value: Vec<u8>,
    ) -> Result<wit::Version, wit::StorageError> {
        let version = self.task.calls.write(id, Bytes::from(value)).await;
        version.map(Into::into).map_err(Into::into)
    }

    async fn update_if_value_is(
        &mut self,
        id: String,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<wit::Version, wit::UpdateError> {
        let (old, new) = (old.map(Bytes::from), Bytes::from(new));
        let version = self.task.calls.update_if_value_is(id, old, new).await;
        version.map(Into::into).map_err(Into::into)
    }

    async fn update_if_version_is(
        &mut self,
        id: String,
        old: Option<wit::Version>,
        new: Vec<u8>,
    ) -> Result<wit::Version, wit::UpdateError> {
        let old = old.map_or(Version::NULL, Version::from);
        let version = self
            .task
            .calls
            .update_if_version_is(id, old, Bytes::from(new));
        version.await.map(Into::into).map_err(Into::into)
    }
}

impl blob::Host for TaskState {
    async fn size(&mut self, url: String) -> Result<u64, wit::BlobError> {
        self.task.calls.blob_size(url).await.map_err(Into::into)
    }

    async fn open(
        &mut self,
        url: String,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Resource<BlobReader>, wit::BlobError> {
        let range = BlobRange { offset, length };
        let reader = self.task.calls.open_blob(url, range).await?;
        let number = u32::try_from(reader).ok();
        let number = number.and_then(|reader| self.reader_before.checked_add(reader));
        self.reader_last = number.ok_or_else(|| {
            wit::BlobError::LimitExceeded(
                "an instance opens at most 4,294,967,295 blobs".to_owned(),
            )
        })?;
        Ok(Resource::new_own(self.reader_last))
    }
}

impl blob::HostReader for TaskState {
    async fn read(
        &mut self,
        reader: Resource<BlobReader>,
        bytes_max: u32,
    ) -> Result<Vec<u8>, wit::BlobError> {
        let Some(reader) = self.reader(&reader) else {
            return Ok(Vec::new());
        };
        let bytes = self.task.calls.read_blob(reader, bytes_max).await;
        bytes.map(Into::into).map_err(Into::into)
    }

    async fn drop(&mut self, reader: Resource<BlobReader>) -> wasmtime::Result<()> {
        if let Some(reader) = self.reader(&reader) {
            self.task.calls.close_blob(reader).await;
        }
        Ok(())
    }
}

impl clock::Host for TaskState {
    async fn now(&mut self) -> u64 {
        self.task.answer_here().await.surroundings.now()
    }
}

impl random::Host for TaskState {
    async fn number(&mut self) -> u64 {
        self.task.answer_here().await.surroundings.random()
    }

    async fn bytes(&mut self, count: u32) -> Vec<u8> {
        let task = self.task.answer_here().await;
        task.surroundings.random_bytes(count)
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
        self.task.answer_here().await.log.line(level, message);
    }
}
