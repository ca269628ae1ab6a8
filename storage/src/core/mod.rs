//! The storage node as a state machine: an input and a time go in, a list of outputs comes out.
//!
//! No I/O, clock, randomness or tasks. A shell (`server.rs`) performs the outputs **in order**, and makes every
//! [`Output::Persist`] durable before it performs anything behind it (I11).
//!
//! - [`record`]: durable state of one record · [`queue`], [`coordinator`], `vote`: the update protocol
//! - [`gossip`], [`timestamp`]: spreading of updates per partition · [`members`]: failure detection and quorums
//! - [`client`]: reads and writes · [`join`]: how a node without data becomes a member · [`message`]: what nodes say
//! - [`effect`]: inputs and outputs

pub mod client;
pub mod coordinator;
pub mod effect;
pub mod gossip;
pub mod join;
pub mod members;
pub mod message;
pub mod queue;
pub mod record;
pub mod timestamp;
mod vote;

use std::collections::{BTreeMap, BTreeSet};

use common::placement::Placement;
use common::types::{PartitionId, RecordId, ReplicaId, Ring, UpdateId};

pub use self::effect::{Change, Input, Level, Output, Refusal, Reply, Token};

use self::client::{WaitingRead, WaitingWrite};
use self::gossip::Partition;
use self::join::Pull;
use self::members::{HEARTBEAT_MS, Members};
use self::message::{Accepted, Ballot, LogRecord, Message};
use self::queue::Activity;
use self::record::{Record, RecordChange};

pub(crate) type Outputs = Vec<Output>;

/// One storage node. See the module's documentation for its promises.
#[derive(Debug)]
pub struct Storage {
    me: ReplicaId,
    gossip_delay_ms: u64,
    ring: Ring,
    placement: Placement,
    members: Members,
    records: BTreeMap<RecordId, Record>,
    partitions: BTreeMap<PartitionId, Partition>,
    /// Partitions with gossip to send or to look at again.
    stirring: BTreeSet<PartitionId>,
    /// What goes on for a record beyond its durable state: absent when nothing does.
    active: BTreeMap<RecordId, Activity>,
    /// Clients that wait for an update's outcome.
    waiting_updates: BTreeMap<UpdateId, Vec<Token>>,
    waiting_writes: Vec<WaitingWrite>,
    waiting_reads: Vec<WaitingRead>,
    /// Copies of state under way, by member.
    pulls: BTreeMap<ReplicaId, Pull>,
    /// Names the latest copy; begins at the incarnation, so that no two lives of a node share a name.
    copies: u64,
    joined: bool,
    heartbeat_due_ms: u64,
}

impl Storage {
    /// A node without data. `fresh`: the cluster is new, so there is nothing to copy from the others.
    pub fn new(
        now_ms: u64,
        me: ReplicaId,
        incarnation: u64,
        gossip_delay_ms: u64,
        ring: Ring,
        fresh: bool,
    ) -> Self {
        let placement = Placement::new(&ring);
        let partitions = placement
            .held_by(me)
            .map(|partition| {
                (
                    partition,
                    Partition::new(placement.replicas(partition).to_vec()),
                )
            })
            .collect();
        let mut storage = Self {
            me,
            gossip_delay_ms,
            members: Members::new(now_ms, me, gossip_delay_ms, &ring),
            placement,
            partitions,
            records: BTreeMap::new(),
            stirring: BTreeSet::new(),
            active: BTreeMap::new(),
            waiting_updates: BTreeMap::new(),
            waiting_writes: Vec::new(),
            waiting_reads: Vec::new(),
            pulls: BTreeMap::new(),
            copies: incarnation,
            joined: fresh || ring.nodes.len() == 1,
            heartbeat_due_ms: now_ms,
            ring,
        };
        if !storage.joined {
            storage.start_joining();
        }
        storage
    }

