//! What of a partition's gossip goes to which peer, and when.

use std::collections::BTreeMap;

use common::types::{PartitionId, ReplicaId};

use super::durable::Durable;
use super::gossip::MESSAGE_BYTES_TARGET;
use super::members::Members;
use super::message::{Entry, PartitionGossip};
use super::spread::{Spread, entry_bytes};
use super::timestamp::Timestamp;

/// The part of a partition's gossip that a restart begins anew; the rest is its [`Spread`].
#[derive(Debug, Clone, Hash)]
pub struct Partition {
    pub(super) replicas: Vec<ReplicaId>,
    pub(super) waiting: Vec<Entry>,
    pub(super) links: BTreeMap<ReplicaId, Link>,
}

/// What goes to one peer.
#[derive(Debug, Clone, Default, Hash)]
pub struct Link {
    /// What the peer has said that it has.
    pub(super) known: Timestamp,
    /// Own updates up to this number were sent.
    sent: u64,
    pub(super) send_ms: Option<u64>,
    /// When to see whether the peer has this, and to send again what it has not.
    pub(super) check: Option<(u64, Timestamp)>,
}

impl Link {
    pub(super) fn send_by(&mut self, due_ms: u64) {
        self.send_ms = Some(self.send_ms.map_or(due_ms, |at| at.min(due_ms)));
    }

    /// What to tell the peer now; `all`: also what others should have told it.
    pub(super) fn gossip(
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
    pub(super) fn begin_link(
        &mut self,
        peer: ReplicaId,
        now_ms: u64,
        check_ms: u64,
        spread: &Spread,
    ) {
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
    pub(super) fn due_ms(&self) -> Option<u64> {
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

    pub(super) fn peers<'a>(
        &'a self,
        members: &'a Members,
        is_meant: impl Fn(ReplicaId) -> bool + 'a,
    ) -> impl Iterator<Item = ReplicaId> + 'a {
        members
            .iter()
            .map(|(replica, _)| replica)
            .filter(move |replica| self.replicas.contains(replica) && is_meant(*replica))
    }

    pub(super) fn has(&self, peer: ReplicaId, entry: &Entry) -> bool {
        self.known(peer, entry.origin) >= entry.sequence
    }

    /// Drops what all peers have that are there, or will come back with their data.
    pub(super) fn truncate(&self, durable: &mut Durable, id: PartitionId, members: &Members) {
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
