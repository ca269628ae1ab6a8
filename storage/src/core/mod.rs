//! The storage node as a state machine: an input and a time go in, a list of outputs comes out.
//!
//! No I/O, clock, randomness or tasks. A shell (`server.rs`) makes every [`Output::Persist`] durable, in order, before it
//! performs what depends on it: [`Output`] says what does (I11).
//!
//! - [`durable`]: all that survives a crash · [`record`]: one record's versions, `state`: what others get of it · [`updates`]: the log of its updates
//! - [`queue`], [`coordinator`], [`batch`], `vote`: the update protocol · `waiting`: the clients of it
//! - [`gossip`], [`link`], [`spread`], [`timestamp`]: spreading of updates per partition
//! - [`life`]: how a node begins · [`members`]: failure detection and quorums · [`join`]: how a node becomes a member · [`copy`]: copies of state
//! - [`fence`]: new attempts at tasks · `absence`: those that a node did not hear of · [`fences`]: what is refused to old ones · [`retained`]: what they did
//! - [`client`]: reads and writes · [`scan`]: many records · [`changes`], [`watch`]: what changes, for those who wait
//! - [`snapshot`]: copies for backups, and back · [`message`]: what nodes say, `inbox`: to which part
//! - [`effect`]: inputs and outputs · [`soundness`]: what must hold of durable state · [`planted`]: bugs for the tests to find

mod absence;
pub mod batch;
pub mod changes;
pub mod client;
pub mod coordinator;
pub mod copy;
pub mod durable;
pub mod effect;
pub mod fence;
pub mod fences;
pub mod gossip;
mod inbox;
pub mod join;
pub mod life;
pub mod link;
pub mod members;
pub mod message;
pub mod planted;
pub mod queue;
pub mod record;
pub mod retained;
pub mod scan;
pub mod snapshot;
pub mod soundness;
pub mod spread;
mod state;
pub mod timestamp;
pub mod updates;
mod vote;
mod waiting;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};

use common::types::{PartitionId, RecordId, ReplicaId, Ring};

pub use self::effect::{Change, Envelope, Halt, Input, Level, Output, Refusal, Reply, Token};
pub use self::life::Start;

use self::absence::Absence;
use self::changes::Changes;
use self::client::{WaitingRead, WaitingWrite, Write};
use self::copy::Pull;
use self::durable::Durable;
use self::fence::WaitingFence;
use self::join::Answer;
use self::link::Partition;
use self::members::{HEARTBEAT_MS, Members};
use self::message::{Message, Term};
use self::planted::Planted;
use self::queue::{Activity, QueueBounds};
use self::record::RecordChange;
use self::updates::Updates;
use self::waiting::WaitingUpdates;
use self::watch::WaitingWatch;

pub(crate) type Outputs = Vec<Output>;

/// One storage node. See the module's documentation for its promises.
///
/// Equal hashes: nodes that behave alike from now on, but for what they tell watchers; so a model check knows a state that it has seen.
#[derive(Debug, Clone, Hash)]
pub struct Storage {
    me: ReplicaId,
    gossip_delay_ms: u64,
    durable: Durable,
    ring_hash: u64,
    members: Members,
    partitions: BTreeMap<PartitionId, Partition>,
    /// When partitions have gossip to send or to look at again; the others are at rest.
    stirring: BTreeMap<PartitionId, u64>,
    /// What goes on for a record beyond its durable state: absent when nothing does.
    active: BTreeMap<RecordId, Activity>,
    /// The latest term of each record that this node has coordinated in this life: unless somebody else has promised
    /// more, the next one needs no new promise.
    terms: BTreeMap<RecordId, Term>,
    bounds: QueueBounds,
    /// In all queues of `active`.
    queued_updates: usize,
    waiting_updates: WaitingUpdates,
    /// Undecided since the node began: clients may have been told the outcome, which nothing here shows yet.
    orphans: BTreeSet<RecordId>,
    waiting_writes: Vec<WaitingWrite>,
    waiting_reads: Vec<WaitingRead>,
    waiting_watches: Vec<WaitingWatch>,
    waiting_fences: Vec<WaitingFence>,
    changes: Changes,
    absence: Absence,
    /// Copies of state under way, by member.
    pulls: BTreeMap<ReplicaId, Pull>,
    /// What the others have said to this node while it was joining.
    answers: BTreeMap<ReplicaId, Answer>,
    /// Since when a member's data was seen to differ from this node's.
    differing_since_ms: BTreeMap<ReplicaId, u64>,
    /// Names the latest copy; begins at the incarnation, so that no two lives of a node share a name.
    copies: u64,
    joined: bool,
    join_again_ms: u64,
    read_only: Option<String>,
    heartbeat_due_ms: u64,
    planted: Planted,
}

