//! What a task may use. Every bound of the operator host is here, with its unit.

use std::path::PathBuf;
use std::time::Duration;

use super::blob::AwsSettings;
use super::native::ChildCommand;

/// How the operator host is set up.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where operators are looked for, besides the built-in ones: a directory with `*.wasm` components and `*.so`
    /// libraries, or one such file.
    pub directory: Option<PathBuf>,
    /// Whether native libraries are loaded. They can do whatever the worker can.
    pub allow_native: bool,
    /// Native operators run in children that are started so; none: in the worker, where a crash ends it.
    pub native_isolated: Option<ChildCommand>,
    /// How many tasks run at once, at least 1; further ones wait in order.
    pub slots: u32,
    /// The memory of one WASM task, all its linear memories together.
    pub memory_bytes_max: usize,
    /// Keys and values of the items that one task returns, together; and the arguments of one call.
    pub output_bytes_max: usize,
    /// Where compiled components are kept; none: nowhere.
    pub code_cache: Option<PathBuf>,
    /// How `s3://` is reached.
    pub aws: AwsSettings,
    /// Operators run in the virtual time of a simulation: on its one thread, and by their instructions.
    pub simulated: bool,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            directory: None,
            allow_native: false,
            native_isolated: None,
            slots: 8,
            memory_bytes_max: 64 << 20,
            output_bytes_max: 16 << 20,
            code_cache: None,
            aws: AwsSettings::of_process(),
            simulated: false,
        }
    }
}

/// How often a WASM task without storage calls lets others run, and is looked at.
pub(super) const EPOCH_TICK: Duration = Duration::from_millis(10);
/// In a simulation: what a WASM task computes before time goes on, in wasmtime's units of fuel, and by how much it does.
pub(super) const FUEL_TICK: u64 = 2_000_000;
/// And how many calls that need no session take as long.
pub(super) const HOST_CALLS_TICK: u32 = 100;
pub(super) const FUEL_TICK_TAKES: Duration = Duration::from_millis(1);
/// What a WASM task computes at most that counts as quick.
pub(super) const QUICK: Duration = Duration::from_millis(1);
/// How many tasks of a component in a row must have been quick for the next to begin on its caller's thread.
pub(super) const QUICK_TASKS_MIN: u32 = 8;
/// The call stack of a WASM task.
pub(super) const STACK_BYTES_MAX: usize = 1 << 20;
/// The same and what the host's functions need on top.
pub(super) const ASYNC_STACK_BYTES: usize = STACK_BYTES_MAX + (1 << 20);
/// The elements of one table of a component.
pub(super) const TABLE_ELEMENTS_MAX: usize = 50_000;
/// Core instances of one component: languages that link libraries into it, as Python's does, need one for each.
pub(super) const CORE_INSTANCES_MAX: u32 = 64;
/// Linear memories of one component.
pub const MEMORIES_MAX: u32 = 2;
/// What the pool keeps of a memory or a table for the next task, cleared, instead of giving it back to the system.
pub(super) const KEPT_BYTES: usize = 256 << 10;
/// Tables of one component.
pub(super) const TABLES_MAX: u32 = 8;
/// The time that a file has to name its classes.
pub(super) const CLASSES_TIMEOUT: Duration = Duration::from_secs(5);
/// What a worker and a child for native operators say at once.
pub(super) const FRAME_BYTES_MAX: u32 = 256 << 20;
/// Children that wait for being started.
pub(super) const LAUNCHES_MAX: usize = 64;
/// A file of operators.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// Deployed components that are kept ready to run; the one used least lately makes room.
pub(super) const DEPLOYED_MAX: usize = 64;
/// The directory of compiled components.
pub(super) const CODE_CACHE_BYTES_MAX: u64 = 1 << 30;
/// A class name.
pub(super) const CLASS_BYTES_MAX: usize = 128;
/// Classes of one file.
pub(super) const CLASSES_MAX: usize = 1_000;
/// Storage and blob calls of one task.
pub(super) const CALLS_MAX: u32 = 1_000_000;
/// The values that one task gives to writes and updates, together.
pub(super) const WRITTEN_BYTES_MAX: u64 = 1 << 30;
/// Blobs that one task has open at once.
pub(super) const BLOB_READERS_MAX: usize = 16;
/// What one call reads of a blob.
pub(super) const BLOB_READ_BYTES_MAX: usize = 1 << 20;
/// What is read of a file at once.
pub(super) const FILE_PIECE_BYTES: u64 = 256 << 10;
/// Buckets and hosts that are kept connected; the one used least lately makes room.
pub(super) const STORES_MAX: usize = 64;
/// Connections to one of them that wait for the next request.
pub(super) const IDLE_CONNECTIONS_MAX: usize = 8;
/// How long a connection may take; all else that a blob takes is bounded by the task's deadline.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a request of a blob is repeated at once, and within which time: beyond that the task is tried again.
pub(super) const BLOB_RETRIES_MAX: usize = 2;
pub(super) const BLOB_RETRIES_TIMEOUT: Duration = Duration::from_secs(10);
/// Random bytes of one call.
pub(super) const RANDOM_BYTES_MAX: u32 = 65_536;
/// Log lines of one task; the rest is dropped.
pub(super) const LOG_LINES_MAX: u32 = 1_000;
/// One log line; the rest is cut.
pub(super) const LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// An error text of an operator; the rest is cut.
pub(super) const ERROR_TEXT_BYTES_MAX: usize = 16 << 10;
/// Functions that the error of a trap names.
pub(super) const TRAP_FUNCTIONS_MAX: usize = 10;
/// Class names offered for an unknown one.
pub(super) const SUGGESTIONS_MAX: usize = 3;
/// How similar an offered name is at least (Jaro-Winkler, 0 to 1).
pub(super) const SUGGESTION_SIMILARITY_MIN: f64 = 0.8;

/// Cuts a text to at most `bytes_max`, between characters, and marks the cut.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max)
            .rev()
            .find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}
