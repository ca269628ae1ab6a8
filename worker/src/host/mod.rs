//! The operator host: finds operators by class name and runs one task of a run. It knows no network: storage
//! calls go to the [`StorageCalls`] that the caller hands in and gets back.
//!
//! Promises:
//! - A WASM operator can hurt nobody: fresh memory in each task (unless the application asks for reuse), bounded memory, stack, time and output, and no
//!   capability but its storage calls and its log. Whatever it does ends in items or a typed [`OperatorError`].
//! - A task without end is stopped at its deadline, and when the future of [`OperatorHost::run`] is dropped.
//! - Operators run on threads of their own: however busy, they hold up nothing of the caller's. Only those that are known to
//!   be quick begin on a thread of their caller's, one at a time, for at most one [`limits::EPOCH_TICK`]. Among themselves,
//!   WASM operators take turns at every tick.
//! - A component is compiled once, also over restarts, if there is a place to keep it ([`HostConfig::code_cache`]).
//! - The session comes back with every result, also with an error.
//! - A broken file of operators is reported and costs nobody else anything. New files are found without restart,
//!   as soon as an unknown class is asked for.
//!
//! Relies on: a tokio runtime with time enabled; files that are replaced by renaming, not written in place.
//!
//! Must never: run a native library without `allow_native`, or unload one.
//!
//! Absent: which worker runs what, retries, pins, forwarding.
//!
//! - [`storage`]: the calls. - [`blob`]: reading by URL. - [`surroundings`]: time and chance. - [`error`]: failures. - [`limits`]: configuration and bounds.
//! - [`rehearsal`]: runs without a cluster. - [`registry`]: classes and files. - [`deployed`]: components by hash.
//! - [`wasm`], [`native`]: the two kinds of operators. - [`remote`]: their calls, from their threads to the session.
//! - [`task_log`]: log lines. - [`heap`]: the worker's own memory.
//! - [`blocking`]: what holds up its thread. - [`idle`]: what waits for the next task. - [`recent`]: what is made once and kept.

mod blob;
mod blocking;
mod deployed;
mod error;
mod heap;
mod idle;
mod limits;
mod native;
mod recent;
mod registry;
mod rehearsal;
mod remote;
mod storage;
mod surroundings;
mod task_log;
mod wasm;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use common::types::{ComponentHash, Item};
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use blob::{AwsSettings, BlobError};
pub use deployed::Components;
pub use error::{LoadProblem, OperatorError, OperatorFailure, StartError};
pub use limits::{FILE_BYTES_MAX, HostConfig, MEMORIES_MAX};
pub use marionette_sdk::Level;
pub use native::{ChildCommand, serve_native_tasks};
pub use registry::{ClassInfo, Source};
pub use rehearsal::{Call, Fault, MemoryStorage, Rehearsal};
pub use storage::{StorageCalls, StorageError, UpdateError};
pub use wasm::{
    CodeCacheUse, ComponentInfo, default_code_cache, engine_config, language, user_cache,
};

use blob::{Blobs, Stores};
use registry::{Operators, Registry};

/// One attempt at one task, as an operator is to see it.
#[derive(Clone, Debug, Default)]
pub struct OperatorRequest {
    /// The class of the operator.
    pub class: String,
    /// The component that holds it; absent: the worker's own.
    pub component: Option<ComponentHash>,
    /// The number of the run, and the scheduler that counts it.
    pub run: u64,
    pub scheduler_incarnation: u64,
    /// When the run was submitted, in milliseconds since 1970.
    pub submitted_unix_ms: u64,
    /// The number of the stage, from 0.
    pub stage: u32,
    /// The number of the task within the stage, from 0.
    pub task: u32,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The input of the run.
    pub input: String,
    /// The options of the stage.
    pub options: BTreeMap<String, String>,
    /// Prefixes of the URLs that it may open.
    pub grants: Vec<String>,
    /// What the stage before returned.
    pub items: Vec<Item>,
    /// Who watches, where there is no cluster.
    pub rehearsal: Option<Arc<Rehearsal>>,
}

impl OperatorRequest {
    /// Whether the application accepts that tasks of a class see what earlier ones left in memory.
    fn reuses_instances(&self) -> bool {
        self.options
            .get("reuse")
            .is_some_and(|reuse| reuse == "yes")
    }
}

/// A task ready to run: the request, its session, and until when.
struct Task {
    request: OperatorRequest,
    storage: Box<dyn StorageCalls>,
    blobs: Blobs,
    deadline: Deadline,
}

/// When a task must have ended.
#[derive(Clone, Copy)]
struct Deadline {
    after: Duration,
    at: Instant,
}

impl Deadline {
    fn after(after: Duration) -> Self {
        let at = Instant::now() + after;
        Self { after, at }
    }

    fn exceeded(self) -> OperatorFailure {
        OperatorFailure::DeadlineExceeded {
            deadline: self.after,
        }
    }
}

/// What came of a task.
pub struct Ran {
    /// Its items, or why there are none.
    pub result: Result<Vec<Item>, OperatorError>,
    /// The session that the caller handed in.
    pub storage: Box<dyn StorageCalls>,
    /// How long its operator was not ready to run: to be found, or fetched and compiled.
    pub cold: Duration,
}

/// What a task ends in: its items or why there are none, and its session.
type Ended = (Result<Vec<Item>, OperatorFailure>, Box<dyn StorageCalls>);

