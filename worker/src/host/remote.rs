//! The storage calls of an operator that runs on other threads than its session, and its reading of blobs: sent from
//! there, performed here.

use bytes::Bytes;
use common::types::{Record, Version};
use tokio::sync::{mpsc, oneshot};

use super::blob::{BlobError, BlobRange, Blobs};
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

/// The operator's end. Every call fails as cancelled when the other end is gone.
pub(super) struct RemoteCalls(mpsc::Sender<Call>);

/// Both ends. One place is enough: an operator makes one call at a time.
pub(super) fn remote_calls() -> (RemoteCalls, mpsc::Receiver<Call>) {
    let (calls, pending) = mpsc::channel(1);
    (RemoteCalls(calls), pending)
}

/// Performs the calls of an operator until it has ended: on its session, and on the blobs that it may open.
pub(super) async fn serve<T>(
    mut pending: mpsc::Receiver<Call>,
    ended: impl Future<Output = T>,
    storage: &mut dyn StorageCalls,
    mut blobs: Blobs,
) -> T {
    let mut ended = std::pin::pin!(ended);
    loop {
        tokio::select! {
            Some(call) = pending.recv() => perform(call, storage, &mut blobs).await,
            result = &mut ended => return result,
        }
    }
}

/// An operator that is gone needs no answer.
async fn perform(call: Call, storage: &mut dyn StorageCalls, blobs: &mut Blobs) {
    match call {
        Call::BlobSize(url, answer) => drop(answer.send(blobs.size(&url).await)),
        Call::OpenBlob(url, range, answer) => drop(answer.send(blobs.open(&url, range).await)),
        Call::ReadBlob(reader, bytes_max, answer) => {
            drop(answer.send(blobs.read(reader, bytes_max).await));
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

/// What a call says when nobody takes it any more.
trait Cancelled {
    fn cancelled() -> Self;
}

impl Cancelled for StorageError {
    fn cancelled() -> Self {
        Self::Cancelled
    }
}

impl Cancelled for UpdateError {
    fn cancelled() -> Self {
        Self::Storage(StorageError::Cancelled)
    }
}

impl Cancelled for BlobError {
    fn cancelled() -> Self {
        Self::Cancelled
    }
}

impl RemoteCalls {
    async fn ask<T, E: Cancelled>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Call,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        // When nobody takes it, the answer's other end is gone with it.
        let _ = self.0.send(call(answer)).await;
        answered.await.unwrap_or_else(|_| Err(E::cancelled()))
    }

    pub(super) async fn read(&self, id: String) -> Result<Record, StorageError> {
        self.ask(|answer| Call::Read(id, answer)).await
    }

    pub(super) async fn write(&self, id: String, value: Bytes) -> Result<Version, StorageError> {
        self.ask(|answer| Call::Write(id, value, answer)).await
    }

    pub(super) async fn update_if_value_is(
        &self,
        id: String,
        old: Option<Bytes>,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        self.ask(|answer| Call::UpdateIfValueIs(id, old, new, answer))
            .await
    }

    pub(super) async fn update_if_version_is(
        &self,
        id: String,
        old: Version,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        self.ask(|answer| Call::UpdateIfVersionIs(id, old, new, answer))
            .await
    }

    pub(super) async fn blob_size(&self, url: String) -> Result<u64, BlobError> {
        self.ask(|answer| Call::BlobSize(url, answer)).await
    }

    /// The number of the new reader.
    pub(super) async fn open_blob(&self, url: String, range: BlobRange) -> Result<u64, BlobError> {
        self.ask(|answer| Call::OpenBlob(url, range, answer)).await
    }

    pub(super) async fn read_blob(&self, reader: u64, bytes_max: u32) -> Result<Bytes, BlobError> {
        self.ask(|answer| Call::ReadBlob(reader, bytes_max, answer))
            .await
    }

    pub(super) async fn close_blob(&self, reader: u64) {
        // Whoever does not take it has closed all.
        let _ = self.0.send(Call::CloseBlob(reader)).await;
    }
}
