//! WASM operators: one engine for all, components compiled once, a fresh store for each task.

mod convert;
mod state;
mod threads;

use std::sync::Arc;

use common::types::Item;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, Trap,
    UpdateDeadline,
};

use super::blob::Blobs;
use super::error::OperatorFailure;
use super::limits::{
    ASYNC_STACK_BYTES, CLASSES_TIMEOUT, CORE_INSTANCES_MAX, EPOCH_TICK, HostConfig, MEMORIES_MAX,
    STACK_BYTES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX,
};
use super::remote::{RemoteCalls, remote_calls, serve};
use super::surroundings::Surroundings;
use super::task_log::TaskLog;
use super::{Ended, OperatorRequest, Task, bounded};
use state::{MemoryUse, TaskState};
use threads::OperatorThreads;

/// Generated from the contract.
mod bindings {
    wasmtime::component::bindgen!({
        path: "../operators/wit",
        world: "operator",
        imports: { default: async },
        exports: { default: async },
        with: { "marionette:operator/blob.reader": super::state::BlobReader },
    });
}

/// What all components share.
#[derive(Clone)]
pub(super) struct WasmEngine {
    engine: Engine,
    threads: Arc<OperatorThreads>,
    limits: TaskLimits,
    /// Only one new component at a time is asked for its classes: the pool has one place for it.
    loading: Arc<tokio::sync::Mutex<()>>,
}

/// The limits of one task.
#[derive(Clone, Copy)]
struct TaskLimits {
    memory_bytes_max: usize,
    output_bytes_max: usize,
}

/// The operators of one component, ready to be instantiated.
pub(super) struct WasmOperators {
    classes: Vec<String>,
    prepared: Prepared,
    threads: Arc<OperatorThreads>,
}

/// What a task on an operator's thread needs of them. Cheap to clone.
#[derive(Clone)]
struct Prepared {
    instance: bindings::OperatorPre<TaskState>,
    limits: TaskLimits,
}

impl WasmEngine {
    pub(super) fn start(config: &HostConfig) -> Result<Self, String> {
        let engine = Engine::new(&engine_config(config)).map_err(|error| format!("{error:#}"))?;
        tick(&engine).map_err(|error| format!("no thread for the epoch: {error}"))?;
        let threads = OperatorThreads::start();
        let threads = threads.map_err(|error| format!("no threads for operators: {error}"))?;
        Ok(Self {
            engine,
            threads: Arc::new(threads),
            limits: TaskLimits {
                memory_bytes_max: config.memory_bytes_max,
                output_bytes_max: config.output_bytes_max,
            },
            loading: Arc::default(),
        })
    }

    /// Compiles a component and asks it for its classes; the error says why it is no usable one.
    pub(super) async fn load(&self, bytes: Vec<u8>) -> Result<WasmOperators, String> {
        let _one_at_a_time = self.loading.lock().await;
        let engine = self.engine.clone();
        let instance = tokio::task::spawn_blocking(move || prepare(&engine, &bytes)).await;
        let prepared = Prepared {
            instance: instance.map_err(|error| error.to_string())??,
            limits: self.limits,
        };
        let mut asked = JoinSet::new();
        asked.spawn_on(prepared.clone().ask_for_classes(), self.threads.handle());
        let classes = match tokio::time::timeout(CLASSES_TIMEOUT, asked.join_next()).await {
            Ok(classes) => ended(classes)?,
            Err(_) => Err(format!(
                "it did not name its classes within {CLASSES_TIMEOUT:?}"
            )),
        };
        Ok(WasmOperators {
            classes: classes?,
            prepared,
            threads: self.threads.clone(),
        })
    }
}

fn engine_config(config: &HostConfig) -> Config {
    // One place more than slots, for a new component that is asked for its classes.
    let instances = config.slots.max(1).saturating_add(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(instances.saturating_mul(MEMORIES_MAX))
        .total_tables(instances.saturating_mul(TABLES_MAX))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memory_size(config.memory_bytes_max)
        .table_elements(TABLE_ELEMENTS_MAX);
    let mut engine = Config::new();
    engine
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES_MAX)
        .async_stack_size(ASYNC_STACK_BYTES);
    engine
}

/// Moves the engine's epoch on for as long as the engine lives.
fn tick(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    let ticker = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH_TICK);
        }
    };
    std::thread::Builder::new()
        .name("operator-epoch".to_owned())
        .spawn(ticker)
        .map(drop)
}

fn prepare(engine: &Engine, bytes: &[u8]) -> Result<bindings::OperatorPre<TaskState>, String> {
    let unusable = |error: wasmtime::Error| format!("it is no operator component: {error:#}");
    let component = Component::from_binary(engine, bytes).map_err(unusable)?;
    let mut linker: Linker<TaskState> = Linker::new(engine);
    bindings::Operator::add_to_linker::<_, HasSelf<TaskState>>(&mut linker, |state| state)
        .map_err(unusable)?;
    // What the contract does not have is found out when it is called, so that what is never called does no harm:
    // toolchains of other languages import more than they use.
    linker
        .define_unknown_imports_as_traps(&component)
        .map_err(unusable)?;
    let instance = linker.instantiate_pre(&component).map_err(unusable)?;
    bindings::OperatorPre::new(instance).map_err(unusable)
}