/// Finds and runs operators. One per worker, shared by its tasks.
pub struct OperatorHost {
    registry: Registry,
    stores: Arc<Stores>,
    slots: Arc<Semaphore>,
}

impl OperatorHost {
    /// Compiles the built-in operators and loads the directory. What is wrong with single files is logged and in
    /// [`Self::problems`].
    pub async fn start(config: HostConfig) -> Result<Self, StartError> {
        Self::start_with(config, None).await
    }

    /// The same for a worker that runs deployed components, too.
    pub async fn start_with(
        config: HostConfig,
        components: Option<Arc<dyn Components>>,
    ) -> Result<Self, StartError> {
        heap::keep_no_large_blocks();
        let slots = Arc::new(Semaphore::new(config.slots.max(1) as usize));
        let stores = Arc::new(Stores::new(config.aws.clone(), config.simulated));
        let registry = Registry::start(config, components).await?;
        Ok(Self {
            registry,
            stores,
            slots,
        })
    }

    /// The classes that can be run now, by name, with where they come from.
    pub fn classes(&self) -> Vec<ClassInfo> {
        self.registry.classes()
    }

    /// What is wrong with the files of operators, as of the last look at them.
    pub fn problems(&self) -> Vec<LoadProblem> {
        self.registry.problems()
    }

    /// How many components were compiled since the start, and how many had been before.
    pub fn code_cache_use(&self) -> CodeCacheUse {
        self.registry.engine().code_cache_use()
    }

    /// Looks at the directory again: new, changed and removed files. [`Self::run`] does it by itself for a class
    /// that it does not know.
    pub async fn rescan(&self) {
        self.registry.rescan().await;
    }

    /// Whether the class can be run; looks at the directory again for one that is not known.
    pub async fn knows(&self, class: &str) -> Result<(), OperatorFailure> {
        self.registry.find(class, None).await.map(drop)
    }

    /// Makes a deployed component ready to run, so that its first task need not wait for that; what it holds.
    pub async fn prepare(&self, hash: ComponentHash) -> Result<ComponentInfo, OperatorFailure> {
        let operators = self.registry.deployed(hash).await?;
        Ok(operators.info().clone())
    }

    /// Runs one task, waiting for a free slot first; `deadline` counts from now and covers that, what makes the operator
    /// ready, and the operator.
    ///
    /// Dropping the future stops a WASM task within [`limits::EPOCH_TICK`], and the process of an isolated native one. A native
    /// one in the worker goes on to its next storage call, which fails with [`StorageError::Cancelled`]; it keeps its slot until
    /// it returns.
    pub async fn run(
        &self,
        mut request: OperatorRequest,
        storage: Box<dyn StorageCalls>,
        deadline: Duration,
    ) -> Ran {
        let (class, run) = (request.class.clone(), request.run);
        let grants = std::mem::take(&mut request.grants);
        let rehearsal = request.rehearsal.clone();
        let task = Task {
            request,
            storage,
            blobs: Blobs::new(grants, Arc::clone(&self.stores), rehearsal),
            deadline: Deadline::after(deadline),
        };
        let ((result, storage), cold) = self.run_task(task).await;
        let named = |failure| OperatorError {
            class,
            run,
            failure,
        };
        Ran {
            result: result.map_err(named),
            storage,
            cold,
        }
    }

    /// And how long its operator was not ready.
    async fn run_task(&self, task: Task) -> (Ended, Duration) {
        let deadline = task.deadline;
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = match at_once_or_until(deadline, slot).await.0 {
            Ok(Ok(slot)) => slot,
            Ok(Err(_)) => {
                let failure = OperatorFailure::Host("the operator host is closed".to_owned());
                return ((Err(failure), task.storage), Duration::ZERO);
            }
            Err(failure) => return ((Err(failure), task.storage), Duration::ZERO),
        };
        let Task { request, .. } = &task;
        let found = self.registry.find(&request.class, request.component);
        let (found, cold) = at_once_or_until(deadline, found).await;
        let ended = match found.and_then(|found| found) {
            Err(failure) => (Err(failure), task.storage),
            Ok(Operators::Wasm(operators)) => operators.run(task, slot).await,
            Ok(Operators::Native(operators)) => {
                native::run(operators, task, slot, self.registry.config()).await
            }
        };
        (ended, cold)
    }
}

/// Waits for what must be there by the deadline; and how long that took. What is there at once costs neither a timer nor a
/// look at the clock.
async fn at_once_or_until<T>(
    deadline: Deadline,
    wanted: impl Future<Output = T>,
) -> (Result<T, OperatorFailure>, Duration) {
    let mut wanted = std::pin::pin!(wanted);
    if let Poll::Ready(there) = futures::poll!(wanted.as_mut()) {
        return (Ok(there), Duration::ZERO);
    }
    let begun = Instant::now();
    let there = tokio::time::timeout_at(deadline.at, wanted).await;
    (there.map_err(|_| deadline.exceeded()), begun.elapsed())
}

/// Holds the items that a task returns to the limit.
fn bounded(items: Vec<Item>, bytes_max: usize) -> Result<Vec<Item>, OperatorFailure> {
    let bytes: usize = items
        .iter()
        .map(|item| item.value.len() + item.key.as_ref().map_or(0, String::len))
        .sum();
    if bytes > bytes_max {
        return Err(OperatorFailure::OutputTooLarge { bytes_max });
    }
    Ok(items)
}
