//! The update protocol, as coordinator: two-phase commit that survives its coordinator (STORAGE.md §4).
//!
//! Equal in logic to `model/src/core.rs` of the design: a term prepares under a new ballot, finishes what it finds
//! accepted, then tests and commits the requests that were queued **when it began** — later ones wait for the next
//! term, because the votes are only certain to show what a majority held before they were given (I9).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::types::{RecordId, RecordVersion, ReplicaId, UpdateId, Version};

use super::message::{
    Accepted, Ask, Ballot, Decision, Digest, EntryKind, LogRecord, Message, Outcome, RecordState,
    Term, Update,
};
use super::planted::Bug;
use super::queue::Queued;
use super::record::{Record, RecordChange};
use super::{Outputs, Reply, Storage};

/// Records whose latest term a node remembers, at most; with more it forgets all, and each costs a new promise.
pub const TERMS_MAX: usize = 65_536;
/// Updates that are decided in one slot, at most; also a slot closes when its values reach this size.
pub const SLOT_UPDATES_MAX: usize = 256;
const SLOT_BYTES_TARGET: usize = 1 << 20;
/// A fenced coordinator tries again after this long, times its place in the replica set.
pub const FENCED_MS: u64 = 50;

#[derive(Debug, Clone, Hash)]
pub struct Coordinator {
    term: Term,
    batch: VecDeque<UpdateId>,
    /// What those who voted have; a replica without digest has not voted.
    digests: BTreeMap<ReplicaId, Digest>,
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
}

impl Storage {
    /// Becomes coordinator for what is queued; an empty queue is pure termination of an orphan.
    pub(super) fn start_term(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let term = self.next_term(record, out);
        let best = self.updates(record).accepted.clone();
        let activity = self.active.entry(record.to_owned()).or_default();
        let batch = activity
            .queue
            .iter()
            .map(|queued| queued.update.id.clone())
            .collect();
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

    /// The next updates of the batch, each tested after the one before: together they are a slot. Reads at its beginning
    /// are answered: the votes have shown what there is.
    fn take_from_batch(&mut self, id: &str, slot: u64, out: &mut Outputs) -> Option<LogRecord> {
        let mut filled = LogRecord {
            slot,
            decisions: Vec::new(),
        };
        while filled.decisions.len() < SLOT_UPDATES_MAX
            && filled.value_bytes() < SLOT_BYTES_TARGET
            && let Some(place) = self.next_of_batch(id)
        {
            let Some(activity) = self.active.get(id) else {
                break;
            };
            let before = filled.decisions.last().map(|of| of.outcome.newest());
            let found = match (before, self.durable.record(id)) {
                (Some(newest), _) => newest.clone(),
                (None, Some(record)) => record.newest(),
                (None, None) => Record::default().newest(),
            };
            let Some(Queued { update, .. }) = activity.queue.get(place) else {
                break;
            };
            if update.ask == Ask::Read && before.is_none() && self.is_held(id, &found) {
                self.finish_read(id, place, &found, out);
                continue;
            }
            let literal = self.planted.is(Bug::LiteralNumbering).then(|| {
                let known = self.durable.record(id);
                Version::write(known.map_or(0, |record| record.highest_number), self.me)
            });
            let decision = test(update, found, literal);
            filled.decisions.push(decision);
        }
        (!filled.decisions.is_empty()).then_some(filled)
    }

    /// The place in the queue of the batch's next update; those that were decided meanwhile (and answered then), or have
    /// expired, are left out.
    fn next_of_batch(&mut self, id: &str) -> Option<usize> {
        let activity = self.active.get_mut(id)?;
        let batch = &mut activity.coordinator.as_mut()?.batch;
        while let Some(next) = batch.pop_front() {
            let record = self.durable.record(id);
            let is_known = record.is_some_and(|of| of.updates().executed(&next).is_some());
            let queued = activity.queue.iter().position(|of| of.update.id == next);
            if queued.is_some() && (!is_known || self.planted.is(Bug::NoDeduplication)) {
                return queued;
            }
        }
        None
    }

    /// True when a later read must find this version or a newer one. An update was decided by a quorum; a plain write may
    /// be held by this node alone, and then it is made known to a quorum with a slot of its own.
    fn is_held(&self, id: &str, found: &RecordVersion) -> bool {
        let term = self.active.get(id).and_then(|of| of.coordinator.as_ref());
        let holds = |replica| {
            let digest = term.and_then(|term| term.digests.get(&replica));
            replica == self.me || digest.is_some_and(|of| of.versions.contains(&found.version))
        };
        let replicas = self.durable.placement.replicas_of(id);
        found.version.step > 0 || found.version.is_null() || self.members.is_quorum(replicas, holds)
    }

    fn finish_read(&mut self, id: &str, place: usize, found: &RecordVersion, out: &mut Outputs) {
        let queue = self.active.get_mut(id).map(|activity| &mut activity.queue);
        let Some(read) = queue.and_then(|queue| queue.remove(place)) else {
            return;
        };
        self.queued_updates -= 1;
        match read.from {
            Some(from) => Self::send(from, read_done(id, read.update.id, found.clone()), out),
            None => self.answer_read(id, &read.update.id, found, out),
        }
    }

    fn answer_read(
        &mut self,
        record: &str,
        id: &UpdateId,
        found: &RecordVersion,
        out: &mut Outputs,
    ) {
        for token in self.waiting_updates.take(record, id) {
            Self::reply(token, record, Ok(Reply::Read(found.clone())), out);
        }
    }

    /// The coordinator has made a read that was forwarded to it.
    pub(super) fn take_read_done(
        &mut self,
        record: &str,
        id: &UpdateId,
        found: &RecordVersion,
        out: &mut Outputs,
    ) {
        self.forget_queued(record, id);
        self.answer_read(record, id, found, out);
        self.rest(record);
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

fn read_done(record: &str, id: UpdateId, found: RecordVersion) -> Message {
    Message::ReadDone {
        record: RecordId::from(record),
        id,
        found,
    }
}

/// Tests an update against the newest version before it. `literal`: what `Bug::LiteralNumbering` would make.
fn test(update: &Update, found: RecordVersion, literal: Option<Version>) -> Decision {
    let passed = match &update.ask {
        Ask::IfValueIs { old, new } => (found.value == *old).then_some(new),
        Ask::IfVersionIs { old, new } => (found.version == *old).then_some(new),
        Ask::Read => None,
    };
    let outcome = match passed {
        Some(new) => {
            let base = found.version;
            let version = literal.unwrap_or_else(|| base.successor());
            let value = new.clone();
            let made = RecordVersion { version, value };
            Outcome::Updated { base, made }
        }
        None => Outcome::Mismatch { found },
    };
    Decision {
        id: update.id.clone(),
        outcome,
    }
}
