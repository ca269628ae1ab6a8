//! Spreading of updates, per partition (STORAGE.md §5; lazy replication after Ladin, Liskov, Shrira and Ghemawat).
//!
//! Each replica numbers the updates that it accepts and pushes them to the others at once. What is heard is
//! acknowledged by a timestamp; whatever a peer does not acknowledge in a round trip is sent again, by whoever has it.
//! An idle partition sends nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::types::{PartitionId, RecordId, ReplicaId};

use super::members::Members;
use super::message::{Entry, EntryKind, Message, PartitionGossip, RecordState};
use super::record::{Record, RecordChange};
use super::timestamp::Timestamp;
use super::{Change, Output, Outputs, Storage};

/// Entries kept for peers that lack them; a peer further behind copies the partition's state.
pub const LOG_ENTRIES_MAX: usize = 4_096;
/// Bytes of values in the entries kept.
pub const LOG_BYTES_MAX: usize = 16 << 20;
/// Entries that arrived before what they build on; more are dropped and sent again by their sender.
pub const WAITING_ENTRIES_MAX: usize = 1_024;
/// A gossip message closes at this size.
const MESSAGE_BYTES_TARGET: usize = 1 << 20;
/// What was heard from one peer is acknowledged to the others after this long, unless something else leaves first.
const ACKNOWLEDGE_MS: u64 = 200;

#[derive(Debug)]
pub struct Partition {
    pub(super) replicas: Vec<ReplicaId>,
    /// What was applied here.
    pub(super) timestamp: Timestamp,
    /// What is no longer (or never was) in the log.
    pub(super) dropped: Timestamp,
    /// In the order of application, so causal.
    log: VecDeque<Entry>,
    log_bytes: usize,
    waiting: Vec<Entry>,
    links: BTreeMap<ReplicaId, Link>,
}

/// What goes to one peer.
#[derive(Debug, Default)]
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
}

impl Partition {
    pub(super) fn new(replicas: Vec<ReplicaId>) -> Self {
        Self {
            replicas,
            timestamp: Timestamp::default(),
            dropped: Timestamp::default(),
            log: VecDeque::new(),
            log_bytes: 0,
            waiting: Vec::new(),
            links: BTreeMap::new(),
        }
    }

    /// What a peer is known to have.
    pub(super) fn known(&self, replica: ReplicaId) -> Timestamp {
        self.links
            .get(&replica)
            .map(|link| link.known.clone())
            .unwrap_or_default()
    }

    /// A restarted peer has lost what it said that it had, and numbers anew what nobody has applied. True when it is to
    /// be asked at `check_ms` what it has of the log.
    pub(super) fn forget_predecessor(&mut self, replica: ReplicaId, check_ms: u64) -> bool {
        self.waiting.retain(|entry| entry.origin != replica);
        let asks = !self.log.is_empty();
        let link = Link {
            check: asks.then(|| (check_ms, self.timestamp.clone())),
            ..Link::default()
        };
        self.links.insert(replica, link);
        asks
    }

    /// True when nothing is to be sent or looked at again.
    fn is_at_rest(&self) -> bool {
        self.links
            .values()
            .all(|link| link.send_ms.is_none() && link.check.is_none())
    }

    /// Entries that some living peer is not known to have.
    pub(super) fn unspread(&self, members: &Members) -> usize {
        let behind: Vec<Timestamp> = self
            .living_peers(members)
            .map(|peer| self.known(peer))
            .collect();
        let lacks = |entry: &&Entry| {
            behind
                .iter()
                .any(|known| known.get(entry.origin) < entry.sequence)
        };
        self.log.iter().filter(lacks).count()
    }

    fn living_peers<'a>(&'a self, members: &'a Members) -> impl Iterator<Item = ReplicaId> + 'a {
        members
            .living()
            .filter(|replica| self.replicas.contains(replica))
    }

    /// True when the entry is the next of its origin and what it builds on is here.
    fn is_next(&self, entry: &Entry) -> bool {
        entry.sequence == self.timestamp.get(entry.origin) + 1
            && self.timestamp.covers(&entry.previous)
    }

    fn is_known(&self, entry: &Entry) -> bool {
        entry.sequence <= self.timestamp.get(entry.origin)
    }

