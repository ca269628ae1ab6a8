//! How a node becomes a member.
//!
//! A node that starts without data votes only when it has merged the state of **every** other member that is not
//! certified dead: whatever was decided with its predecessor's help is known to one of them. Members count a joining
//! node in their quorums from the moment it asks, so nothing is decided behind its back.
//!
//! A node that comes back with its data needs less: under `commit majority` nothing, for its promises and votes are
//! those that it gave. Under `commit fail-stop` the others may have gone on without it; it copies what they have
//! accepted, waits until gossip has brought what they had decided, and copies what still differs: a member may know by
//! votes and commits what the gossip of a dead node has never told. Being dead is no excuse for those that it does not
//! hear: the last one to fail may know what nobody else does. Nodes keep whom they have seen die (Skeen, "Determining the
//! Last Process to Fail", 1985), and only those need not be waited for.

use std::collections::BTreeSet;

use common::types::{CommitMode, PartitionId, ReplicaId};

use super::copy::What;
use super::members::Member;
use super::timestamp::Timestamp;
use super::{Change, Outputs, Storage};

/// What another node has said to a joining one.
#[derive(Debug, Clone, Default, Hash)]
pub struct Answer {
    pub(super) is_member: bool,
    /// Whom it has seen die.
    pub(super) dead: BTreeSet<ReplicaId>,
    /// What it had, and gossip has to bring.
    pub(super) expected: Vec<(PartitionId, Timestamp)>,
    /// What it has beyond gossip has been copied too.
    pub(super) is_compared: bool,
}

impl Storage {
    /// Whether a node that has started has to join before it votes.
    pub(super) fn must_join(&self) -> bool {
        let is_alone = self.ring().nodes.len() == 1;
        !is_alone && (!self.durable.joined || self.ring().commit == CommitMode::FailStop)
    }

    /// Begins to copy from all members; the requests leave with the next tick.
    pub(super) fn start_joining(&mut self) {
        self.pulls.clear();
        let living: Vec<ReplicaId> = self.members.living().collect();
        for member in living {
            self.join_from(member);
        }
    }

    /// Begins to copy from a member, or anew.
    pub(super) fn join_from(&mut self, member: ReplicaId) {
        let what = if self.durable.joined {
            What::Undecided
        } else {
            What::All
        };
        self.start_pull(member, what);
    }

    pub(super) fn finish_joining(&mut self, out: &mut Outputs) {
        // Asked with every message of gossip: whom a node waits for is worked out only while it joins.
        if self.joined || !self.pulls.is_empty() {
            return;
        }
        self.compare_answers();
        if !self.pulls.is_empty() || !self.waits_for().is_empty() {
            return;
        }
        self.joined = true;
        self.answers.clear();
        // The others are told at once, not at the next heartbeat.
        self.heartbeat_due_ms = 0;
        // Each time: when it is durable, so is all that the node has joined with.
        self.persist(Change::Joined, out);
        self.note_deaths(out);
    }

    /// Gossip has brought what some have told: what is left is copied.
    fn compare_answers(&mut self) {
        let is_next =
            |(_, answer): &(&ReplicaId, &Answer)| !answer.is_compared && self.has_gossip(answer);
        let next: Vec<ReplicaId> = self
            .answers
            .iter()
            .filter(is_next)
            .map(|of| *of.0)
            .collect();
        for member in next {
            let shared = self.shared_with(member).collect();
            self.start_pull(member, What::Differences(shared));
        }
    }

    /// Keeps whom this node, a member, takes for dead.
    pub(super) fn note_deaths(&mut self, out: &mut Outputs) {
        let dead = |(_, member): &(_, &Member)| member.certified_dead;
        let dead: Vec<ReplicaId> = self.members.iter().filter(dead).map(|of| of.0).collect();
        for replica in dead {
            self.note_death(replica, true, out);
        }
    }

    /// Whom a joining node still has to hear, or whose updates have not all come.
    pub fn waits_for(&self) -> Vec<ReplicaId> {
        let complete = |replica: &ReplicaId| {
            let answer = self.answers.get(replica)?;
            self.has_all(answer).then_some(answer)
        };
        let others: Vec<ReplicaId> = self.members.iter().map(|(replica, _)| replica).collect();
        let answers: Vec<&Answer> = others.iter().filter_map(complete).collect();
        let fail_stop = self.ring().commit == CommitMode::FailStop;
        let is_excused = |replica: &ReplicaId| {
            // A member that has seen it die has counted this node ever since it asked.
            let went_before_a_member = answers
                .iter()
                .any(|answer| answer.is_member && answer.dead.contains(replica));
            let went_before_us = self.durable.dead.contains(replica)
                && answers.iter().all(|answer| answer.dead.contains(replica));
            let forgot = self.members.is_certified_dead(*replica) && self.forgets(*replica);
            forgot || fail_stop && (went_before_a_member || went_before_us)
        };
        let waited_for = others
            .iter()
            .filter(|replica| complete(replica).is_none() && !is_excused(replica));
        waited_for.copied().collect()
    }

    fn has_all(&self, answer: &Answer) -> bool {
        answer.is_compared && self.has_gossip(answer)
    }

    fn has_gossip(&self, answer: &Answer) -> bool {
        answer.expected.iter().all(|(partition, expected)| {
            self.durable
                .spread(*partition)
                .is_none_or(|spread| spread.timestamp.covers(expected))
        })
    }

    /// True for a node whose records die with its process.
    fn forgets(&self, replica: ReplicaId) -> bool {
        let own = self.durable.founding.disk;
        self.durable.disks.get(&replica).copied().unwrap_or(own) == 0
    }

    /// A member has died, or is back: kept, so that after a failure of all it is known who was the last.
    pub(super) fn note_death(&mut self, replica: ReplicaId, dead: bool, out: &mut Outputs) {
        if self.durable.dead.contains(&replica) != dead {
            self.persist(Change::Death { replica, dead }, out);
        }
    }

    /// A node died while this one was joining: what it has said is of no use unless all of it is here.
    pub(super) fn forget_answer(&mut self, replica: ReplicaId) {
        let is_incomplete = |answer: &Answer| !self.has_all(answer);
        if self.answers.get(&replica).is_some_and(is_incomplete) {
            self.answers.remove(&replica);
        }
    }

    /// While a node joins, others die, or hear of deaths: it asks again until it has heard enough.
    pub(super) fn tick_joining(&mut self, now_ms: u64, out: &mut Outputs) {
        if self.joined {
            return;
        }
        self.finish_joining(out);
        if !self.joined && self.pulls.is_empty() && now_ms >= self.join_again_ms {
            self.join_again_ms = now_ms + 2 * self.members.round_trip_ms();
            self.start_joining();
        }
    }

    /// The member starts anew.
    pub(super) fn expect_joining(&mut self, now_ms: u64, member: ReplicaId) {
        if let Some(state) = self.members.get_mut(member) {
            state.joining = true;
        }
        self.begin_links_to(now_ms, member);
    }
}