impl Storage {
    /// Makes this node do one thing wrong.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: planted::Bug) {
        self.planted = Planted::new(bug);
        self.members.plant(self.planted);
        self.durable.plant(self.planted);
    }

    /// Handles one input and appends what must be done, in order.
    pub fn step(&mut self, now_ms: u64, input: Input, out: &mut Outputs) {
        self.note_pause(now_ms);
        match input {
            Input::Read {
                token,
                record,
                wanted,
                wait_ms,
            } => {
                let until_ms = (wait_ms > 0).then_some(now_ms + wait_ms);
                self.read(token, record, wanted, until_ms, out);
            }
            Input::Write {
                token,
                id,
                record,
                value,
                level,
                above,
                task,
            } => {
                let write = Write {
                    token,
                    id,
                    record,
                    value,
                    level,
                    above,
                    task,
                };
                self.write(now_ms, &write, out);
            }
            Input::UpdateIf { token, update } => self.update_if(now_ms, token, update, out),
            Input::Fence { token, fence } => self.fence(now_ms, token, fence, out),
            Input::Forget { token, range } => self.forget(token, range, out),
            Input::History { token, record } => self.tell_history(token, &record, out),
            Input::List {
                token,
                after,
                limit,
            } => self.tell_list(token, &after, limit, out),
            Input::Scan { token, scan } => self.scan(token, &scan, out),
            Input::Watch {
                token,
                watch,
                wait_ms,
            } => self.watch(now_ms, token, watch, wait_ms, out),
            Input::Snapshot { token, at_least } => self.snapshot(token, &at_least, out),
            Input::Restore {
                token,
                records,
                only_check,
            } => self.restore(token, records, only_check, out),
            Input::Peer(envelope) => self.open(now_ms, *envelope, out),
            Input::CertifyDeath {
                token,
                replica,
                incarnation,
            } => {
                self.certify_death(now_ms, replica, incarnation, out);
                self.acknowledge_death(token, out);
            }
            Input::Tick => self.tick(now_ms, out),
            Input::Flush => self.flush(now_ms, out),
            Input::ReadOnly(reason) => self.set_read_only(now_ms, reason, out),
        }
    }

    /// A batch of inputs has ended.
    fn flush(&mut self, now_ms: u64, out: &mut Outputs) {
        self.answer_reads(out);
        self.answer_watches(out);
        self.answer_fences(out);
        self.flush_gossip(now_ms, out);
    }

    fn set_read_only(&mut self, now_ms: u64, reason: Option<String>, out: &mut Outputs) {
        self.read_only = reason;
        self.heartbeat_due_ms = now_ms;
        if self.read_only.is_none() && self.joined {
            self.note_deaths(out);
            self.hasten(now_ms);
        }
    }

    fn certify_death(
        &mut self,
        now_ms: u64,
        replica: ReplicaId,
        incarnation: u64,
        out: &mut Outputs,
    ) {
        self.members.certify_death(replica, incarnation);
        if self.read_only.is_some() {
            // Nothing follows from it here until it can be kept.
            return self.answer_writes(out);
        }
        if self.members.is_certified_dead(replica) {
            self.pulls.remove(&replica);
            self.forget_answer(replica);
            if self.joined {
                self.note_death(replica, true, out);
            }
        }
        if !self.joined {
            // What the dead node decided may have reached the others after they were asked: ask again.
            self.start_joining();
        }
        self.finish_joining(out);
        let active: Vec<RecordId> = self.active.keys().cloned().collect();
        for record in active {
            self.advance(now_ms, &record, out);
        }
        self.hasten(now_ms);
        self.answer_writes(out);
    }

    fn acknowledge_death(&self, token: Option<Token>, out: &mut Outputs) {
        if let Some(token) = token {
            let noted = self.writable().map(|()| Reply::DeathNoted);
            Self::reply_all(token, noted, out);
        }
    }

    fn tick(&mut self, now_ms: u64, out: &mut Outputs) {
        self.note_tick(now_ms);
        if now_ms >= self.heartbeat_due_ms {
            self.heartbeat_due_ms = now_ms + HEARTBEAT_MS;
            // Who joins tells the dead too: it may know of an earlier life than theirs, and they of one of its own.
            let hears = |(_, member): &(ReplicaId, &members::Member)| {
                !self.joined || !member.certified_dead
            };
            for (to, _) in self.members.iter().filter(hears) {
                let heartbeat = Message::Heartbeat {
                    gossip_delay_ms: self.gossip_delay_ms,
                    // Who cannot vote shall not be asked to coordinate either.
                    joining: !self.joined || self.read_only.is_some(),
                    replaces: self.durable.founding.replaces,
                    hash: self.shared_hash(to),
                };
                Self::send(to, heartbeat, out);
            }
        }
        self.expire_waiting(now_ms, out);
        self.expire_watches(now_ms, out);
        self.expire_fences(now_ms, out);
        if self.read_only.is_some() {
            return;
        }
        self.tick_joining(now_ms, out);
        if self.members.has_new_suspect(now_ms) {
            self.succeed(now_ms);
        }
        self.tick_pulls(now_ms, out);
        self.tick_updates(now_ms, out);
        self.orphans
            .retain(|record| self.durable.undecided().contains(record));
        self.tick_gossip(now_ms, out);
        self.flush_gossip(now_ms, out);
    }

    /// Whether anything can be made durable now.
    fn writable(&self) -> Result<(), Refusal> {
        match &self.read_only {
            Some(reason) => Err(Refusal::ReadOnly(reason.clone())),
            None => Ok(()),
        }
    }

    fn send(to: ReplicaId, message: Message, out: &mut Outputs) {
        out.push(Output::Send { to, message });
    }

    fn reply(token: Token, record: &str, reply: Result<Reply, Refusal>, out: &mut Outputs) {
        let record = Some(record.to_owned());
        out.push(Output::Reply {
            token,
            record,
            reply,
        });
    }

    /// An answer about many records.
    fn reply_all(token: Token, reply: Result<Reply, Refusal>, out: &mut Outputs) {
        out.push(Output::Reply {
            token,
            record: None,
            reply,
        });
    }

    /// Changes the durable state and orders the change to be made durable.
    fn persist(&mut self, change: Change, out: &mut Outputs) {
        let made = self.newly_visible(&change);
        self.durable.apply(&change);
        for made in made {
            self.changes.push(made);
        }
        if !self.planted.forgets(&change) {
            out.push(Output::Persist(change));
        }
    }

    fn change(&mut self, record: &str, change: RecordChange, out: &mut Outputs) {
        if let RecordChange::Decide(decided) = &change {
            self.answer_updates(record, decided, out);
        }
        let record = record.to_owned();
        self.persist(Change::Record { record, change }, out);
    }

    /// The log of a record's updates.
    fn updates(&self, record: &str) -> &Updates {
        self.durable.updates(record)
    }

    fn replicas_of(&self, record: &str) -> Vec<ReplicaId> {
        self.durable.placement.replicas_of(record).to_vec()
    }

    /// The replicas of a record other than this one that are not certified dead.
    fn peers_of(&self, record: &str) -> Vec<ReplicaId> {
        let living =
            |replica: &ReplicaId| *replica != self.me && !self.members.is_certified_dead(*replica);
        self.durable
            .placement
            .replicas_of(record)
            .iter()
            .copied()
            .filter(living)
            .collect()
    }

    /// The node that this one takes for the coordinator of a record.
    pub fn coordinator_of(&self, now_ms: u64, record: &str) -> Option<ReplicaId> {
        self.members
            .coordinator(now_ms, self.durable.placement.replicas_of(record))
    }

    pub fn ring(&self) -> &Ring {
        &self.durable.founding.ring
    }

    /// Of the ring's epoch, members and settings: it is in every message.
    pub fn ring_hash(&self) -> u64 {
        self.ring_hash
    }

    /// All that survives a crash.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// What became visible here, for watchers.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Why nothing can be written here, if so.
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    pub fn is_joined(&self) -> bool {
        self.joined
    }

    pub fn members(&self) -> &Members {
        &self.members
    }

    pub fn record_count(&self) -> usize {
        self.durable.records().len()
    }

    /// Gossip entries that some living member is not known to have.
    pub fn unspread_count(&self) -> usize {
        let unspread = |(id, partition): (&PartitionId, &Partition)| {
            let spread = self.durable.spread(*id)?;
            Some(partition.unspread(spread, &self.members))
        };
        self.partitions.iter().filter_map(unspread).sum()
    }

    /// Updates whose outcome is not known here.
    pub fn undecided_count(&self) -> usize {
        self.active.len()
    }
}
