//! Spreading of updates, per partition (STORAGE.md §5; lazy replication after Ladin, Liskov, Shrira and Ghemawat).
//!
//! Each replica numbers the updates that it accepts and pushes them to the others at once. What is heard is
//! acknowledged by a timestamp; whatever a peer does not acknowledge in a round trip is sent again, by whoever has it.
//! An idle partition sends nothing.

use std::collections::BTreeMap;

use common::types::{PartitionId, ReplicaId};

use super::durable::Durable;
use super::link::Partition;
use super::message::{Entry, EntryKind, Message, PartitionGossip, RecordState};
use super::planted::Bug;
use super::spread::{Spread, entry_bytes};
use super::{Change, Outputs, Storage};

/// Entries that arrived before what they build on; more are dropped and sent again by their sender.
pub const WAITING_ENTRIES_MAX: usize = 1_024;
/// A gossip message closes at this size.
pub(super) const MESSAGE_BYTES_TARGET: usize = 1 << 20;
/// What was heard from one peer is acknowledged to the others after this long, and a decision to that peer as well, unless
/// something else leaves first.
const ACKNOWLEDGE_MS: u64 = 200;

impl Storage {
    /// Applies the next entry of its origin.
    pub(super) fn apply_entry(
        &mut self,
        now_ms: u64,
        partition: PartitionId,
        entry: Entry,
        out: &mut Outputs,
    ) {
        let due_ms = if entry.origin == self.me {
            now_ms
        } else {
            now_ms + ACKNOWLEDGE_MS
        };
        let check_ms = now_ms + self.members.round_trip_ms();
        if let EntryKind::Decided(decided) = &entry.what
            && self.durable.is_next_slot(&entry.record, decided.slot)
        {
            self.answer_updates(&entry.record, decided, out);
        }
        self.persist(Change::Entry { partition, entry }, out);
        let (Some(state), Some(spread)) = (
            self.partitions.get_mut(&partition),
            self.durable.spread(partition),
        ) else {
            return;
        };
        for peer in &state.replicas {
            if *peer != self.me {
                let link = state.links.entry(*peer).or_default();
                link.send_by(due_ms);
                link.check
                    .get_or_insert_with(|| (check_ms, spread.timestamp.clone()));
            }
        }
        state.truncate(&mut self.durable, partition, &self.members);
        self.stir(partition);
    }

    /// A partition's gossip has changed.
    fn stir(&mut self, partition: PartitionId) {
        match self.partitions.get(&partition).and_then(Partition::due_ms) {
            Some(due_ms) => drop(self.stirring.insert(partition, due_ms)),
            None => drop(self.stirring.remove(&partition)),
        }
    }

    /// Partitions with something to send or to look at again by now.
    fn due_partitions(&self, now_ms: u64) -> Vec<PartitionId> {
        let is_due = |(_, at): &(&PartitionId, &u64)| **at <= now_ms;
        let due = self.stirring.iter().filter(is_due);
        due.map(|(partition, _)| *partition).collect()
    }

    /// After a start nothing is known of the peers, nor to them of this node.
    pub(super) fn begin_links(&mut self, now_ms: u64) {
        for (peer, _) in self.members.clone().iter() {
            self.begin_links_to(now_ms, peer);
        }
    }

    /// A member has begun a new life: what its predecessor had and said is no longer known of it.
    pub(super) fn begin_links_to(&mut self, now_ms: u64, member: ReplicaId) {
        let check_ms = now_ms + self.members.round_trip_ms();
        for (id, partition) in &mut self.partitions {
            if let Some(spread) = self
                .durable
                .spread(*id)
                .filter(|_| partition.replicas.contains(&member))
            {
                partition.begin_link(member, now_ms, check_ms, spread);
                self.stirring.insert(*id, now_ms);
            }
        }
    }

    pub(super) fn take_gossip(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        partitions: Vec<PartitionGossip>,
        out: &mut Outputs,
    ) {
        for gossip in partitions {
            let Some(state) = self.partitions.get_mut(&gossip.partition) else {
                continue;
            };
            let link = state.links.entry(from).or_default();
            link.known.merge(&gossip.timestamp);
            // Nobody waits until a decision is everywhere; a write may have to be.
            let is_write = |entry: &Entry| matches!(entry.what, EntryKind::Write { .. });
            if gossip.entries.iter().any(is_write) {
                link.send_by(now_ms);
            } else if !gossip.entries.is_empty() {
                link.send_by(now_ms + ACKNOWLEDGE_MS);
            }
            state.truncate(&mut self.durable, gossip.partition, &self.members);
            let is_behind = self
                .durable
                .spread(gossip.partition)
                .is_some_and(|spread| !spread.timestamp.covers(&gossip.dropped));
            self.take_entries(now_ms, from, gossip.partition, gossip.entries, out);
            self.stir(gossip.partition);
            if is_behind {
                self.pull(now_ms, from, gossip.partition, out);
            }
        }
        self.finish_joining(out);
        self.answer_writes(out);
    }

    fn take_entries(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        partition: PartitionId,
        entries: Vec<Entry>,
        out: &mut Outputs,
    ) {
        for entry in entries {
            let Some(spread) = self.durable.spread(partition) else {
                return;
            };
            if self.planted.is(Bug::GossipOutOfOrder) && !spread.has(&entry)
                || can_apply(&self.durable, spread, &entry)
            {
                self.apply_of_another(now_ms, partition, entry, out);
                continue;
            }
            self.take_decision(from, &entry, out);
            let (Some(state), Some(spread)) = (
                self.partitions.get_mut(&partition),
                self.durable.spread(partition),
            ) else {
                return;
            };
            if !spread.has(&entry)
                && !state.waiting.contains(&entry)
                && state.waiting.len() < WAITING_ENTRIES_MAX
            {
                state.waiting.push(entry);
            }
        }
        self.apply_waiting(now_ms, partition, out);
    }