impl WasmOperators {
    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Runs a task on the operators' threads, its storage calls here; holds `slot` until the task has left them.
    /// When this is dropped or the time is over, that is at the next [`EPOCH_TICK`].
    pub(super) async fn run(&self, task: Task, slot: OwnedSemaphorePermit) -> Ended {
        let Task {
            mut request,
            mut storage,
            deadline,
        } = task;
        let grants = std::mem::take(&mut request.grants);
        let blobs = Blobs::new(grants, request.rehearsal.clone());
        let (remote, calls) = remote_calls();
        let mut running = JoinSet::new();
        let called = self.prepared.clone().call(request, remote, slot);
        running.spawn_on(called, self.threads.handle());
        let served = serve(calls, running.join_next(), storage.as_mut(), blobs);
        let result = match tokio::time::timeout_at(deadline.at, served).await {
            Ok(result) => ended(result).unwrap_or_else(|lost| Err(OperatorFailure::Host(lost))),
            Err(_) => Err(deadline.exceeded()),
        };
        (result, storage)
    }
}

/// What came of the one task of a set, which was not aborted.
fn ended<T>(joined: Option<Result<T, tokio::task::JoinError>>) -> Result<T, String> {
    match joined {
        Some(Ok(result)) => Ok(result),
        Some(Err(error)) => Err(format!("an operator's task was lost: {error}")),
        None => Err("an operator's task was lost".to_owned()),
    }
}

impl Prepared {
    async fn call(
        self,
        request: OperatorRequest,
        calls: RemoteCalls,
        slot: OwnedSemaphorePermit,
    ) -> Result<Vec<Item>, OperatorFailure> {
        // Dropped last, when the store's place in the pool is free again.
        let _slot = slot;
        let mut store = self.store(calls, &request);
        let class = request.class.clone();
        let called = async {
            let operator = self.instance.instantiate_async(&mut store).await?;
            operator.call_run(&mut store, &class, &request.into()).await
        };
        match called.await {
            Err(error) => Err(self.failure(&error, store.data())),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(items)) => {
                let items = items.into_iter().map(Item::from).collect();
                bounded(items, self.limits.output_bytes_max)
            }
        }
    }

    async fn ask_for_classes(self) -> Result<Vec<String>, String> {
        // No task is running: its calls are cancelled.
        let (calls, _) = remote_calls();
        let loading = OperatorRequest {
            class: "(loading)".to_owned(),
            ..OperatorRequest::default()
        };
        let mut store = self.store(calls, &loading);
        let asked = async {
            let operator = self.instance.instantiate_async(&mut store).await?;
            operator.call_classes(&mut store).await
        };
        asked.await.map_err(|error| {
            let failure = self.failure(&error, store.data());
            format!("asked for its classes, it {failure}")
        })
    }

    fn store(&self, calls: RemoteCalls, request: &OperatorRequest) -> Store<TaskState> {
        let state = TaskState::new(
            calls,
            Surroundings::new(request),
            TaskLog::new(request),
            MemoryUse::new(self.limits.memory_bytes_max),
        );
        let mut store = Store::new(self.instance.engine(), state);
        store.limiter(TaskState::memory);
        // Covers the values and the lists around them; what is returned is then held to the limit exactly.
        store.set_hostcall_fuel(self.limits.output_bytes_max.saturating_mul(2));
        store.set_epoch_deadline(1);
        // tokio's own yield, because it lets the other operators of this thread have their turn, too.
        store.epoch_deadline_callback(|_| {
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
        store
    }

    /// What a call ended in that did not return.
    fn failure(&self, error: &wasmtime::Error, state: &TaskState) -> OperatorFailure {
        let cause = error.root_cause().to_string();
        if state.is_out_of_memory() {
            return OperatorFailure::MemoryLimit {
                bytes_max: self.limits.memory_bytes_max,
            };
        }
        // Wasmtime has no type for this one.
        if cause.contains("fuel allocated for hostcalls has been exhausted") {
            return OperatorFailure::OutputTooLarge {
                bytes_max: self.limits.output_bytes_max,
            };
        }
        let trap = error.downcast_ref::<Trap>();
        let reason = match (trap, state.last_error()) {
            (Some(Trap::UnreachableCodeReached), Some(words)) => words.to_owned(),
            (Some(trap), _) => trap.to_string().replace("wasm trap: ", ""),
            (None, _) => cause,
        };
        OperatorFailure::Trap { reason }
    }
}
