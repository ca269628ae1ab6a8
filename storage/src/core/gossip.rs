//! Spreading of updates, per partition (STORAGE.md §5; lazy replication after Ladin, Liskov, Shrira and Ghemawat).
//!
//! Each replica numbers the updates that it accepts and pushes them to the others at once. What is heard is
//! acknowledged by a timestamp; whatever a peer does not acknowledge in a round trip is sent again, by whoever has it.
//! An idle partition sends nothing.

use std::collections::BTreeMap;

use common::types::{PartitionId, ReplicaId};

use super::durable::Durable;
use super::members::Members;
use super::message::{Entry, EntryKind, Message, PartitionGossip, RecordState};
use super::planted::Bug;
use super::spread::{Spread, entry_bytes};
use super::timestamp::Timestamp;
use super::{Change, Outputs, Storage};

/// Entries that arrived before what they build on; more are dropped and sent again by their sender.
pub const WAITING_ENTRIES_MAX: usize = 1_024;
/// A gossip message closes at this size.
const MESSAGE_BYTES_TARGET: usize = 1 << 20;
/// What was heard from one peer is acknowledged to the others after this long, unless something else leaves first.
const ACKNOWLEDGE_MS: u64 = 200;

/// The part of a partition's gossip that a restart begins anew; the rest is its [`Spread`].
#[derive(Debug, Clone, Hash)]
pub struct Partition {
    pub(super) replicas: Vec<ReplicaId>,
    waiting: Vec<Entry>,
    links: BTreeMap<ReplicaId, Link>,
}

/// What goes to one peer.
#[derive(Debug, Clone, Default, Hash)]
struct Link {
    /// What the peer has said that it has.
    known: Timestamp,
    /// Own updates up to this number were sent.
    sent: u64,
    send_ms: Option<u64>,
    /// When to see whether the peer has this, and to send again what it has not.
    check: Option<(u64, Timestamp)>,
}

impl Link {
    fn send_by(&mut self, due_ms: u64) {
        self.send_ms = Some(self.send_ms.map_or(due_ms, |at| at.min(due_ms)));
    }

    /// What to tell the peer now; `all`: also what others should have told it.
    fn gossip(
        &mut self,
        me: ReplicaId,
        partition: PartitionId,
        spread: &Spread,
        all: bool,
    ) -> PartitionGossip {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in spread.log() {
            let is_own = entry.origin == me && entry.sequence > self.sent;
            let is_lacking = entry.sequence > self.known.get(entry.origin);
            if bytes < MESSAGE_BYTES_TARGET && (is_own || all) && is_lacking {
                bytes += entry_bytes(entry);
                entries.push(entry.clone());
                if entry.origin == me {
                    self.sent = self.sent.max(entry.sequence);
                }
            }
        }
        let dropped = if self.known.covers(&spread.dropped) {
            Timestamp::default()
        } else {
            spread.dropped.clone()
        };
        PartitionGossip {
            partition,
            timestamp: spread.timestamp.clone(),
            dropped,
            entries,
        }
    }
}

impl Partition {
    pub(super) fn new(replicas: Vec<ReplicaId>) -> Self {
        Self {
            replicas,
            waiting: Vec::new(),
            links: BTreeMap::new(),
        }
    }

    /// How many updates of an origin a peer is known to have.
    pub(super) fn known(&self, peer: ReplicaId, origin: ReplicaId) -> u64 {
        self.links
            .get(&peer)
            .map_or(0, |link| link.known.get(origin))
    }

    /// A restarted peer may have lost what it said that it had, and may number anew what nobody has applied; and it does
    /// not know what this node has. They tell one another; by `check_ms` that should be known.
    fn begin_link(&mut self, peer: ReplicaId, now_ms: u64, check_ms: u64, spread: &Spread) {
        self.waiting.retain(|entry| entry.origin != peer);
        let asks = !spread.log().is_empty();
        let link = Link {
            send_ms: (spread.timestamp != Timestamp::default()).then_some(now_ms),
            check: asks.then(|| (check_ms, spread.timestamp.clone())),
            ..Link::default()
        };
        self.links.insert(peer, link);
    }

    /// When something is to be sent or looked at again.
    fn due_ms(&self) -> Option<u64> {
        let due_ms = |link: &Link| {
            let check_ms = link.check.as_ref().map(|(at, _)| *at);
            link.send_ms.into_iter().chain(check_ms).min()
        };
        self.links.values().filter_map(due_ms).min()
    }

    /// Entries that some living peer is not known to have.
    pub(super) fn unspread(&self, spread: &Spread, members: &Members) -> usize {
        let lacks = |entry: &&Entry| {
            self.peers(members, |peer| !members.is_certified_dead(peer))
                .any(|peer| !self.has(peer, entry))
        };
        spread.log().iter().filter(lacks).count()
    }

    fn peers<'a>(
        &'a self,
        members: &'a Members,
        is_meant: impl Fn(ReplicaId) -> bool + 'a,
    ) -> impl Iterator<Item = ReplicaId> + 'a {
        members
            .iter()
            .map(|(replica, _)| replica)
            .filter(move |replica| self.replicas.contains(replica) && is_meant(*replica))
    }

    fn has(&self, peer: ReplicaId, entry: &Entry) -> bool {
        self.known(peer, entry.origin) >= entry.sequence
    }

    /// Drops what all peers have that are there, or will come back with their data.
    fn truncate(&self, durable: &mut Durable, id: PartitionId, members: &Members) {
        let returns = |peer| durable.disks.get(&peer).is_some_and(|disk| *disk != 0);
        let waited_for: Vec<ReplicaId> = self
            .peers(members, |peer| {
                !members.is_certified_dead(peer) || returns(peer)
            })
            .collect();
        if let Some(spread) = durable.spread_mut(id) {
            spread.truncate(|entry| waited_for.iter().all(|peer| self.has(*peer, entry)));
        }
    }
}

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
        EntryKind::Decided(decided) => {
            durable
                .record(&entry.record)
                .map_or(0, |record| record.updates().decided)
                .saturating_add(1)
                >= decided.slot
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
