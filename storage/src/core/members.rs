//! Who is there: failure detection by heartbeats, certified deaths, and the quorums that follow from them.
//!
//! Suspicion only chooses coordinators and redirects; quorums shrink by certified deaths alone (STORAGE.md §4).

use std::collections::BTreeMap;

use common::types::{CommitMode, ReplicaId, Ring};

use super::planted::{Bug, Planted};

/// A node sends a heartbeat this often.
pub const HEARTBEAT_MS: u64 = 250;
/// A node that is silent for this long is suspected.
pub const SUSPECT_MS: u64 = 1_500;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// The latest life heard of; 0 until then. Lives are numbered upwards.
    incarnation: u64,
    /// This life and those before it will never speak again.
    dead_through: u64,
    heard_ms: u64,
    was_suspected: bool,
    pub certified_dead: bool,
    pub joining: bool,
    pub gossip_delay_ms: u64,
}

/// What a sign of life means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// From a stranger or from the dead: to be ignored.
    Nobody,
    Known,
    /// The first of a new life.
    Reborn,
}

/// The other nodes of the ring, as this one sees them.
#[derive(Debug, Clone, Hash)]
pub struct Members {
    me: ReplicaId,
    commit: CommitMode,
    others: BTreeMap<ReplicaId, Member>,
    own_delay_ms: u64,
    planted: Planted,
}

impl Members {
    pub fn new(now_ms: u64, me: ReplicaId, own_delay_ms: u64, ring: &Ring) -> Self {
        // Until a peer is heard its messages are taken to be as slow as ours.
        let member = Member {
            incarnation: 0,
            dead_through: 0,
            heard_ms: now_ms + own_delay_ms,
            was_suspected: false,
            certified_dead: false,
            joining: false,
            gossip_delay_ms: own_delay_ms,
        };
        let others = ring
            .nodes
            .iter()
            .filter(|node| node.replica != me)
            .map(|node| (node.replica, member.clone()));
        Self {
            me,
            commit: ring.commit,
            others: others.collect(),
            own_delay_ms,
            planted: Planted::default(),
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// Notes a sign of life. Messages may arrive long after the death of their sender, so only a later life than the
    /// one that was certified dead counts as one.
    pub fn hear(&mut self, now_ms: u64, from: ReplicaId, incarnation: u64) -> Heard {
        let Some(member) = self.others.get_mut(&from) else {
            return Heard::Nobody;
        };
        if incarnation < member.incarnation || incarnation <= member.dead_through {
            return Heard::Nobody;
        }
        member.heard_ms = member.heard_ms.max(now_ms);
        if incarnation == member.incarnation {
            return Heard::Known;
        }
        let is_first = member.incarnation == 0 && !member.certified_dead;
        member.incarnation = incarnation;
        member.certified_dead = false;
        if is_first {
            Heard::Known
        } else {
            Heard::Reborn
        }
    }

    /// Another node knows this life of a member. True: it was not known here, or taken for dead with an earlier one.
    pub fn learn(&mut self, replica: ReplicaId, incarnation: u64) -> bool {
        let Some(member) = self.others.get_mut(&replica) else {
            return false;
        };
        let is_new = incarnation > member.incarnation && incarnation > member.dead_through;
        if is_new {
            member.incarnation = incarnation;
            member.certified_dead = false;
        }
        is_new
    }

    /// The lives of those that are not certified dead, as far as they are known.
    pub fn lives(&self) -> Vec<(ReplicaId, u64)> {
        self.iter()
            .filter(|(_, member)| !member.certified_dead && member.incarnation != 0)
            .map(|(replica, member)| (replica, member.incarnation))
            .collect()
    }

    /// This incarnation of a replica (0: whichever is known) will never speak again. The certificate may come late:
    /// a successor that was heard already goes on living.
    pub fn certify_death(&mut self, replica: ReplicaId, incarnation: u64) {
        let Some(member) = self.others.get_mut(&replica) else {
            return;
        };
        let dead = if incarnation == 0 {
            member.incarnation
        } else {
            incarnation
        };
        member.dead_through = member.dead_through.max(dead);
        if member.incarnation <= member.dead_through {
            member.certified_dead = true;
            member.joining = false;
        }
    }

    pub fn get_mut(&mut self, replica: ReplicaId) -> Option<&mut Member> {
        self.others.get_mut(&replica)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, &Member)> {
        self.others
            .iter()
            .map(|(replica, member)| (*replica, member))
    }

    /// Others to whom it makes sense to send.
    pub fn living(&self) -> impl Iterator<Item = ReplicaId> {
        self.iter()
            .filter(|(_, member)| !member.certified_dead)
            .map(|(replica, _)| replica)
    }

    pub fn is_certified_dead(&self, replica: ReplicaId) -> bool {
        self.others
            .get(&replica)
            .is_some_and(|member| member.certified_dead)
    }

    /// True when somebody has fallen silent since this was last asked.
    pub fn has_new_suspect(&mut self, now_ms: u64) -> bool {
        let mut has_new = false;
        for member in self.others.values_mut() {
            let is_suspected = member.is_suspected(now_ms);
            has_new |= is_suspected && !member.was_suspected;
            member.was_suspected = is_suspected;
        }
        has_new
    }

    /// Heard of lately, member or not.
    pub fn in_sight(&self, now_ms: u64, replica: ReplicaId) -> bool {
        self.others
            .get(&replica)
            .is_some_and(|member| !member.is_suspected(now_ms))
    }

    pub fn believed_alive(&self, now_ms: u64, replica: ReplicaId) -> bool {
        replica == self.me
            || self
                .others
                .get(&replica)
                .is_some_and(|member| !member.joining && !member.is_suspected(now_ms))
    }

    /// The first replica in ring order that is believed alive.
    pub fn coordinator(&self, now_ms: u64, replicas: &[ReplicaId]) -> Option<ReplicaId> {
        replicas
            .iter()
            .copied()
            .find(|replica| self.believed_alive(now_ms, *replica))
    }

    /// True when these replicas (this one among them) may decide for the set.
    pub fn is_quorum(&self, replicas: &[ReplicaId], agreed: impl Fn(ReplicaId) -> bool) -> bool {
        match self.commit {
            CommitMode::Majority => {
                let agreed = replicas.iter().filter(|replica| agreed(**replica)).count();
                let half = self.planted.is(Bug::QuorumOfHalf);
                agreed > replicas.len() / 2 || half && agreed >= replicas.len() / 2
            }
            CommitMode::FailStop => replicas
                .iter()
                .all(|replica| agreed(*replica) || self.is_certified_dead(*replica)),
        }
    }

    /// False when so few are believed alive that an update cannot be decided now.
    pub fn quorum_in_sight(&self, now_ms: u64, replicas: &[ReplicaId]) -> bool {
        match self.commit {
            CommitMode::Majority => {
                self.is_quorum(replicas, |replica| self.believed_alive(now_ms, replica))
            }
            // A suspicion never shrinks a quorum: the suspect answers, or its death is certified.
            CommitMode::FailStop => true,
        }
    }

    /// A generous round trip: two delayed messages and their handling on a loaded machine.
    pub fn round_trip_ms(&self) -> u64 {
        let slowest = self
            .others
            .values()
            .map(|member| member.gossip_delay_ms)
            .max()
            .unwrap_or(0);
        500 + self.own_delay_ms + slowest
    }
}

impl Member {
    pub fn is_suspected(&self, now_ms: u64) -> bool {
        self.certified_dead || self.silent_ms(now_ms) > SUSPECT_MS
    }

    pub fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.heard_ms)
    }
}