    fn push(&mut self, entry: Entry) {
        self.timestamp.advance(entry.origin, entry.sequence);
        self.log_bytes += entry_bytes(&entry);
        self.log.push_back(entry);
    }

    /// Drops what all living peers have, and what exceeds the bounds.
    fn truncate(&mut self, members: &Members) {
        let behind: Vec<Timestamp> = self
            .living_peers(members)
            .map(|peer| self.known(peer))
            .collect();
        while let Some(entry) = self.log.front() {
            let is_spread = behind
                .iter()
                .all(|known| known.get(entry.origin) >= entry.sequence);
            let is_over = self.log.len() > LOG_ENTRIES_MAX || self.log_bytes > LOG_BYTES_MAX;
            if !is_spread && !is_over {
                return;
            }
            self.dropped.advance(entry.origin, entry.sequence);
            self.log_bytes -= entry_bytes(entry);
            self.log.pop_front();
        }
    }

    /// What to tell a peer now; `all`: also what others should have told it.
    fn gossip_for(
        &mut self,
        me: ReplicaId,
        partition: PartitionId,
        peer: ReplicaId,
        all: bool,
    ) -> PartitionGossip {
        let link = self.links.entry(peer).or_default();
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in &self.log {
            let is_own = entry.origin == me && entry.sequence > link.sent;
            let is_lacking = entry.sequence > link.known.get(entry.origin);
            if bytes < MESSAGE_BYTES_TARGET && (is_own || all) && is_lacking {
                bytes += entry_bytes(entry);
                entries.push(entry.clone());
                if entry.origin == me {
                    link.sent = link.sent.max(entry.sequence);
                }
            }
        }
        let dropped = if link.known.covers(&self.dropped) {
            Timestamp::default()
        } else {
            self.dropped.clone()
        };
        PartitionGossip {
            partition,
            timestamp: self.timestamp.clone(),
            dropped,
            entries,
        }
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    let value = match &entry.what {
        EntryKind::Write(made) => made.value.as_ref(),
        EntryKind::Decided(decided) => match &decided.outcome {
            super::message::Outcome::Updated { made, .. } => made.value.as_ref(),
            super::message::Outcome::Mismatch { found } => found.value.as_ref(),
        },
    };
    // The fixed part: ids, versions and timestamps.
    128 + entry.record.len() + value.map_or(0, bytes::Bytes::len)
}

/// True when nothing is missing before the entry. A decision is applied once the record has it, for what was applied
/// is acknowledged and never sent again.
fn can_apply(records: &BTreeMap<RecordId, Record>, state: &Partition, entry: &Entry) -> bool {
    let is_decided = match &entry.what {
        EntryKind::Write(_) => true,
        EntryKind::Decided(decided) => records
            .get(&entry.record)
            .is_some_and(|record| record.decided >= decided.slot),
    };
    is_decided && state.is_next(entry)
}

impl Storage {
    /// Applies the next entry of its origin; a decided update has changed the record already.
    pub(super) fn apply_entry(
        &mut self,
        now_ms: u64,
        partition: PartitionId,
        entry: Entry,
        out: &mut Outputs,
    ) {
        let Some(state) = self.partitions.get_mut(&partition) else {
            return;
        };
        let is_own = entry.origin == self.me;
        let check_ms = now_ms + self.members.round_trip_ms();
        self.stirring.insert(partition);
        state.push(entry.clone());
        for peer in state
            .replicas
            .clone()
            .into_iter()
            .filter(|replica| *replica != self.me)
        {
            let link = state.links.entry(peer).or_default();
            link.send_by(if is_own {
                now_ms
            } else {
                now_ms + ACKNOWLEDGE_MS
            });
            link.check
                .get_or_insert_with(|| (check_ms, state.timestamp.clone()));
        }
        state.truncate(&self.members);
        if let EntryKind::Write(made) = &entry.what {
            let is_known = self
                .records
                .get(&entry.record)
                .is_some_and(|record| record.has(made.version));
            if !is_known {
                self.apply(&entry.record, &RecordChange::Merge(made.clone()));
            }
        }
        out.push(Output::Persist(Change::Entry { partition, entry }));
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
            if !gossip.entries.is_empty() {
                link.send_by(now_ms);
                self.stirring.insert(gossip.partition);
            }
            let is_behind = !state.timestamp.covers(&gossip.dropped);
            state.truncate(&self.members);
            self.take_entries(now_ms, from, gossip.partition, gossip.entries, out);
            if is_behind {
                self.pull(now_ms, from, Some(gossip.partition), out);
            }
        }
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
            // A decision is one whatever it builds on, and a client may be waiting for it.
            if let EntryKind::Decided(decided) = &entry.what {
                let known = self
                    .records
                    .get(&entry.record)
                    .map_or(0, |record| record.decided);
                if decided.slot == known + 1 {
                    let state = RecordState {
                        log: vec![decided.clone()],
                        ..RecordState::default()
                    };
                    self.take_state_of(&entry.record, &state, out);
                } else if decided.slot > known {
                    self.fetch(from, &entry.record, out);
                }
            }
            let Some(state) = self.partitions.get_mut(&partition) else {
                return;
            };
            if can_apply(&self.records, state, &entry) {
                self.apply_entry(now_ms, partition, entry, out);
            } else if !state.is_known(&entry)
                && !state.waiting.contains(&entry)
                && state.waiting.len() < WAITING_ENTRIES_MAX
            {
                state.waiting.push(entry);
            }
        }
        self.apply_waiting(now_ms, partition, out);
    }

    /// Applies the entries whose predecessors have come.
    pub(super) fn apply_waiting(&mut self, now_ms: u64, partition: PartitionId, out: &mut Outputs) {
        loop {
            let Some(state) = self.partitions.get_mut(&partition) else {
                return;
            };
            let Partition {
                waiting, timestamp, ..
            } = state;
            waiting.retain(|entry| entry.sequence > timestamp.get(entry.origin));
            let can_apply = |entry: &Entry| can_apply(&self.records, state, entry);
            let Some(index) = state.waiting.iter().position(can_apply) else {
                return;
            };
            let entry = state.waiting.swap_remove(index);
            self.apply_entry(now_ms, partition, entry, out);
        }
    }

    /// Sends again what peers have not acknowledged in time.
    pub(super) fn tick_gossip(&mut self, now_ms: u64, out: &mut Outputs) {
        let again_ms = now_ms + self.members.round_trip_ms();
        let mut letters = Letters::default();
        for id in self.stirring.clone() {
            let Some(partition) = self.partitions.get_mut(&id) else {
                continue;
            };
            for peer in partition.replicas.clone() {
                let Some(link) = partition.links.get_mut(&peer) else {
                    continue;
                };
                let Some((_, expected)) = link.check.take_if(|(at, _)| *at <= now_ms) else {
                    continue;
                };
                if self.members.is_certified_dead(peer) || link.known.covers(&partition.timestamp) {
                    continue;
                }
                let is_late = !link.known.covers(&expected);
                link.check = Some((again_ms, partition.timestamp.clone()));
                // A suspect gets nothing until it answers: it may be gone for ever.
                if is_late && self.members.believed_alive(now_ms, peer) {
                    letters.add(peer, partition.gossip_for(self.me, id, peer, true), out);
                }
            }
        }
        letters.send(out);
    }

    /// Sends what is due: new updates of this replica, and acknowledgements.
    pub(super) fn flush_gossip(&mut self, now_ms: u64, out: &mut Outputs) {
        let mut letters = Letters::default();
        for id in self.stirring.clone() {
            let Some(partition) = self.partitions.get_mut(&id) else {
                continue;
            };
            let is_due = |link: &Link| link.send_ms.is_some_and(|at| at <= now_ms);
            let due: BTreeSet<ReplicaId> = partition
                .links
                .iter()
                .filter(|(_, link)| is_due(link))
                .map(|(peer, _)| *peer)
                .collect();
            for peer in due {
                let dead = self.members.is_certified_dead(peer);
                let gossip = (!dead).then(|| partition.gossip_for(self.me, id, peer, false));
                let entries = gossip.iter().flat_map(|gossip| &gossip.entries);
                let is_full = entries.map(entry_bytes).sum::<usize>() >= MESSAGE_BYTES_TARGET;
                if let Some(link) = partition.links.get_mut(&peer) {
                    // What did not fit leaves with the next batch.
                    link.send_ms = is_full.then_some(now_ms);
                }
                if let Some(gossip) = gossip {
                    letters.add(peer, gossip, out);
                }
            }
            if partition.is_at_rest() {
                self.stirring.remove(&id);
            }
        }
        letters.send(out);
    }
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
