//! WASM operators: one engine for all, components compiled once, a fresh store for each task unless the application asks
//! for reuse.
//!
//! - [`cache`], [`artifact`]: compiled components on disk. - [`prepared`]: a component that is ready, and its calls.
//! - [`place`], [`threads`], [`paced`]: where a task runs, and how fast. - [`state`], [`convert`]: what a component may call. - [`trap`]: how it
//!   fails, in words. - [`language`]: what it is written in.

mod artifact;
mod cache;
mod convert;
mod language;
mod paced;
mod place;
mod prepared;
mod state;
mod threads;
mod trap;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::blocking::Blocking;
use super::error::OperatorFailure;
use super::idle::Idle;
use super::limits::{
    ASYNC_STACK_BYTES, CLASSES_TIMEOUT, CORE_INSTANCES_MAX, EPOCH_TICK, HostConfig, KEPT_BYTES,
    MEMORIES_MAX, STACK_BYTES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX,
};
use super::remote::{remote_calls, serve};
use super::{Ended, Task};
use cache::CodeCache;
pub use cache::{CodeCacheUse, default_code_cache, user_cache};
pub use language::language;
use place::{Places, Quickness, Ticked};
use prepared::{Instance, Prepared, TaskLimits};
use state::{TaskParts, TaskState};
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
    cache: Arc<CodeCache>,
    places: Places,
    blocking: Blocking,
    limits: TaskLimits,
    idle: Arc<Idle<Instance>>,
    /// Numbers the components.
    components: Arc<AtomicU64>,
    /// Only one new component at a time is asked for its classes: the pool has one place for it.
    loading: Arc<tokio::sync::Mutex<()>>,
}

/// What a component says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    pub classes: Vec<String>,
    pub bytes: usize,
    /// What it is written in, as its producers say; empty when they do not.
    pub language: String,
}

/// The operators of one component, ready to be instantiated.
pub(super) struct WasmOperators {
    info: ComponentInfo,
    prepared: Arc<Prepared>,
    quickness: Arc<Quickness>,
    places: Places,
}

impl WasmEngine {
    pub(super) fn start(config: &HostConfig) -> Result<Self, String> {
        let engine = Engine::new(&engine_config(config)).map_err(|error| format!("{error:#}"))?;
        let places = if config.simulated {
            Places::Simulated
        } else {
            tick(&engine).map_err(|error| format!("no thread for the epoch: {error}"))?;
            let threads = OperatorThreads::start();
            let threads = threads.map_err(|error| format!("no threads for operators: {error}"))?;
            Places::Threads(Arc::new(threads))
        };
        let cache = CodeCache::open(&engine, config.code_cache.as_deref());
        Ok(Self {
            engine,
            cache: Arc::new(cache),
            places,
            blocking: Blocking {
                simulated: config.simulated,
            },
            limits: TaskLimits {
                memory_bytes_max: config.memory_bytes_max,
                output_bytes_max: config.output_bytes_max,
            },
            idle: Arc::new(Idle::new(config.slots.max(1) as usize)),
            components: Arc::default(),
            loading: Arc::default(),
        })
    }

    pub(super) fn blocking(&self) -> Blocking {
        self.blocking
    }

    pub(super) fn code_cache_use(&self) -> CodeCacheUse {
        self.cache.usage()
    }

    /// Compiles a component, or finds it compiled, and asks it for its classes; the error says why it is no usable one.
    pub(super) async fn load(&self, bytes: Vec<u8>) -> Result<WasmOperators, String> {
        let _one_at_a_time = self.loading.lock().await;
        let length = bytes.len();
        let (engine, cache) = (self.engine.clone(), self.cache.clone());
        let prepared = move || (prepare(&engine, &cache, &bytes), language::of(&bytes));
        let (instance, language) = self.blocking.run(prepared).await?;
        let prepared = Arc::new(Prepared {
            component: self.components.fetch_add(1, Ordering::Relaxed),
            instance: instance?,
            limits: self.limits,
            idle: self.idle.clone(),
            simulated: matches!(self.places, Places::Simulated),
        });
        let quickness = Arc::default();
        let asked = prepared.clone().ask_for_classes();
        let asked = self.places.run(asked, &quickness, Ticked::default());
        let classes = match tokio::time::timeout(CLASSES_TIMEOUT, asked).await {
            Ok(classes) => classes?,
            Err(_) => Err(format!(
                "it did not name its classes within {CLASSES_TIMEOUT:?}"
            )),
        };
        Ok(WasmOperators {
            info: ComponentInfo {
                classes: classes?,
                bytes: length,
                language,
            },
            prepared,
            quickness,
            places: self.places.clone(),
        })
    }
}

/// The configuration of the engine, also for whoever compares with bare wasmtime.
pub fn engine_config(config: &HostConfig) -> Config {
    // A place for each slot, one for an idle instance beside each, and one for a new component that is asked for its classes.
    let instances = config.slots.max(1).saturating_mul(2).saturating_add(1);
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
    // Where the kernel tells which pages were written, the few of a small operator are cleared in place: cheaper than to
    // give them back and to fault them in again. Elsewhere that would mean to clear all of it.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(KEPT_BYTES)
            .table_keep_resident(KEPT_BYTES);
    }
    let mut engine = Config::new();
    engine
        .max_wasm_stack(STACK_BYTES_MAX)
        .async_stack_size(ASYNC_STACK_BYTES);
    if config.simulated {
        // Whatever a processor may do in one way or another is done in one way.
        engine
            .consume_fuel(true)
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true);
    } else {
        engine
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
            .epoch_interruption(true);
    }
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

fn prepare(
    engine: &Engine,
    cache: &CodeCache,
    bytes: &[u8],
) -> Result<bindings::OperatorPre<TaskState>, String> {
    let unusable = |error: wasmtime::Error| format!("it is no operator component: {error:#}");
    let component = cache.component(engine, bytes).map_err(unusable)?;
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
        &self.info.classes
    }

    pub(super) fn info(&self) -> &ComponentInfo {
        &self.info
    }

    /// Runs a task where [`place`] says, its storage calls here; holds `slot` until the task has ended. When this is
    /// dropped or the time is over, that is at the next [`EPOCH_TICK`].
    pub(super) async fn run(&self, task: Task, slot: OwnedSemaphorePermit) -> Ended {
        let Task {
            request,
            mut storage,
            blobs,
            deadline,
        } = task;
        let (remote, calls) = remote_calls();
        let ticked = Ticked::default();
        let parts = TaskParts::new(&request, remote, ticked.clone());
        let called = self.prepared.clone().call(request, parts, slot);
        let running = self.places.run(called, &self.quickness, ticked);
        let served = serve(calls, running, storage.as_mut(), blobs);
        let result = match tokio::time::timeout_at(deadline.at, served).await {
            Ok(result) => result.unwrap_or_else(|lost| Err(OperatorFailure::Host(lost))),
            Err(_) => Err(deadline.exceeded()),
        };
        (result, storage)
    }
}

impl Drop for WasmOperators {
    fn drop(&mut self) {
        self.prepared.forget_idle();
    }
}
