//! How a node begins: with nothing, on the data of an earlier life, or back to what was durable in this one.

use std::collections::{BTreeMap, BTreeSet};

use common::types::PartitionId;

use super::Storage;
use super::absence::Absence;
use super::changes::Changes;
use super::durable::Durable;
use super::link::Partition;
use super::members::Members;
use super::planted::Planted;
use super::queue::QueueBounds;
use super::waiting::WaitingUpdates;

/// How a node came to its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The whole cluster is new: there is nothing to copy.
    Fresh,
    /// It may have been taken for dead.
    Restarted,
    /// It has only gone back to what was durable, and was a member or not.
    Uninterrupted { joined: bool },
}

impl Storage {
    /// A node on its data, of which [`Change::Founded`](super::Change::Founded) of this life is a part.
    pub fn new(now_ms: u64, gossip_delay_ms: u64, durable: Durable, start: Start) -> Self {
        let founding = &durable.founding;
        let me = founding.replica;
        let partition = |(id, _): (&PartitionId, _)| {
            let replicas = durable.placement.replicas(*id).to_vec();
            (*id, Partition::new(replicas))
        };
        let mut storage = Self {
            me,
            gossip_delay_ms,
            ring_hash: founding.ring.settings_hash(),
            members: Members::new(now_ms, me, gossip_delay_ms, &founding.ring),
            partitions: durable.spreads().iter().map(partition).collect(),
            stirring: BTreeMap::new(),
            active: BTreeMap::new(),
            terms: BTreeMap::new(),
            bounds: QueueBounds::default(),
            queued_updates: 0,
            waiting_updates: WaitingUpdates::default(),
            orphans: BTreeSet::new(),
            waiting_writes: Vec::new(),
            waiting_reads: Vec::new(),
            waiting_watches: Vec::new(),
            waiting_fences: Vec::new(),
            changes: Changes::new(me, founding.incarnation),
            absence: Absence::running(now_ms),
            pulls: BTreeMap::new(),
            answers: BTreeMap::new(),
            differing_since_ms: BTreeMap::new(),
            copies: founding.incarnation,
            joined: true,
            join_again_ms: 0,
            read_only: None,
            heartbeat_due_ms: now_ms,
            planted: Planted::default(),
            durable,
        };
        storage.joined = match start {
            Start::Fresh | Start::Uninterrupted { joined: true } => true,
            Start::Restarted | Start::Uninterrupted { joined: false } => !storage.must_join(),
        };
        if start != Start::Fresh {
            storage.note_return(now_ms);
        }
        if !storage.joined {
            storage.start_joining();
        }
        storage.resume(now_ms);
        storage
    }

    /// How many updates may wait; what waits already goes on.
    pub fn bound_queues(&mut self, bounds: QueueBounds) {
        self.bounds = bounds;
    }

    pub fn queue_bounds(&self) -> QueueBounds {
        self.bounds
    }

    /// This node takes the place of one of the same life that has lost some of what was not durable yet. What that one
    /// has heard of the others still holds.
    pub(crate) fn live_on(&mut self, other: &Self) {
        self.changes.begin_behind(&other.changes);
        self.members = other.members.clone();
        self.copies = self.copies.max(other.copies);
        if !self.joined {
            self.start_joining();
        }
    }

    /// Goes on with what the data shows to be unfinished.
    fn resume(&mut self, now_ms: u64) {
        self.orphans.clone_from(self.durable.undecided());
        for record in self.orphans.clone() {
            let due_ms = now_ms + self.patience_ms(&record);
            self.active.entry(record).or_default().due_ms = due_ms;
        }
        self.begin_links(now_ms);
    }
}
