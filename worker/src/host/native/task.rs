//! One task of a native operator: on a thread of its own, because nothing can interrupt it, while its storage
//! calls are performed on the session here, outside. After the deadline the thread is left to itself: its calls
//! fail as cancelled, and it keeps its slot until it returns, so that threads stay bounded by slots.

use std::sync::Arc;

use common::types::Item;
use marionette_sdk::native::{self as abi, HostCall, TaskError};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::convert;
use super::library::NativeOperators;
use crate::host::error::OperatorFailure;
use crate::host::limits::{ERROR_TEXT_BYTES_MAX, cut};
use crate::host::remote::{RemoteStorage, remote_storage, serve};
use crate::host::storage::StorageCalls;
use crate::host::task_log::TaskLog;
use crate::host::{Ended, OperatorRequest, Task, bounded};

type TaskResult = Result<Vec<marionette_sdk::Item>, TaskError>;

/// Runs a task; holds `slot` as long as the operator's thread runs.
pub(in crate::host) async fn run(
    operators: Arc<NativeOperators>,
    task: Task,
    slot: OwnedSemaphorePermit,
    output_bytes_max: usize,
) -> Ended {
    let Task {
        request,
        mut storage,
        deadline,
    } = task;
    let (remote, calls) = remote_storage();
    let (end, ended) = oneshot::channel();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new().name("native-operator".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody listens any more after the deadline.
        let _ = end.send(call(&operators, request, remote, &runtime));
        drop(slot);
    });
    if let Err(error) = spawned {
        let failure = OperatorFailure::Host(format!("no thread for a native operator: {error}"));
        return (Err(failure), storage);
    }
    let served = serve(calls, ended, storage.as_mut());
    let lost = |_| {
        Err(TaskError::Panic(
            "its thread ended without a result".to_owned(),
        ))
    };
    let result = match tokio::time::timeout_at(deadline.at, served).await {
        Ok(result) => outcome(result.unwrap_or_else(lost), output_bytes_max),
        Err(_) => Err(deadline.exceeded()),
    };
    (result, storage)
}

/// On the operator's thread: the task from beginning to end.
fn call(
    operators: &NativeOperators,
    request: OperatorRequest,
    mut storage: RemoteStorage,
    runtime: &Handle,
) -> TaskResult {
    let mut log = TaskLog::new(&request.class, request.run, request.stage);
    let task = abi::Task {
        class: request.class.clone(),
        request: convert::request(request),
    };
    operators.call(&task, &mut |call| {
        runtime.block_on(perform(call, &mut storage, &mut log))
    })
}

async fn perform(call: HostCall, storage: &mut dyn StorageCalls, log: &mut TaskLog) -> Vec<u8> {
    match call {
        HostCall::Read { id } => {
            let record = storage.read(&id).await;
            answer_read(
                &record
                    .map_err(|error| convert::storage_error(&id, error))
                    .map(convert::record),
            )
        }
        HostCall::Write { id, value } => {
            let version = storage.write(&id, value.into()).await;
            answer_write(
                &version
                    .map_err(|error| convert::storage_error(&id, error))
                    .map(convert::version),
            )
        }
        HostCall::UpdateIfValueIs { id, old, new } => {
            let version = storage
                .update_if_value_is(&id, old.map(Into::into), new.into())
                .await;
            answer_update(
                &version
                    .map_err(|error| convert::update_error(&id, error))
                    .map(convert::version),
            )
        }
        HostCall::Log { level, message } => {
            log.line(level, message);
            Vec::new()
        }
    }
}

// The types that the ABI gives to each answer, once.

fn answer_read(answer: &Result<marionette_sdk::Record, marionette_sdk::StorageError>) -> Vec<u8> {
    abi::encode(answer)
}

fn answer_write(answer: &Result<marionette_sdk::Version, marionette_sdk::StorageError>) -> Vec<u8> {
    abi::encode(answer)
}

fn answer_update(answer: &Result<marionette_sdk::Version, marionette_sdk::UpdateError>) -> Vec<u8> {
    abi::encode(answer)
}

fn outcome(result: TaskResult, output_bytes_max: usize) -> Result<Vec<Item>, OperatorFailure> {
    match result {
        Ok(items) => bounded(
            items.into_iter().map(convert::item).collect(),
            output_bytes_max,
        ),
        Err(TaskError::Operator(error)) => Err(convert::failure(error)),
        Err(TaskError::Panic(reason)) => Err(OperatorFailure::Panic {
            reason: cut(reason, ERROR_TEXT_BYTES_MAX),
        }),
        Err(TaskError::Malformed(reason)) => Err(OperatorFailure::Host(format!(
            "worker and native library do not understand each other: {reason}"
        ))),
    }
}
