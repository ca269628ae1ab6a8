//! The update protocol, as coordinator: two-phase commit that survives its coordinator (STORAGE.md §4).
//!
//! Equal in logic to `model/src/core.rs` of the design, but that a slot takes a whole batch and a ballot serves many terms:
//! a term prepares, finishes what it finds accepted, then tests and commits the requests that were queued **when it
//! began** — later ones wait for the next term, because the votes are only certain to show what a majority held before
//! they were given (I9).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::types::{ReplicaId, UpdateId, Version};

use super::message::{Accepted, Ballot, Digest, EntryKind, LogRecord, Message, RecordState, Term};
use super::planted::Bug;
use super::record::{Record, RecordChange};
use super::{Outputs, Storage};

/// Records whose latest term a node remembers, at most; with more it forgets all, and each costs a new promise.
pub const TERMS_MAX: usize = 65_536;
/// Updates that a term takes from the queue, at most: it names their tasks in one message.
pub(super) const BATCH_MAX: usize = 16_384;
/// A fenced coordinator tries again after this long, times its place in the replica set.
pub const FENCED_MS: u64 = 50;

#[derive(Debug, Clone, Hash)]
pub struct Coordinator {
    term: Term,
    /// What was queued when the term began, and has not been taken yet.
    pub(super) batch: VecDeque<UpdateId>,
    /// What those who voted have; a replica without digest has not voted.
    pub(super) digests: BTreeMap<ReplicaId, Digest>,
    phase: Phase,
}

#[derive(Debug, Clone, Hash)]
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
pub struct Vote {
    pub term: Term,
    pub accepted: Option<Accepted>,
    pub digest: Digest,
    /// Tasks whose updates the voter refuses, and the attempts that have taken their places.
    pub fenced: BTreeMap<String, u32>,
}

impl Storage {
    /// Becomes coordinator for what is queued; an empty queue is pure termination of an orphan.
    pub(super) fn start_term(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let term = self.next_term(record, out);
        let best = self.updates(record).accepted.clone();
        let activity = self.active.entry(record.to_owned()).or_default();
        let batch = activity.queue.iter().take(BATCH_MAX);
        let batch = batch.map(|queued| queued.update.id.clone()).collect();
        activity.coordinator = Some(Coordinator {
            term,
            batch,
            digests: BTreeMap::new(),
            phase: Phase::Prepare { best },
        });
        self.resend(now_ms, record, out);
        self.advance(now_ms, record, out);
    }

    /// Under the ballot of the term before, if nobody has promised more; else under a new one.
    fn next_term(&mut self, record: &str, out: &mut Outputs) -> Term {
        let promised = self.updates(record).promised;
        if let Some(term) = self.terms.get_mut(record)
            && term.ballot == promised
        {
            term.round += 1;
            return *term;
        }
        let ballot = Ballot {
            epoch: self.ring().epoch,
            term: promised.term + 1,
            replica: self.me,
        };
        self.change(record, RecordChange::Promise(ballot), out);
        if self.terms.len() >= TERMS_MAX {
            self.terms.clear();
        }
        let term = Term { ballot, round: 0 };
        self.terms.insert(record.to_owned(), term);
        term
    }

    /// Sends the running phase to all that have not answered it, and looks again later.
    pub(super) fn resend(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let due_ms = now_ms + self.members.round_trip_ms();
        let peers = self.peers_of(record);
        let Some(activity) = self.active.get_mut(record) else {
            return;
        };
        activity.due_ms = due_ms;
        let (Some(coordinator), Some(state)) = (&activity.coordinator, self.durable.record(record))
        else {
            return;
        };
        for peer in peers {
            match (&coordinator.phase, coordinator.digests.get(&peer)) {
                (_, None) => {
                    let prepare = Message::Prepare {
                        record: record.to_owned(),
                        term: coordinator.term,
                        digest: state.digest(),
                        tasks: activity.tasks(),
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
        vote: Vote,
        lacking: RecordState,
        out: &mut Outputs,
    ) {
        let is_mine = |activity: &super::queue::Activity| {
            let own = activity.coordinator.as_ref().map(|own| own.term);
            let is_stale_too = self.planted.is(Bug::StaleVotes);
            own.is_some_and(|own| {
                own == vote.term || is_stale_too && own.ballot == vote.term.ballot
            })
        };
        if !self.active.get(record).is_some_and(is_mine) {
            return;
        }
        self.take_state_of(record, lacking, out);
        self.take_refused(now_ms, from, record, &vote.fenced, out);
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
                    (self.durable.record(record), coordinator.digests.get(&from))
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
        if coordinator.term.ballot != ballot || proposal.slot != slot {
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
                    if !self.members.is_quorum(&replicas, voted)
                        && !self.planted.is(Bug::TestBeforeExchange)
                    {
                        return;
                    }
                    let best = best
                        .clone()
                        .filter(|_| !self.planted.is(Bug::TakeoverIgnoresPending));
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
                    if !self.members.is_quorum(&replicas, has_committed)
                        && !self.planted.is(Bug::AcknowledgedAfterOwnDisk)
                    {
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

    /// The next slot of the term: what was found accepted for it, else the next updates of the batch, else the term ends.
    fn propose(&mut self, now_ms: u64, record: &str, best: Option<Accepted>, out: &mut Outputs) {
        let slot = self.updates(record).decided + 1;
        let found = best
            .map(|accepted| accepted.proposal)
            .filter(|found| found.slot == slot);
        let proposal = match found {
            Some(found) => Some(found),
            None => self.take_from_batch(record, slot, out),
        };
        let Some(activity) = self.active.get_mut(record) else {
            return;
        };
        let (Some(coordinator), Some(proposal)) = (&mut activity.coordinator, proposal) else {
            activity.coordinator = None;
            return self.settle(now_ms, record, out);
        };
        let accepted = Accepted {
            ballot: coordinator.term.ballot,
            proposal: proposal.clone(),
        };
        let state = self.durable.record(record);
        coordinator.phase = Phase::Commit {
            proposal,
            committed: BTreeSet::new(),
            sent: state.map_or_else(Vec::new, |state| state.digest().versions),
        };
        // The others need not wait until this node has accepted it durably; the answer does.
        self.send_commits(now_ms, record, out);
        self.change(record, RecordChange::Accept(accepted), out);
    }

    fn send_commits(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let due_ms = now_ms + self.members.round_trip_ms();
        let (Some(activity), Some(state)) =
            (self.active.get_mut(record), self.durable.record(record))
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
        if self.updates(record).promised < promised {
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

    pub(super) fn ballot(&self) -> Ballot {
        self.term.ballot
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
            ballot: self.term.ballot,
            proposal: proposal.clone(),
            lacking: state.lacking(digest),
        }
    }
}