    /// Handles one input and appends what must be done, in order.
    pub fn step(&mut self, now_ms: u64, input: Input, out: &mut Outputs) {
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
                record,
                value,
                level,
                above,
            } => {
                self.write(
                    now_ms,
                    WaitingWrite::request(token, level),
                    &record,
                    value,
                    above,
                    out,
                );
            }
            Input::UpdateIf { token, update } => self.update_if(now_ms, token, update, out),
            Input::Peer {
                from,
                incarnation,
                message,
            } => {
                if self
                    .members
                    .hear(now_ms, from, incarnation, message.begins_life())
                {
                    self.peer(now_ms, from, message, out);
                }
            }
            Input::CertifyDeath {
                replica,
                incarnation,
            } => self.certify_death(now_ms, replica, incarnation, out),
            Input::Tick => self.tick(now_ms, out),
            Input::Flush => {
                self.answer_reads(out);
                self.flush_gossip(now_ms, out);
            }
        }
    }

    fn peer(&mut self, now_ms: u64, from: ReplicaId, message: Message, out: &mut Outputs) {
        match message {
            Message::Heartbeat {
                gossip_delay_ms,
                joining,
            } => {
                if let Some(member) = self.members.get_mut(from) {
                    member.gossip_delay_ms = gossip_delay_ms;
                    let has_joined = std::mem::replace(&mut member.joining, joining) && !joining;
                    if has_joined {
                        self.hasten(now_ms);
                    }
                }
            }
            Message::StateRequest {
                copy,
                partition,
                after,
            } => self.send_state(now_ms, from, copy, partition, after, out),
            Message::State(page) => self.take_state(now_ms, from, page, out),
            Message::Gossip(partitions) => self.take_gossip(now_ms, from, partitions, out),
            // The rest is the update protocol, in which only members take part: a joining node's promise would be
            // worth nothing.
            _ if !self.joined => {}
            update => self.peer_update(now_ms, from, update, out),
        }
    }

    fn peer_update(&mut self, now_ms: u64, from: ReplicaId, message: Message, out: &mut Outputs) {
        match message {
            Message::Submit { update, decided } => {
                self.take_submit(now_ms, from, update, decided, out);
            }
            Message::Prepare {
                record,
                ballot,
                digest,
            } => self.take_prepare(now_ms, from, record, ballot, &digest, out),
            Message::Commit {
                record,
                ballot,
                proposal,
                lacking,
            } => {
                self.take_commit(
                    now_ms,
                    from,
                    &record,
                    Accepted { ballot, proposal },
                    &lacking,
                    out,
                );
            }
            Message::Vote {
                record,
                ballot,
                accepted,
                digest,
                lacking,
            } => {
                self.take_vote(
                    now_ms,
                    from,
                    &record,
                    coordinator::Ballots {
                        ballot,
                        accepted,
                        digest,
                    },
                    &lacking,
                    out,
                );
            }
            Message::Committed {
                record,
                ballot,
                slot,
            } => self.take_committed(now_ms, from, &record, ballot, slot, out),
            Message::Decided { record, state } => {
                self.take_state_of(&record, &state, out);
                self.apply_waiting(now_ms, self.placement.partition(&record), out);
            }
            Message::Nack { record, promised } => self.take_nack(now_ms, &record, promised, out),
            Message::Fetch { record, digest } => self.send_decided(from, &record, &digest, out),
            Message::Heartbeat { .. }
            | Message::Gossip(_)
            | Message::StateRequest { .. }
            | Message::State(_) => {}
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
        if self.members.is_certified_dead(replica) {
            self.pulls.remove(&replica);
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

    fn tick(&mut self, now_ms: u64, out: &mut Outputs) {
        if now_ms >= self.heartbeat_due_ms {
            self.heartbeat_due_ms = now_ms + HEARTBEAT_MS;
            let heartbeat = Message::Heartbeat {
                gossip_delay_ms: self.gossip_delay_ms,
                joining: !self.joined,
            };
            out.extend(self.members.living().map(|to| Output::Send {
                to,
                message: heartbeat.clone(),
            }));
        }
        self.tick_pulls(now_ms, out);
        self.tick_updates(now_ms, out);
        self.expire_waiting(now_ms, out);
        self.tick_gossip(now_ms, out);
        self.flush_gossip(now_ms, out);
    }

    fn send(to: ReplicaId, message: Message, out: &mut Outputs) {
        out.push(Output::Send { to, message });
    }

    /// Changes a record and orders the change to be persisted.
    fn change(&mut self, record: &str, change: RecordChange, out: &mut Outputs) {
        let decided = if let RecordChange::Decide(decided) = &change {
            Some(decided.clone())
        } else {
            None
        };
        self.apply(record, &change);
        out.push(Output::Persist(Change::Record {
            record: record.to_owned(),
            change,
        }));
        if let Some(decided) = decided {
            self.answer_decided(record, &decided, out);
        }
    }

    fn apply(&mut self, record: &str, change: &RecordChange) {
        self.records
            .entry(record.to_owned())
            .or_default()
            .apply(change, self.ring.max_versions as usize);
    }

    /// An update was decided, and the change that says so stands before this in the outputs.
    fn answer_decided(&mut self, record: &str, decided: &LogRecord, out: &mut Outputs) {
        if let Some(activity) = self.active.get_mut(record) {
            activity.forget(&decided.id);
        }
        for token in self.waiting_updates.remove(&decided.id).unwrap_or_default() {
            out.push(Output::Reply {
                token,
                reply: Ok(Reply::Update(decided.outcome.clone())),
            });
        }
    }

    fn replicas_of(&self, record: &str) -> Vec<ReplicaId> {
        self.placement.replicas_of(record).to_vec()
    }

    /// The replicas of a record other than this one that are not certified dead.
    fn peers_of(&self, record: &str) -> Vec<ReplicaId> {
        let living =
            |replica: &ReplicaId| *replica != self.me && !self.members.is_certified_dead(*replica);
        self.placement
            .replicas_of(record)
            .iter()
            .copied()
            .filter(living)
            .collect()
    }

    fn next_ballot(&self, promised: Ballot) -> Ballot {
        Ballot {
            epoch: self.ring.epoch,
            term: promised.term + 1,
            replica: self.me,
        }
    }

    /// The node that this one takes for the coordinator of a record.
    pub fn coordinator_of(&self, now_ms: u64, record: &str) -> Option<ReplicaId> {
        self.members
            .coordinator(now_ms, self.placement.replicas_of(record))
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    pub fn is_joined(&self) -> bool {
        self.joined
    }

    pub fn members(&self) -> &Members {
        &self.members
    }

    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// Gossip entries that some living member is not known to have.
    pub fn unspread_count(&self) -> usize {
        self.partitions
            .values()
            .map(|partition| partition.unspread(&self.members))
            .sum()
    }

    /// Updates whose outcome is not known here.
    pub fn undecided_count(&self) -> usize {
        self.active.len()
    }
}
