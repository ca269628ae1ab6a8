//! WASM operators: one engine for all, components compiled once, a fresh store for each task.

mod convert;
mod state;

use std::sync::Arc;

use common::types::Item;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, Trap,
    UpdateDeadline,
};

use super::error::OperatorFailure;
use super::limits::{
    ASYNC_STACK_BYTES, CLASSES_TIMEOUT, CORE_INSTANCES_MAX, EPOCH_TICK, HostConfig, MEMORIES_MAX,
    STACK_BYTES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX,
};
use super::storage::{NoStorage, StorageCalls};
use super::task_log::TaskLog;
use super::{Ended, Task, bounded};
use state::{MemoryUse, TaskState};

/// Generated from the contract.
mod bindings {
    wasmtime::component::bindgen!({
        path: "../operators/wit",
        world: "operator",
        imports: { default: async },
        exports: { default: async },
    });
}

/// What all components share.
#[derive(Clone)]
pub(super) struct WasmEngine {
    engine: Engine,
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
    prepared: bindings::OperatorPre<TaskState>,
    limits: TaskLimits,
}

impl WasmEngine {
    pub(super) fn start(config: &HostConfig) -> Result<Self, String> {
        let engine = Engine::new(&engine_config(config)).map_err(|error| format!("{error:#}"))?;
        tick(&engine).map_err(|error| format!("no thread for the epoch: {error}"))?;
        Ok(Self {
            engine,
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
        let prepared = tokio::task::spawn_blocking(move || prepare(&engine, &bytes)).await;
        let mut operators = WasmOperators {
            classes: Vec::new(),
            prepared: prepared.map_err(|error| error.to_string())??,
            limits: self.limits,
        };
        operators.classes = operators.ask_for_classes().await?;
        Ok(operators)
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

    pub(super) async fn run(&self, task: Task) -> Ended {
        let Task {
            request,
            storage,
            deadline,
        } = task;
        let log = TaskLog::new(&request.class, request.run, request.stage);
        let mut store = self.store(storage, log);
        let class = request.class.clone();
        let called = tokio::time::timeout_at(deadline.at, async {
            let operator = self.prepared.instantiate_async(&mut store).await?;
            operator.call_run(&mut store, &class, &request.into()).await
        });
        // The future is gone by here, also when the time was over: the store is ours again.
        let result = match called.await {
            Err(_) => Err(deadline.exceeded()),
            Ok(Err(error)) => Err(self.failure(&error, store.data())),
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Ok(Ok(items))) => {
                let items = items.into_iter().map(Item::from).collect();
                bounded(items, self.limits.output_bytes_max)
            }
        };
        (result, store.into_data().into_storage())
    }

    async fn ask_for_classes(&self) -> Result<Vec<String>, String> {
        let log = TaskLog::new("(loading)", 0, 0);
        let mut store = self.store(Box::new(NoStorage), log);
        let asked = tokio::time::timeout(CLASSES_TIMEOUT, async {
            let operator = self.prepared.instantiate_async(&mut store).await?;
            operator.call_classes(&mut store).await
        });
        match asked.await {
            Err(_) => Err(format!(
                "it did not name its classes within {CLASSES_TIMEOUT:?}"
            )),
            Ok(Ok(classes)) => Ok(classes),
            Ok(Err(error)) => {
                let failure = self.failure(&error, store.data());
                Err(format!("asked for its classes, it {failure}"))
            }
        }
    }

    fn store(&self, storage: Box<dyn StorageCalls>, log: TaskLog) -> Store<TaskState> {
        let memory = MemoryUse::new(self.limits.memory_bytes_max);
        let mut store = Store::new(self.prepared.engine(), TaskState::new(storage, log, memory));
        store.limiter(TaskState::memory);
        // Covers the values and the lists around them; what is returned is then held to the limit exactly.
        store.set_hostcall_fuel(self.limits.output_bytes_max.saturating_mul(2));
        store.set_epoch_deadline(1);
        // tokio's own yield, because it lets timers and sockets have their turn, too.
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
