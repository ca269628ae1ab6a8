//! A component that is ready to be instantiated, and the calls into it.

use std::sync::Arc;

use common::types::Item;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{Store, UpdateDeadline};

use super::state::{MemoryUse, TaskParts, TaskState};
use super::{bindings, trap};
use crate::host::blob::BlobError;
use crate::host::error::OperatorFailure;
use crate::host::idle::{Idle, OwnerId};
use crate::host::limits::FUEL_TICK;
use crate::host::remote::remote_calls;
use crate::host::storage::StorageError;
use crate::host::{OperatorRequest, bounded};

/// The limits of one task.
#[derive(Clone, Copy)]
pub(super) struct TaskLimits {
    pub memory_bytes_max: usize,
    pub output_bytes_max: usize,
}

/// An instance with all that it has left in its memory.
pub(super) struct Instance {
    store: Store<TaskState>,
    operator: bindings::Operator,
}

pub(super) struct Prepared {
    pub component: OwnerId,
    pub instance: bindings::OperatorPre<TaskState>,
    pub limits: TaskLimits,
    pub idle: Arc<Idle<Instance>>,
    /// Its time is counted in fuel.
    pub simulated: bool,
}

type Called = Result<Vec<Item>, OperatorFailure>;

impl Prepared {
    /// Runs a task; holds `slot` until its memory is given back.
    pub(super) async fn call(
        self: Arc<Self>,
        request: OperatorRequest,
        mut parts: TaskParts,
        slot: OwnedSemaphorePermit,
    ) -> Called {
        parts.answered = self.simulated.then_some(0);
        // Dropped last, when the store's place in the pool is free again.
        let _slot = slot;
        let reuses = request.reuses_instances();
        let idle = reuses.then(|| self.idle.take(self.component)).flatten();
        let (mut store, operator) = match idle {
            Some(Instance {
                mut store,
                operator,
            }) => {
                store.data_mut().begin(parts);
                if !self.simulated {
                    store.set_epoch_deadline(1);
                }
                (store, Some(operator))
            }
            None => (self.store(parts), None),
        };
        let class = request.class.clone();
        let request = request.into();
        let called = async {
            let operator = match operator {
                Some(operator) => operator,
                None => self.instance.instantiate_async(&mut store).await?,
            };
            let result = operator.call_run(&mut store, &class, &request);
            Ok((result.await?, operator))
        };
        let (result, operator) = match called.await {
            Ok(ended) => ended,
            Err(error) => return Err(self.failure(&error, store.data())),
        };
        let result = self.result(result);
        if reuses && is_well(&result) && !store.data().is_out_of_memory() {
            self.idle.put(self.component, Instance { store, operator });
        }
        result
    }

    fn result(&self, result: Result<Vec<bindings::Item>, bindings::OperatorError>) -> Called {
        let items = result.map_err(OperatorFailure::from)?;
        let items = items.into_iter().map(Item::from).collect();
        bounded(items, self.limits.output_bytes_max)
    }

    pub(super) fn forget_idle(&self) {
        self.idle.forget(self.component);
    }

    pub(super) async fn ask_for_classes(self: Arc<Self>) -> Result<Vec<String>, String> {
        // No task is running: its calls are cancelled.
        let (calls, _) = remote_calls();
        let loading = OperatorRequest {
            class: "(loading)".to_owned(),
            ..OperatorRequest::default()
        };
        let mut store = self.store(TaskParts::new(&loading, calls, Arc::default()));
        let asked = async {
            let operator = self.instance.instantiate_async(&mut store).await?;
            operator.call_classes(&mut store).await
        };
        asked.await.map_err(|error| {
            let failure = self.failure(&error, store.data());
            format!("asked for its classes, it {failure}")
        })
    }

    fn store(&self, parts: TaskParts) -> Store<TaskState> {
        let state = TaskState::new(parts, MemoryUse::new(self.limits.memory_bytes_max));
        let mut store = Store::new(self.instance.engine(), state);
        store.limiter(TaskState::memory);
        // Covers the values and the lists around them; what is returned is then held to the limit exactly.
        store.set_hostcall_fuel(self.limits.output_bytes_max.saturating_mul(2));
        if self.simulated {
            // Inexhaustible, and counted: none of both fails with an engine that counts fuel.
            let counted = store.set_fuel(u64::MAX);
            let ticks = store.fuel_async_yield_interval(Some(FUEL_TICK));
            debug_assert!(
                counted.is_ok() && ticks.is_ok(),
                "the engine counts no fuel"
            );
            return store;
        }
        store.set_epoch_deadline(1);
        // tokio's own yield, because it lets the other operators of this thread have their turn, too.
        store.epoch_deadline_callback(|store| {
            store.data().tick();
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
        store
    }

    /// What a call ended in that did not return.
    fn failure(&self, error: &wasmtime::Error, state: &TaskState) -> OperatorFailure {
        if state.is_out_of_memory() {
            return OperatorFailure::MemoryLimit {
                bytes_max: self.limits.memory_bytes_max,
            };
        }
        // Wasmtime has no type for this one.
        let cause = error.root_cause().to_string();
        if cause.contains("fuel allocated for hostcalls has been exhausted") {
            return OperatorFailure::OutputTooLarge {
                bytes_max: self.limits.output_bytes_max,
            };
        }
        let reason = trap::reason(error, state.last_error());
        OperatorFailure::Trap { reason }
    }
}

/// Whether an instance that has ended a task so may have another.
fn is_well(result: &Called) -> bool {
    match result {
        Ok(_) => true,
        Err(OperatorFailure::Storage { error, .. }) => !matches!(
            error,
            StorageError::LimitExceeded(_) | StorageError::Cancelled
        ),
        Err(OperatorFailure::Blob { error, .. }) => {
            !matches!(error, BlobError::LimitExceeded(_) | BlobError::Cancelled)
        }
        Err(failure) => matches!(
            failure,
            OperatorFailure::InvalidRequest(_) | OperatorFailure::Failed(_)
        ),
    }
}
