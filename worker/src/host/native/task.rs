//! One task of a native operator: on a thread of its own, because nothing can interrupt it, while its storage
//! calls are performed on the session here, outside. After the deadline the thread is left to itself: its calls
//! fail as cancelled, and it keeps its slot until it returns, so that threads stay bounded by slots. A task in a child
//! process ends then, with its process.

use std::sync::Arc;

use common::types::{Item, Version};
use marionette_sdk::native::{self as abi, HostCall, TaskError};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::convert;
use super::{NativeEnd, NativeOperators, Stop, StopOnDrop};
use crate::host::blob::{BlobError, BlobRange};
use crate::host::error::OperatorFailure;
use crate::host::limits::{ERROR_TEXT_BYTES_MAX, cut};
use crate::host::remote::{RemoteCalls, remote_calls, serve, serve_waiting};
use crate::host::surroundings::Surroundings;
use crate::host::task_log::TaskLog;
use crate::host::{Ended, HostConfig, OperatorRequest, Task, UpdateError, bounded};

/// Runs a task; holds `slot` as long as the operator's thread runs.
pub(in crate::host) async fn run(
    operators: Arc<NativeOperators>,
    task: Task,
    slot: OwnedSemaphorePermit,
    config: &HostConfig,
) -> Ended {
    let Task {
        request,
        mut storage,
        blobs,
        deadline,
    } = task;
    let (remote, calls) = remote_calls();
    let (end, ended) = oneshot::channel();
    let runtime = Handle::current();
    let stop = Arc::new(Stop::default());
    let _stop_on_drop = StopOnDrop(stop.clone());
    let thread = std::thread::Builder::new().name("native-operator".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody listens any more after the deadline.
        let _ = end.send(call(&operators, request, remote, &runtime, &stop));
        drop(slot);
    });
    if let Err(error) = spawned {
        let failure = OperatorFailure::Host(format!("no thread for a native operator: {error}"));
        return (Err(failure), storage);
    }
    let served = async {
        if config.simulated {
            // Boxed: rare, and as large as the other.
            Box::pin(serve_waiting(calls, ended, storage.as_mut(), blobs)).await
        } else {
            serve(calls, ended, storage.as_mut(), blobs).await
        }
    };
    let lost = |_| NativeEnd::Host("the thread of a native operator is gone".to_owned());
    let result = match tokio::time::timeout_at(deadline.at, served).await {
        Ok(result) => outcome(result.unwrap_or_else(lost), config.output_bytes_max),
        Err(_) => Err(deadline.exceeded()),
    };
    (result, storage)
}

/// On the operator's thread: the task from beginning to end.
fn call(
    operators: &NativeOperators,
    request: OperatorRequest,
    calls: RemoteCalls,
    runtime: &Handle,
    stop: &Stop,
) -> NativeEnd {
    let mut host = Host {
        calls,
        surroundings: Surroundings::new(&request),
        log: TaskLog::new(&request),
    };
    let task = abi::Task {
        class: request.class.clone(),
        request: convert::request(request),
    };
    let perform = &mut |call| runtime.block_on(host.perform(call));
    operators.call(&task, perform, stop)
}

/// What the operator's calls work on.
struct Host {
    calls: RemoteCalls,
    surroundings: Surroundings,
    log: TaskLog,
}

impl Host {
    /// The answer as the ABI has it.
    async fn perform(&mut self, call: HostCall) -> Vec<u8> {
        match call {
            HostCall::Read { id } => {
                let record = self.calls.read(id.clone()).await;
                let record = record.map_err(|error| convert::storage_error(&id, error));
                abi::encode(&record.map(convert::record))
            }
            HostCall::Write { id, value } => {
                let version = self.calls.write(id.clone(), value.into()).await;
                let version = version.map_err(|error| convert::storage_error(&id, error));
                abi::encode(&version.map(convert::version))
            }
            HostCall::UpdateIfValueIs { id, old, new } => {
                let old = old.map(Into::into);
                let updated = self
                    .calls
                    .update_if_value_is(id.clone(), old, new.into())
                    .await;
                encode_updated(&id, updated)
            }
            HostCall::UpdateIfVersionIs { id, old, new } => {
                let old = old.map_or(Version::NULL, convert::version_of);
                let updated = self
                    .calls
                    .update_if_version_is(id.clone(), old, new.into())
                    .await;
                encode_updated(&id, updated)
            }
            HostCall::BlobSize { url } => {
                let size = self.calls.blob_size(url.clone()).await;
                encode_of_blob(&url, size)
            }
            HostCall::OpenBlob {
                url,
                offset,
                length,
            } => {
                let range = BlobRange { offset, length };
                let reader = self.calls.open_blob(url.clone(), range).await;
                encode_of_blob(&url, reader)
            }
            HostCall::ReadBlob { reader, bytes_max } => {
                let bytes = self.calls.read_blob(reader, bytes_max).await;
                // The SDK knows which blob it is.
                encode_of_blob("", bytes.map(Vec::from))
            }
            HostCall::CloseBlob { reader } => {
                self.calls.close_blob(reader).await;
                Vec::new()
            }
            HostCall::Now => abi::encode(&self.surroundings.now()),
            HostCall::Random => abi::encode(&self.surroundings.random()),
            HostCall::RandomBytes { count } => abi::encode(&self.surroundings.random_bytes(count)),
            HostCall::Log { level, message } => {
                self.log.line(level, message);
                Vec::new()
            }
        }
    }
}

fn encode_updated(id: &str, updated: Result<Version, UpdateError>) -> Vec<u8> {
    let updated = updated.map_err(|error| convert::update_error(id, error));
    abi::encode(&updated.map(convert::version))
}

fn encode_of_blob<T: Serialize>(url: &str, result: Result<T, BlobError>) -> Vec<u8> {
    abi::encode(&result.map_err(|error| convert::blob_error(url, error)))
}

fn outcome(end: NativeEnd, bytes_max: usize) -> Result<Vec<Item>, OperatorFailure> {
    match end {
        NativeEnd::Returned(Ok(items)) => {
            bounded(items.into_iter().map(convert::item).collect(), bytes_max)
        }
        NativeEnd::Returned(Err(TaskError::Operator(error))) => Err(convert::failure(error)),
        NativeEnd::Returned(Err(TaskError::Panic(reason))) => Err(OperatorFailure::Panic {
            reason: cut(reason, ERROR_TEXT_BYTES_MAX),
        }),
        NativeEnd::Returned(Err(TaskError::Malformed(reason))) => Err(OperatorFailure::Host(
            format!("worker and native library do not understand each other: {reason}"),
        )),
        NativeEnd::Crashed(reason) => Err(OperatorFailure::Crash { reason }),
        NativeEnd::TooLarge => Err(OperatorFailure::OutputTooLarge { bytes_max }),
        NativeEnd::Host(reason) => Err(OperatorFailure::Host(reason)),
    }
}
