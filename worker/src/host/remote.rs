//! The storage calls of an operator that runs on other threads than its session: sent from there, performed here.

use async_trait::async_trait;
use bytes::Bytes;
use common::types::{Record, Version};
use tokio::sync::{mpsc, oneshot};

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
}

/// The operator's end. Every call fails as cancelled when the other end is gone.
pub(super) struct RemoteStorage(mpsc::Sender<Call>);

/// Both ends. One place is enough: an operator makes one call at a time.
pub(super) fn remote_storage() -> (RemoteStorage, mpsc::Receiver<Call>) {
    let (calls, pending) = mpsc::channel(1);
    (RemoteStorage(calls), pending)
}

/// Performs the calls of an operator on its session until the operator has ended.
pub(super) async fn serve<T>(
    mut pending: mpsc::Receiver<Call>,
    ended: impl Future<Output = T>,
    storage: &mut dyn StorageCalls,
) -> T {
    let mut ended = std::pin::pin!(ended);
    loop {
        tokio::select! {
            Some(call) = pending.recv() => perform(call, storage).await,
            result = &mut ended => return result,
        }
    }
}

/// An operator that is gone needs no answer.
async fn perform(call: Call, storage: &mut dyn StorageCalls) {
    match call {
        Call::Read(id, answer) => drop(answer.send(storage.read(&id).await)),
        Call::Write(id, value, answer) => drop(answer.send(storage.write(&id, value).await)),
        Call::UpdateIfValueIs(id, old, new, answer) => {
            drop(answer.send(storage.update_if_value_is(&id, old, new).await));
        }
    }
}

impl RemoteStorage {
    async fn ask<T, E: From<StorageError>>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Call,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        // When nobody takes it, the answer's other end is gone with it.
        let _ = self.0.send(call(answer)).await;
        answered
            .await
            .unwrap_or_else(|_| Err(StorageError::Cancelled.into()))
    }
}

#[async_trait]
impl StorageCalls for RemoteStorage {
    async fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        self.ask(|answer| Call::Read(id.to_owned(), answer)).await
    }

    async fn write(&mut self, id: &str, value: Bytes) -> Result<Version, StorageError> {
        self.ask(|answer| Call::Write(id.to_owned(), value, answer))
            .await
    }

    async fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<Bytes>,
        new: Bytes,
    ) -> Result<Version, UpdateError> {
        self.ask(|answer| Call::UpdateIfValueIs(id.to_owned(), old, new, answer))
            .await
    }
}
