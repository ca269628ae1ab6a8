//! Where a node's durable state rests, and how it comes back.
//!
//! - [`Engine`]: what the server needs · [`MemoryEngine`]: nothing survives the process
//! - [`store`]: log and checkpoints on a disk, [`directory`]: of the operating system · [`checkpoint`]: which parts of the state are to be saved so that the log can be cut
//! - [`recovery`]: the state from both
//! - [`writer`]: the task's side of the thread that owns the engine

pub mod checkpoint;
pub mod directory;
pub mod recovery;
pub mod store;
pub mod writer;

use self::checkpoint::{Checkpointer, Slice};
use crate::core::Change;
use crate::core::durable::Durable;

/// The device failed. What was not yet durable is lost; what was, can still be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// There may be room again later.
    #[error("the disk is full: {0}")]
    Full(String),
    #[error("{0}")]
    Failed(String),
}

/// The state as it was durable.
#[derive(Debug)]
pub struct Recovered {
    pub durable: Durable,
    /// Counts the changes made durable since the data began.
    pub sequence: u64,
    /// Knows which parts of it the last checkpoint lacks.
    pub checkpointer: Checkpointer,
}

/// How much an engine has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Bytes of the log that no checkpoint covers.
    pub log_bytes: u64,
    pub changes: u64,
    pub syncs: u64,
    /// Something was committed and waits for a later sync.
    pub unsynced: bool,
}

/// Makes changes durable before anything that implies them leaves the node.
pub trait Engine: Send + 'static {
    /// Reads what is durable; absent: the data begins now. Called first, and again after a failure: then what was not
    /// known to be durable is cut off.
    fn recover(&mut self) -> Result<Option<Recovered>, EngineError>;

    /// When this returns, all of the changes survive whatever the engine promises to survive.
    fn commit(&mut self, changes: &[Change]) -> Result<(), EngineError>;

    /// Puts a part of a checkpoint; all changes that it covers have been committed.
    fn save(&mut self, slice: Slice) -> Result<(), EngineError>;

    /// Time has passed; for engines that sync by the clock.
    fn tick(&mut self, now_ms: u64) -> Result<(), EngineError>;

    /// After [`EngineError::Full`]: fails unless there is room again.
    fn resume(&mut self) -> Result<(), EngineError>;

    fn stats(&self) -> EngineStats;

    /// False: the data dies with the process.
    fn is_durable(&self) -> bool {
        true
    }
}

/// Memory only: the state in the core is all there is, and it dies with the process. A restarted node copies its
/// data from the other replicas before it takes part again.
#[derive(Debug, Default)]
pub struct MemoryEngine;

impl Engine for MemoryEngine {
    fn recover(&mut self) -> Result<Option<Recovered>, EngineError> {
        Ok(None)
    }

    fn commit(&mut self, _: &[Change]) -> Result<(), EngineError> {
        Ok(())
    }

    fn save(&mut self, _: Slice) -> Result<(), EngineError> {
        Ok(())
    }

    fn tick(&mut self, _: u64) -> Result<(), EngineError> {
        Ok(())
    }

    fn resume(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    fn is_durable(&self) -> bool {
        false
    }
}
