//! The update protocol, as coordinator: two-phase commit that survives its coordinator (STORAGE.md §4).
//!
//! Equal in logic to `model/src/core.rs` of the design: a term prepares under a new ballot, finishes what it finds
//! accepted, then tests and commits the requests that were queued **when it began** — later ones wait for the next
//! term, because the votes are only certain to show what a majority held before they were given (I9).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::types::{RecordId, RecordVersion, ReplicaId, UpdateId, Version};

use super::message::{
    Accepted, Ask, Ballot, Digest, EntryKind, LogRecord, Message, Outcome, RecordState, Update,
};
use super::planted::Bug;
use super::record::{Record, RecordChange};
use super::{Output, Outputs, Reply, Storage};

/// A fenced coordinator tries again after this long, times its place in the replica set.
pub const FENCED_MS: u64 = 50;

#[derive(Debug, Clone, Hash)]
pub struct Coordinator {
    pub(super) ballot: Ballot,
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
pub struct Ballots {
    pub ballot: Ballot,
    pub accepted: Option<Accepted>,
    pub digest: Digest,
}

impl Storage {
    /// Becomes coordinator for what is queued; an empty queue is pure termination of an orphan.
    pub(super) fn start_term(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let ballot = self.next_ballot(self.updates(record).promised);
        self.change(record, RecordChange::Promise(ballot), out);
        let best = self.updates(record).accepted.clone();
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
        let (Some(coordinator), Some(state)) = (&activity.coordinator, self.durable.record(record))
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
        lacking: RecordState,
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

    /// The next record of the term: what was found accepted for this slot, else the next request of the batch, else
    /// the term ends.
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
            ballot: coordinator.ballot,
            proposal: proposal.clone(),
        };
        let state = self.durable.record(record);
        coordinator.phase = Phase::Commit {
            proposal,
            committed: BTreeSet::new(),
            sent: state.map_or_else(Vec::new, |state| state.digest().versions),
        };
        self.change(record, RecordChange::Accept(accepted), out);
        self.send_commits(now_ms, record, out);
    }

    /// The next update of the batch, tested. Reads before it are answered: the votes have shown what there is.
    fn take_from_batch(&mut self, id: &str, slot: u64, out: &mut Outputs) -> Option<LogRecord> {
        let absent = Record::default();
        loop {
            let activity = self.active.get_mut(id)?;
            let next = activity.coordinator.as_mut()?.batch.pop_front()?;
            let record = self.durable.record(id).unwrap_or(&absent);
            // Otherwise decided meanwhile (and answered then), or expired.
            let is_known = record.updates().executed(&next).is_some();
            let queued = activity.queue.iter().position(|of| of.update.id == next);
            let Some(place) = queued.filter(|_| !is_known || self.planted.is(Bug::NoDeduplication))
            else {
                continue;
            };
            let found = record.newest();
            let replicas = self.durable.placement.replicas_of(id);
            let holds = |replica| {
                let digest = activity.coordinator.as_ref()?.digests.get(&replica)?;
                digest.versions.contains(&found.version).then_some(())
            };
            // An update was decided by a quorum; a plain write may be held by this node alone, and then it is made known
            // to a quorum with a slot of its own, or else a later read might not see it.
            let is_held = found.version.step > 0
                || found.version.is_null()
                || self.members.is_quorum(replicas, |replica| {
                    replica == self.me || holds(replica).is_some()
                });
            if let Some(update) = activity.queue.get(place).map(|queued| &queued.update)
                && (update.ask != Ask::Read || !is_held)
            {
                let literal = self.planted.is(Bug::LiteralNumbering).then_some(self.me);
                return Some(test(update, slot, record, literal));
            }
            if let Some(read) = activity.queue.remove(place) {
                self.queued_updates -= 1;
                match read.from {
                    Some(from) => Self::send(from, read_done(id, next, found), out),
                    None => self.answer_read(id, &next, &found, out),
                }
            }
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
            out.push(Output::Reply {
                token,
                reply: Ok(Reply::Read(found.clone())),
            });
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

fn read_done(record: &str, id: UpdateId, found: RecordVersion) -> Message {
    Message::ReadDone {
        record: RecordId::from(record),
        id,
        found,
    }
}

/// Tests an update against the newest visible version. `literal`: the replica of `Bug::LiteralNumbering`.
fn test(update: &Update, slot: u64, state: &Record, literal: Option<ReplicaId>) -> LogRecord {
    let found = state.newest();
    let passed = match &update.ask {
        Ask::IfValueIs { old, new } => (found.value == *old).then_some(new),
        Ask::IfVersionIs { old, new } => (found.version == *old).then_some(new),
        Ask::Read => None,
    };
    let outcome = match passed {
        Some(new) => {
            let base = found.version;
            let adjacent = base.successor();
            let version = literal.map_or(adjacent, |me| Version::write(state.highest_number, me));
            let value = new.clone();
            let made = RecordVersion { version, value };
            Outcome::Updated { base, made }
        }
        None => Outcome::Mismatch { found },
    };
    LogRecord {
        slot,
        id: update.id.clone(),
        outcome,
    }
}