#[cfg(test)]
mod tests {
    use common::fabric::Address;

    use super::*;

    const ME: ReplicaId = 1;
    const PEER: ReplicaId = 2;
    const OLD: u64 = 7;
    const NEW: u64 = 8;

    fn members() -> Members {
        let node = |replica| {
            let address = Address::parse(&format!("localhost:{replica}")).unwrap();
            (format!("s{replica}"), address)
        };
        let nodes = [ME, PEER].map(node).to_vec();
        let ring = Ring::new(nodes, None, CommitMode::FailStop, 10).unwrap();
        Members::new(0, ME, 0, &ring)
    }

    #[test]
    fn a_late_certificate_does_not_touch_the_successor() {
        let mut members = members();
        assert_eq!(members.hear(1, PEER, OLD), Heard::Known);
        assert_eq!(members.hear(2, PEER, NEW), Heard::Reborn);
        members.certify_death(PEER, OLD);
        assert!(!members.is_certified_dead(PEER));
        assert_eq!(members.hear(3, PEER, NEW), Heard::Known);
        assert_eq!(members.hear(3, PEER, OLD), Heard::Nobody, "the dead speak");
    }

    #[test]
    fn a_certificate_of_who_was_never_heard_lets_the_successor_begin() {
        let mut members = members();
        members.certify_death(PEER, OLD);
        assert!(members.is_certified_dead(PEER));
        assert_eq!(members.hear(1, PEER, OLD), Heard::Nobody, "the dead speak");
        assert_eq!(members.hear(1, PEER, NEW), Heard::Reborn);
        // The certificate is repeated to be sure.
        members.certify_death(PEER, OLD);
        assert!(!members.is_certified_dead(PEER));
    }

    #[test]
    fn a_certificate_without_an_incarnation_is_of_whoever_is_known() {
        let mut members = members();
        assert_eq!(members.hear(1, PEER, NEW), Heard::Known);
        members.certify_death(PEER, 0);
        assert!(members.is_certified_dead(PEER));
        assert_eq!(members.hear(2, PEER, NEW), Heard::Nobody, "the dead speak");
    }

    #[test]
    fn a_message_of_a_life_before_the_dead_one_revives_nobody() {
        let mut members = members();
        members.certify_death(PEER, NEW);
        assert_eq!(members.hear(1, PEER, OLD), Heard::Nobody, "the dead speak");
        assert!(members.is_certified_dead(PEER));
        assert_eq!(members.hear(2, PEER, NEW + 1), Heard::Reborn);
    }
}
