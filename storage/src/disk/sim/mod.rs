//! [`Files`](super::Files) and [`Table`](super::Table) in memory, with crashes and faults.
//!
//! - `files`: [`SimFiles`] · `table`: [`SimTable`] · `machine`: both of one machine, [`SimDisk`]
//!
//! Both are handles: clones share one disk, so that it outlives the node that used it. Everything is deterministic;
//! where a crash has a choice, the caller's `chance` makes it. `chance(below)` returns a number below its argument:
//! always 0 loses all that a crash may lose, always `below - 1` keeps everything.

mod files;
mod machine;
mod table;

use super::error::DiskError;

pub use self::files::SimFiles;
pub use self::machine::SimDisk;
pub use self::table::SimTable;

/// What a fault can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Append,
    Sync,
    Truncate,
    Remove,
    SyncDirectory,
    /// Of a table.
    Apply,
    /// Of a table.
    Flush,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// None: operations of all kinds count.
    pub operation: Option<Operation>,
    /// So many of them succeed before the fault strikes.
    pub after: u64,
    /// From then on all of them fail, until [`clear_faults`](SimFiles::clear_faults) or a crash; otherwise one.
    pub lasting: bool,
}

/// What was done to a simulated disk, also what failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SimCounters {
    pub operations: u64,
    /// Of files, directories and tables.
    pub syncs: u64,
    /// Appended.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Faults {
    planned: Vec<Fault>,
    counters: SimCounters,
}

impl Faults {
    /// Counts an operation and says whether it fails.
    fn strikes(&mut self, operation: Operation) -> bool {
        self.counters.operations += 1;
        if matches!(
            operation,
            Operation::Sync | Operation::SyncDirectory | Operation::Flush
        ) {
            self.counters.syncs += 1;
        }
        let mut strikes = false;
        self.planned.retain_mut(|fault| {
            if fault.operation.is_some_and(|only| only != operation) {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            strikes = true;
            fault.lasting
        });
        strikes
    }
}

fn io_error(operation: &'static str, path: &str) -> DiskError {
    DiskError::Io {
        operation,
        path: path.to_owned(),
        message: "simulated I/O error".to_owned(),
    }
}

fn full(path: &str) -> DiskError {
    DiskError::Full {
        path: path.to_owned(),
        message: "simulated full disk".to_owned(),
    }
}
