//! The update protocol, as coordinator: two-phase commit that survives its coordinator (STORAGE.md §4).
//!
//! Equal in logic to `model/src/core.rs` of the design: a term prepares under a new ballot, finishes what it finds
//! accepted, then tests and commits the requests that were queued **when it began** — later ones wait for the next
//! term, because the votes are only certain to show what a majority held before they were given (I9).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::types::{RecordVersion, ReplicaId, UpdateId, Version};

use super::message::{
    Accepted, Ballot, Digest, EntryKind, LogRecord, Message, Outcome, RecordState, Update,
};
use super::record::{Record, RecordChange};
use super::{Outputs, Storage};

/// A fenced coordinator tries again after this long, times its place in the replica set.
pub const FENCED_MS: u64 = 50;

#[derive(Debug)]
pub struct Coordinator {
    pub(super) ballot: Ballot,
    batch: VecDeque<UpdateId>,
    /// What those who voted have; a replica without digest has not voted.
    digests: BTreeMap<ReplicaId, Digest>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Collecting votes; the accepted record with the highest slot and ballot so far.
    Prepare { best: Option<Accepted> },
    /// Collecting commits; `sent`: the versions that a replica has once it has committed.
    Commit {
        proposal: LogRecord,
        committed: BTreeSet<ReplicaId>,
        sent: Vec<Version>,
    },
}

/// What a vote says besides what the coordinator lacks.
pub struct Ballots {
    pub ballot: Ballot,
    pub accepted: Option<Accepted>,
    pub digest: Digest,
}

impl Storage {
    /// Becomes coordinator for what is queued; an empty queue is pure termination of an orphan.
    pub(super) fn start_term(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let promised = self
            .records
            .get(record)
            .map_or(Ballot::default(), |state| state.promised);
        let ballot = self.next_ballot(promised);
        self.change(record, RecordChange::Promise(ballot), out);
        let best = self
            .records
            .get(record)
            .and_then(|state| state.accepted.clone());
        let activity = self.active.entry(record.to_owned()).or_default();
        let batch = activity
            .queue
            .iter()
            .map(|queued| queued.update.id.clone())
            .collect();
        activity.coordinator = Some(Coordinator {
            ballot,
            batch,
            digests: BTreeMap::new(),
            phase: Phase::Prepare { best },
        });
        self.resend(now_ms, record, out);
        self.advance(now_ms, record, out);
    }

    /// Sends the running phase to all that have not answered it, and looks again later.
    pub(super) fn resend(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let due_ms = now_ms + self.members.round_trip_ms();
        let peers = self.peers_of(record);
        let Some(activity) = self.active.get_mut(record) else {
            return;
        };
        activity.due_ms = due_ms;
        let (Some(coordinator), Some(state)) = (&activity.coordinator, self.records.get(record))
        else {
            return;
        };
        for peer in peers {
            match (&coordinator.phase, coordinator.digests.get(&peer)) {
                (_, None) => {
                    let prepare = Message::Prepare {
                        record: record.to_owned(),
                        ballot: coordinator.ballot,
                        digest: state.digest(),
                    };
                    Self::send(peer, prepare, out);
                }
                (
                    Phase::Commit {
                        committed,
                        proposal,
                        ..
                    },
                    Some(digest),
                ) if !committed.contains(&peer) => {
                    Self::send(
                        peer,
                        coordinator.commit(record, proposal, state, digest),
                        out,
                    );
                }
                _ => {}
            }
        }
    }

    pub(super) fn take_vote(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        record: &str,
        vote: Ballots,
        lacking: &RecordState,
        out: &mut Outputs,
    ) {
        let is_mine = |activity: &super::queue::Activity| {
            activity
                .coordinator
                .as_ref()
                .is_some_and(|own| own.ballot == vote.ballot)
        };
        if !self.active.get(record).is_some_and(is_mine) {
            return;
        }
        self.take_state_of(record, lacking, out);
        let Some(coordinator) = self
            .active
            .get_mut(record)
            .and_then(|activity| activity.coordinator.as_mut())
        else {
            return;
        };
        coordinator.digests.insert(from, vote.digest);
        match &mut coordinator.phase {
            Phase::Prepare { best } => {
                let rank = |accepted: &Accepted| (accepted.proposal.slot, accepted.ballot);
                if vote.accepted.as_ref().map(rank) > best.as_ref().map(rank) {
                    *best = vote.accepted;
                }
            }
            // A late vote: the quorum went on without it, and it gets what is being committed.
            Phase::Commit { proposal, .. } => {
                let proposal = proposal.clone();
                if let (Some(state), Some(digest)) =
                    (self.records.get(record), coordinator.digests.get(&from))
                {
                    Self::send(
                        from,
                        coordinator.commit(record, &proposal, state, digest),
                        out,
                    );
                }
            }
        }
        self.advance(now_ms, record, out);
    }