    fn apply_of_another(
        &mut self,
        now_ms: u64,
        partition: PartitionId,
        entry: Entry,
        out: &mut Outputs,
    ) {
        let record = matches!(entry.what, EntryKind::Decided(_)).then(|| entry.record.clone());
        self.apply_entry(now_ms, partition, entry, out);
        if let Some(record) = record {
            self.end_slots(&record, out);
        }
    }

    /// A decision is one whatever it builds on, and a client may be waiting for it.
    fn take_decision(&mut self, from: ReplicaId, entry: &Entry, out: &mut Outputs) {
        let EntryKind::Decided(decided) = &entry.what else {
            return;
        };
        let known = self.updates(&entry.record).decided;
        if decided.slot == known + 1 {
            let state = RecordState {
                decided: decided.slot,
                log: vec![decided.clone()],
                ..RecordState::default()
            };
            self.take_state_of(&entry.record, state, out);
        } else if decided.slot > known {
            self.fetch(from, &entry.record, out);
        }
    }

    /// Applies the entries whose predecessors have come.
    pub(super) fn apply_waiting(&mut self, now_ms: u64, partition: PartitionId, out: &mut Outputs) {
        loop {
            let (Some(state), Some(spread)) = (
                self.partitions.get_mut(&partition),
                self.durable.spread(partition),
            ) else {
                return;
            };
            state.waiting.retain(|entry| !spread.has(entry));
            let can_apply = |entry: &Entry| can_apply(&self.durable, spread, entry);
            let Some(index) = state.waiting.iter().position(can_apply) else {
                return;
            };
            let entry = state.waiting.swap_remove(index);
            self.apply_of_another(now_ms, partition, entry, out);
        }
    }

    /// Sends again what peers have not acknowledged in time.
    pub(super) fn tick_gossip(&mut self, now_ms: u64, out: &mut Outputs) {
        let again_ms = now_ms + self.members.round_trip_ms();
        let mut letters = Letters::default();
        for id in self.due_partitions(now_ms) {
            let (Some(partition), Some(spread)) =
                (self.partitions.get_mut(&id), self.durable.spread(id))
            else {
                continue;
            };
            for (&peer, link) in &mut partition.links {
                let Some((_, expected)) = link.check.take_if(|(at, _)| *at <= now_ms) else {
                    continue;
                };
                if self.members.is_certified_dead(peer) || link.known.covers(&spread.timestamp) {
                    continue;
                }
                let is_late = !link.known.covers(&expected);
                link.check = Some((again_ms, spread.timestamp.clone()));
                // A suspect gets nothing until it answers: it may be gone for ever.
                if is_late && self.members.in_sight(now_ms, peer) {
                    letters.add(peer, link.gossip(self.me, id, spread, true), out);
                }
            }
            self.stir(id);
        }
        letters.send(out);
    }

    /// Sends what is due: new updates of this replica, and acknowledgements.
    pub(super) fn flush_gossip(&mut self, now_ms: u64, out: &mut Outputs) {
        let mut letters = Letters::default();
        for id in self.due_partitions(now_ms) {
            let (Some(partition), Some(spread)) =
                (self.partitions.get_mut(&id), self.durable.spread(id))
            else {
                continue;
            };
            for (&peer, link) in &mut partition.links {
                if link.send_ms.is_none_or(|at| at > now_ms) {
                    continue;
                }
                link.send_ms = None;
                if self.members.is_certified_dead(peer) {
                    continue;
                }
                let gossip = link.gossip(self.me, id, spread, false);
                if gossip.entries.iter().map(entry_bytes).sum::<usize>() >= MESSAGE_BYTES_TARGET {
                    // What did not fit leaves with the next batch.
                    link.send_ms = Some(now_ms);
                }
                letters.add(peer, gossip, out);
            }
            self.stir(id);
        }
        letters.send(out);
    }
}

/// True when nothing is missing before the entry, neither of what its origin had nor of the record's slots: what was
/// applied is acknowledged and never sent again.
fn can_apply(durable: &Durable, spread: &Spread, entry: &Entry) -> bool {
    let is_decided = match &entry.what {
        EntryKind::Write { .. } => true,
        EntryKind::Decided(of) => {
            of.slot <= durable.updates(&entry.record).decided.saturating_add(1)
        }
    };
    is_decided && spread.is_next(entry)
}

/// Gossip on its way into messages of bounded size.
#[derive(Default)]
struct Letters(BTreeMap<ReplicaId, (usize, Vec<PartitionGossip>)>);

impl Letters {
    fn add(&mut self, to: ReplicaId, gossip: PartitionGossip, out: &mut Outputs) {
        let (bytes, partitions) = self.0.entry(to).or_default();
        *bytes += gossip.entries.iter().map(entry_bytes).sum::<usize>();
        partitions.push(gossip);
        if *bytes >= MESSAGE_BYTES_TARGET {
            *bytes = 0;
            Storage::send(to, Message::Gossip(std::mem::take(partitions)), out);
        }
    }

    fn send(self, out: &mut Outputs) {
        for (to, (_, partitions)) in self.0 {
            if !partitions.is_empty() {
                Storage::send(to, Message::Gossip(partitions), out);
            }
        }
    }
}
