//! A storage node without its task: the core, and what of its outputs has to be made durable before it may leave.
//!
//! Used alike by the server and by the simulation. Pure: whoever owns it commits the batches and performs the outputs.

use crate::core::durable::{Durable, Founding};
use crate::core::{Change, Input, Output, Start, Storage};
use crate::engine::checkpoint::{CHECKPOINT_BYTES, Checkpointer};
use crate::engine::writer::Batch;
use crate::engine::{EngineError, EngineStats, Recovered};
use crate::hold::Hold;

/// A full disk is tried again this often.
const RESUME_MS: u64 = 1_000;

pub struct Node {
    pub core: Storage,
    checkpointer: Checkpointer,
    /// Of the last change: counts the changes since the data began.
    sequence: u64,
    /// Not yet handed over.
    changes: Vec<Change>,
    hold: Hold,
    /// May leave now, in this order.
    ready: Vec<Output>,
    /// It has begun as a member, or what it has joined with is durable.
    is_member: bool,
    /// Time has passed since something was handed over: what nobody waits for is due as well.
    is_due: bool,
    /// When to see whether a full disk has room again.
    resume_at_ms: Option<u64>,
    checkpoint_bytes: u64,
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
        let joined = self.is_member;
        let start = Start::Uninterrupted { joined };
        let mut node = Self::begin(now_ms, gossip_delay_ms, recovered, Vec::new(), start);
        node.core.live_on(&self.core);
        node.core.bound_queues(self.core.queue_bounds());
        node.checkpoint_bytes = self.checkpoint_bytes;
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
        let mut hold = Hold::default();
        for change in &changes {
            recovered.durable.apply(change);
            recovered.checkpointer.note(change);
            recovered.sequence += 1;
            hold.order(change);
        }
        let core = Storage::new(now_ms, gossip_delay_ms, recovered.durable, start);
        Self {
            is_member: core.is_joined(),
            core,
            checkpointer: recovered.checkpointer,
            sequence: recovered.sequence,
            changes,
            hold,
            ready: Vec::new(),
            is_due: false,
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
        self.is_due |= matches!(input, Input::Tick);
        let mut outputs = Vec::new();
        self.core.step(now_ms, input, &mut outputs);
        for output in outputs {
            match output {
                Output::Persist(change) => {
                    self.sequence += 1;
                    self.hold.order(&change);
                    if self.is_durable() {
                        self.checkpointer.note(&change);
                    }
                    self.changes.push(change);
                }
                other => self.ready.extend(self.hold.pass(other)),
            }
        }
        if !self.is_durable() {
            let changes = std::mem::take(&mut self.changes);
            self.committed(changes);
        }
    }

    /// What nobody waits for is handed over with the next batch.
    pub fn make_due(&mut self) {
        self.is_due = true;
    }

    fn is_durable(&self) -> bool {
        self.core.durable().founding.disk != 0
    }

    /// What the node waits for: outputs for changes, and changes to be handed over.
    pub fn pending(&self) -> usize {
        self.changes.len() + self.hold.count()
    }

    /// What may leave now, to be performed in this order. A change among them has become durable.
    pub fn ready(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.ready)
    }

    /// Ends a batch of inputs, when the engine has nothing to do: what it is to make durable next, then to be told by
    /// [`committed`](Self::committed). What nobody waits for can wait for the next tick.
    /// `stats`: of the engine, as of its last answer.
    pub fn hand_over(&mut self, now_ms: u64, stats: EngineStats) -> Option<Batch> {
        self.step(now_ms, Input::Flush);
        let is_due = std::mem::take(&mut self.is_due);
        let is_wanted = !self.changes.is_empty() && (is_due || self.hold.is_waiting());
        if !self.is_durable() || !(stats.unsynced || is_wanted) {
            return None;
        }
        if stats.log_bytes >= self.checkpoint_bytes {
            self.checkpointer.begin(self.sequence);
        }
        let (durable, bytes) = (self.core.durable(), self.checkpoint_bytes);
        Some(Batch {
            changes: std::mem::take(&mut self.changes),
            slice: self.checkpointer.slice(durable, self.sequence, bytes),
            now_ms,
        })
    }

    /// The changes that were handed over are durable.
    pub fn committed(&mut self, changes: Vec<Change>) {
        self.is_member |= changes.contains(&Change::Joined);
        let released = self.hold.release(changes.len());
        self.ready.extend(changes.into_iter().map(Output::Persist));
        self.ready.extend(released);
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