    pub(super) fn take_committed(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        record: &str,
        ballot: Ballot,
        slot: u64,
        out: &mut Outputs,
    ) {
        let Some(coordinator) = self
            .active
            .get_mut(record)
            .and_then(|activity| activity.coordinator.as_mut())
        else {
            return;
        };
        let Phase::Commit {
            proposal,
            committed,
            sent,
        } = &mut coordinator.phase
        else {
            return;
        };
        if coordinator.ballot != ballot || proposal.slot != slot {
            return;
        }
        committed.insert(from);
        coordinator.digests.insert(
            from,
            Digest {
                decided: slot - 1,
                versions: sent.clone(),
            },
        );
        self.advance(now_ms, record, out);
    }

    /// Takes the coordinator as far as the answers allow: from votes to a proposal, from commits to a decision.
    pub(super) fn advance(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let replicas = self.replicas_of(record);
        loop {
            let Some(coordinator) = self
                .active
                .get(record)
                .and_then(|activity| activity.coordinator.as_ref())
            else {
                return;
            };
            let decided = match &coordinator.phase {
                Phase::Prepare { best } => {
                    let voted =
                        |replica| replica == self.me || coordinator.digests.contains_key(&replica);
                    if !self.members.is_quorum(&replicas, voted) {
                        return;
                    }
                    let best = best.clone();
                    self.propose(now_ms, record, best, out);
                    continue;
                }
                Phase::Commit {
                    proposal,
                    committed,
                    ..
                } => {
                    let has_committed =
                        |replica| replica == self.me || committed.contains(&replica);
                    if !self.members.is_quorum(&replicas, has_committed) {
                        return;
                    }
                    proposal.clone()
                }
            };
            // Gossip carries the decision to the others; it leaves with the end of this batch of inputs.
            self.originate(now_ms, record, EntryKind::Decided(decided), out);
            self.propose(now_ms, record, None, out);
        }
    }

    /// The next record of the term: what was found accepted for this slot, else the next request of the batch, else
    /// the term ends.
    fn propose(&mut self, now_ms: u64, record: &str, best: Option<Accepted>, out: &mut Outputs) {
        let state = self.records.entry(record.to_owned()).or_default();
        let Some(activity) = self.active.get_mut(record) else {
            return;
        };
        let Some(coordinator) = &mut activity.coordinator else {
            return;
        };
        let slot = state.decided + 1;
        let mut proposal = best
            .map(|accepted| accepted.proposal)
            .filter(|found| found.slot == slot);
        while proposal.is_none() {
            let Some(id) = coordinator.batch.pop_front() else {
                break;
            };
            let queued = activity.queue.iter().find(|queued| queued.update.id == id);
            // Decided meanwhile (and answered then), or expired.
            let Some(queued) = queued.filter(|_| state.executed(&id).is_none()) else {
                continue;
            };
            proposal = Some(test(&queued.update, slot, state));
        }
        let Some(proposal) = proposal else {
            activity.coordinator = None;
            return self.settle(now_ms, record, out);
        };
        let accepted = Accepted {
            ballot: coordinator.ballot,
            proposal: proposal.clone(),
        };
        let sent = state.digest().versions;
        coordinator.phase = Phase::Commit {
            proposal,
            committed: BTreeSet::new(),
            sent,
        };
        self.change(record, RecordChange::Accept(accepted), out);
        self.send_commits(now_ms, record, out);
    }

    fn send_commits(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let due_ms = now_ms + self.members.round_trip_ms();
        let (Some(activity), Some(state)) = (self.active.get_mut(record), self.records.get(record))
        else {
            return;
        };
        activity.due_ms = due_ms;
        let Some(coordinator) = &activity.coordinator else {
            return;
        };
        let Phase::Commit { proposal, .. } = &coordinator.phase else {
            return;
        };
        for (peer, digest) in &coordinator.digests {
            Self::send(
                *peer,
                coordinator.commit(record, proposal, state, digest),
                out,
            );
        }
    }

    pub(super) fn take_nack(
        &mut self,
        now_ms: u64,
        record: &str,
        promised: Ballot,
        out: &mut Outputs,
    ) {
        let place = self.place_in(record);
        if self
            .records
            .get(record)
            .is_none_or(|state| state.promised < promised)
        {
            // Promising more is always safe.
            self.change(record, RecordChange::Promise(promised), out);
        }
        if let Some(activity) = self.active.get_mut(record) {
            activity.fence(promised, now_ms + FENCED_MS * place);
        }
    }
}

impl Coordinator {
    /// True when the slot that is being committed was decided by someone else.
    pub(super) fn is_closed(&self, decided: u64) -> bool {
        matches!(&self.phase, Phase::Commit { proposal, .. } if proposal.slot <= decided)
    }

    fn commit(
        &self,
        record: &str,
        proposal: &LogRecord,
        state: &Record,
        digest: &Digest,
    ) -> Message {
        Message::Commit {
            record: record.to_owned(),
            ballot: self.ballot,
            proposal: proposal.clone(),
            lacking: state.lacking(digest),
        }
    }
}

/// Tests an update against the newest visible version.
fn test(update: &Update, slot: u64, state: &Record) -> LogRecord {
    let found = state.newest();
    let outcome = if found.value == update.old {
        let base = found.version;
        let made = RecordVersion {
            version: base.successor(),
            value: update.new.clone(),
        };
        Outcome::Updated { base, made }
    } else {
        Outcome::Mismatch { found }
    };
    LogRecord {
        slot,
        id: update.id.clone(),
        outcome,
    }
}
