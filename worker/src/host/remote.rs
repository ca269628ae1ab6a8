//! The storage calls of an operator that runs on other threads than its session, and its reading of blobs: sent from
//! there, performed here.

use bytes::Bytes;
use common::types::{Record, Version};
use futures::executor::block_on;
use tokio::sync::{mpsc, oneshot};

use super::blob::{BlobError, BlobRange, Blobs};
use super::limits::{CALLS_MAX, WRITTEN_BYTES_MAX};
use super::storage::{StorageCalls, StorageError, UpdateError};

/// A call, and where its operator waits for the answer.
pub(super) enum Call {
    Read(String, oneshot::Sender<Result<Record, StorageError>>),
    Write(
        String,
        Bytes,
        oneshot::Sender<Result<Version, StorageError>>,
    ),
    UpdateIfValueIs(
        String,
        Option<Bytes>,
        Bytes,
        oneshot::Sender<Result<Version, UpdateError>>,
    ),
    UpdateIfVersionIs(
        String,
        Version,
        Bytes,
        oneshot::Sender<Result<Version, UpdateError>>,
    ),
    BlobSize(String, oneshot::Sender<Result<u64, BlobError>>),
    OpenBlob(String, BlobRange, oneshot::Sender<Result<u64, BlobError>>),
    ReadBlob(u64, u32, oneshot::Sender<Result<Bytes, BlobError>>),
    CloseBlob(u64),
}

/// The operator's end. Every call fails as cancelled when the other end is gone, and as beyond its limit when the task
/// has made too many or has written too much.
pub(super) struct RemoteCalls {
    calls: mpsc::Sender<Box<Call>>,
    made: u32,
    written_bytes: u64,
}

/// Both ends. One place is enough: an operator makes one call at a time. Calls are boxed since a channel begins with room
/// for 32 of them, which each task would have to get and give back.
pub(super) fn remote_calls() -> (RemoteCalls, mpsc::Receiver<Box<Call>>) {
    let (calls, pending) = mpsc::channel(1);
    let remote = RemoteCalls {
        calls,
        made: 0,
        written_bytes: 0,
    };
    (remote, pending)
}

/// Performs the calls of an operator until it has ended: on its session, and on the blobs that it may open.
pub(super) async fn serve<T>(
    mut pending: mpsc::Receiver<Box<Call>>,
    ended: impl Future<Output = T>,
    storage: &mut dyn StorageCalls,
    mut blobs: Blobs,
) -> T {
    let mut ended = std::pin::pin!(ended);
    loop {
        // The operator first: a call that it makes on this thread is then found at once, without waking anybody.
        tokio::select! {
            biased;
            result = &mut ended => return result,
            Some(call) = pending.recv() => perform(*call, storage, &mut blobs).await,
        }
    }
}

/// The same in a simulation, whose clock stands still while the operator computes on a thread of its own.
pub(super) async fn serve_waiting<T>(
    mut pending: mpsc::Receiver<Box<Call>>,
    ended: impl Future<Output = T>,
    storage: &mut dyn StorageCalls,
    mut blobs: Blobs,
) -> T {
    while let Some(call) = block_on(pending.recv()) {
        perform(*call, storage, &mut blobs).await;
    }
    block_on(ended)
}

/// An operator that is gone needs no answer.
async fn perform(call: Call, storage: &mut dyn StorageCalls, blobs: &mut Blobs) {
    match call {
        // Boxed: rare, or of much at once, and larger than all else that a task waits for.
        Call::BlobSize(url, answer) => drop(answer.send(Box::pin(blobs.size(&url)).await)),
        Call::OpenBlob(url, range, answer) => {
            drop(answer.send(Box::pin(blobs.open(&url, range)).await));
        }
        Call::ReadBlob(reader, bytes_max, answer) => {
            drop(answer.send(Box::pin(blobs.read(reader, bytes_max)).await));
        }
        Call::CloseBlob(reader) => blobs.close(reader),
        Call::UpdateIfVersionIs(id, old, new, answer) => {
            drop(answer.send(storage.update_if_version_is(&id, old, new).await));
        }
        Call::Read(id, answer) => drop(answer.send(storage.read(&id).await)),
        Call::Write(id, value, answer) => drop(answer.send(storage.write(&id, value).await)),
        Call::UpdateIfValueIs(id, old, new, answer) => {
            drop(answer.send(storage.update_if_value_is(&id, old, new).await));
        }
    }
}

/// What a call says that is not performed.
trait Refusal {
    /// Nobody takes it any more.
    fn cancelled() -> Self;
    /// The task has used up a limit, in the words of the text.
    fn limit_exceeded(limit: String) -> Self;
}

impl Refusal for StorageError {
    fn cancelled() -> Self {
        Self::Cancelled
    }

    fn limit_exceeded(limit: String) -> Self {
        Self::LimitExceeded(limit)
    }
}

