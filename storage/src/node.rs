//! A storage node without its task: the core, and what of its outputs has to be made durable before it may leave.
//!
//! Used alike by the server and by the simulation. Pure: whoever owns it commits the batches and performs the outputs.

use crate::core::durable::{Durable, Founding};
use crate::core::{Change, Input, Output, Start, Storage};
use crate::engine::checkpoint::{CHECKPOINT_BYTES, Checkpointer};
use crate::engine::writer::Batch;
use crate::engine::{EngineError, EngineStats, Recovered};

/// A full disk is tried again this often.
const RESUME_MS: u64 = 1_000;

pub struct Node {
    pub core: Storage,
    checkpointer: Checkpointer,
    /// Of the last change: counts the changes since the data began.
    sequence: u64,
    /// Not yet handed over.
    pending: Vec<Output>,
    /// When to see whether a full disk has room again.
    resume_at_ms: Option<u64>,
    checkpoint_bytes: u64,
}

/// What to do next.
pub enum Work {
    /// Nothing in it has to be durable first.
    Perform(Vec<Output>),
    Commit(Batch),
}

impl Node {
    /// The first life on data that begins now. `fresh`: so does the whole cluster.
    pub fn found(now_ms: u64, gossip_delay_ms: u64, founding: Founding, fresh: bool) -> Self {
        let recovered = Recovered {
            durable: Durable::new(founding.clone()),
            sequence: 0,
            checkpointer: Checkpointer::default(),
        };
        let founded = Change::Founded(founding);
        if fresh {
            // A new cluster has nothing to copy.
            let changes = vec![founded, Change::Joined];
            Self::begin(now_ms, gossip_delay_ms, recovered, changes, Start::Fresh)
        } else {
            let changes = vec![founded];
            Self::begin(
                now_ms,
                gossip_delay_ms,
                recovered,
                changes,
                Start::Restarted,
            )
        }
    }

    /// Another life on the data that was recovered.
    pub fn restart(
        now_ms: u64,
        gossip_delay_ms: u64,
        recovered: Recovered,
        incarnation: u64,
    ) -> Self {
        let founding = Founding {
            incarnation,
            ..recovered.durable.founding.clone()
        };
        let changes = vec![Change::Founded(founding)];
        Self::begin(
            now_ms,
            gossip_delay_ms,
            recovered,
            changes,
            Start::Restarted,
        )
    }

    /// The same life, after the engine has failed: back to what was durable, and read-only.
    pub fn go_on(
        &self,
        now_ms: u64,
        gossip_delay_ms: u64,
        recovered: Recovered,
        error: &EngineError,
    ) -> Self {
        let joined = self.core.is_joined();
        let start = Start::Uninterrupted { joined };
        let mut node = Self::begin(now_ms, gossip_delay_ms, recovered, Vec::new(), start);
        node.core.bound_queues(self.core.queue_bounds());
        node.resume_at_ms = matches!(error, EngineError::Full(_)).then_some(now_ms + RESUME_MS);
        node.step(now_ms, Input::ReadOnly(Some(error.to_string())));
        node
    }

    fn begin(
        now_ms: u64,
        gossip_delay_ms: u64,
        mut recovered: Recovered,
        changes: Vec<Change>,
        start: Start,
    ) -> Self {
        for change in &changes {
            recovered.durable.apply(change);
            recovered.checkpointer.note(change);
            recovered.sequence += 1;
        }
        Self {
            core: Storage::new(now_ms, gossip_delay_ms, recovered.durable, start),
            checkpointer: recovered.checkpointer,
            sequence: recovered.sequence,
            pending: changes.into_iter().map(Output::Persist).collect(),
            resume_at_ms: None,
            checkpoint_bytes: CHECKPOINT_BYTES,
        }
    }

    /// Begins checkpoints when the log has grown by this much.
    pub fn checkpoint_every(&mut self, bytes: u64) {
        self.checkpoint_bytes = bytes;
    }

    pub fn founding(&self) -> &Founding {
        &self.core.durable().founding
    }

    pub fn step(&mut self, now_ms: u64, input: Input) {
        let first = self.pending.len();
        self.core.step(now_ms, input, &mut self.pending);
        let changes = self.pending.iter().skip(first).filter_map(Output::change);
        for change in changes {
            self.sequence += 1;
            if self.core.durable().founding.disk != 0 {
                self.checkpointer.note(change);
            }
        }
    }

    /// Outputs that wait to be handed over.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Ends a batch of inputs. `stats`: of the engine, as of its last answer.
    pub fn hand_over(&mut self, now_ms: u64, stats: EngineStats) -> Work {
        self.step(now_ms, Input::Flush);
        let outputs = std::mem::take(&mut self.pending);
        let persists = |output: &Output| output.change().is_some();
        let is_durable = self.core.durable().founding.disk != 0;
        if !is_durable || !(stats.unsynced || outputs.iter().any(persists)) {
            return Work::Perform(outputs);
        }
        if stats.log_bytes >= self.checkpoint_bytes {
            self.checkpointer.begin(self.sequence);
        }
        Work::Commit(Batch {
            outputs,
            slice: self.checkpointer.slice(self.core.durable(), self.sequence),
            now_ms,
        })
    }

    /// True when it is time to see whether a full disk has room again.
    pub fn wants_to_resume(&mut self, now_ms: u64) -> bool {
        let is_due = self.resume_at_ms.is_some_and(|at| at <= now_ms);
        if is_due {
            self.resume_at_ms = Some(now_ms + RESUME_MS);
        }
        is_due
    }

    /// The disk has room again.
    pub fn resume(&mut self, now_ms: u64) {
        self.resume_at_ms = None;
        self.step(now_ms, Input::ReadOnly(None));
    }
}