impl Refusal for UpdateError {
    fn cancelled() -> Self {
        Self::Storage(StorageError::Cancelled)
    }

    fn limit_exceeded(limit: String) -> Self {
        Self::Storage(StorageError::LimitExceeded(limit))
    }
}

impl Refusal for BlobError {
    fn cancelled() -> Self {
        Self::Cancelled
    }

    fn limit_exceeded(limit: String) -> Self {
        Self::LimitExceeded(limit)
    }
}

impl RemoteCalls {
    async fn ask<T, E: Refusal>(
        &mut self,
        call: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Call,
    ) -> Result<T, E> {
        if self.made >= CALLS_MAX {
            let limit = format!("a task makes at most {CALLS_MAX} calls");
            return Err(E::limit_exceeded(limit));
        }
        self.made += 1;
        let (answer, answered) = oneshot::channel();
        // When nobody takes it, the answer's other end is gone with it.
        let _ = self.calls.send(Box::new(call(answer))).await;
        answered.await.unwrap_or_else(|_| Err(E::cancelled()))
    }

    /// Before each write and update, with the bytes of its values.
    fn count_written<E: Refusal>(&mut self, bytes: usize) -> Result<(), E> {
        self.written_bytes = self.written_bytes.saturating_add(bytes as u64);
        if self.written_bytes > WRITTEN_BYTES_MAX {
            let limit = format!("a task writes at most {WRITTEN_BYTES_MAX} bytes");
            return Err(E::limit_exceeded(limit));
        }
        Ok(())
    }

    pub(super) async fn read(&mut self, id: String) -> Result<Record, StorageError> {
        self.ask(|answer| Call::Read(id, answer)).await
    }

    pub(super) async fn write(
        &mut self,
        id: String,
        value: Bytes,
    ) -> Result<Version, StorageError> {
        self.count_written::<StorageError>(value.len())?;
        self.ask(|answer| Call::Write(id, value, answer)).await
    }

    pub(super) async fn update_if_value_is(
        &mut self,
        id: String,
        old: Option<Bytes>,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        let old_bytes = old.as_ref().map_or(0, Bytes::len);
        self.count_written::<UpdateError>(old_bytes.saturating_add(new.len()))?;
        self.ask(|answer| Call::UpdateIfValueIs(id, old, new, answer))
            .await
    }

    pub(super) async fn update_if_version_is(
        &mut self,
        id: String,
        old: Version,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        self.count_written::<UpdateError>(new.len())?;
        self.ask(|answer| Call::UpdateIfVersionIs(id, old, new, answer))
            .await
    }

    pub(super) async fn blob_size(&mut self, url: String) -> Result<u64, BlobError> {
        self.ask(|answer| Call::BlobSize(url, answer)).await
    }

    /// The number of the new reader.
    pub(super) async fn open_blob(
        &mut self,
        url: String,
        range: BlobRange,
    ) -> Result<u64, BlobError> {
        self.ask(|answer| Call::OpenBlob(url, range, answer)).await
    }

    pub(super) async fn read_blob(
        &mut self,
        reader: u64,
        bytes_max: u32,
    ) -> Result<Bytes, BlobError> {
        self.ask(|answer| Call::ReadBlob(reader, bytes_max, answer))
            .await
    }

    pub(super) async fn close_blob(&self, reader: u64) {
        // Whoever does not take it has closed all.
        let _ = self.calls.send(Box::new(Call::CloseBlob(reader))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody answers: what is within the limits is cancelled.
    fn unanswered() -> RemoteCalls {
        remote_calls().0
    }

    #[tokio::test]
    async fn calls_are_counted() {
        let mut calls = unanswered();
        calls.made = CALLS_MAX - 1;
        let last = calls.read("a".to_owned()).await;
        assert_eq!(last, Err(StorageError::Cancelled));
        let refused = calls.read("a".to_owned()).await;
        assert!(
            matches!(refused, Err(StorageError::LimitExceeded(_))),
            "{refused:?}"
        );
        let refused = calls.blob_size("a".to_owned()).await;
        assert!(
            matches!(refused, Err(BlobError::LimitExceeded(_))),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn written_bytes_are_counted() {
        let mut calls = unanswered();
        calls.written_bytes = WRITTEN_BYTES_MAX - 2;
        let last = calls.write("a".to_owned(), Bytes::from_static(b"12")).await;
        assert_eq!(last, Err(StorageError::Cancelled));
        let refused = calls.update_if_version_is("a".to_owned(), Version::NULL, Bytes::from("1"));
        let refused = refused.await;
        assert!(
            matches!(
                refused,
                Err(UpdateError::Storage(StorageError::LimitExceeded(_)))
            ),
            "{refused:?}"
        );
        let read = calls.read("a".to_owned()).await;
        assert_eq!(read, Err(StorageError::Cancelled), "reads go on");
    }
}
