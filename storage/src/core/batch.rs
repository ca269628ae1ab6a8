//! What a coordinator proposes for the next slot: the updates that wait, each tested after the one before it.

use common::types::{RecordId, RecordVersion, UpdateId, Version};

use super::message::{Ask, Decision, LogRecord, Message, Outcome, Update};
use super::planted::Bug;
use super::queue::Queued;
use super::record::Record;
use super::{Outputs, Storage};

/// Updates that are decided in one slot, at most; also a slot closes when its values reach this size.
pub const SLOT_UPDATES_MAX: usize = 256;
const SLOT_BYTES_TARGET: usize = 1 << 20;

impl Storage {
    /// The next updates of the batch, each tested after the one before: together they are a slot. Reads at its beginning
    /// are answered: the votes have shown what there is.
    pub(super) fn take_from_batch(
        &mut self,
        id: &str,
        slot: u64,
        out: &mut Outputs,
    ) -> Option<LogRecord> {
        let mut filled = LogRecord {
            slot,
            decisions: Vec::new(),
        };
        let mut bytes = 0;
        while filled.decisions.len() < SLOT_UPDATES_MAX
            && bytes < SLOT_BYTES_TARGET
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
            if let Err(refusal) = self.room_to_retain(id, update.task.as_ref()) {
                let update = update.id.clone();
                self.refuse_queued(id, &update, &refusal, out);
                continue;
            }
            if update.ask == Ask::Read && before.is_none() && self.is_held(id, &found) {
                self.finish_read(id, place, &found, out);
                continue;
            }
            let literal = self.planted.is(Bug::LiteralNumbering).then(|| {
                let known = self.durable.record(id);
                Version::write(known.map_or(0, |record| record.highest_number), self.me)
            });
            let decision = test(update, found, literal);
            bytes += decision.bytes();
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
            let is_known = record.is_some_and(|of| of.has_executed(&next));
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
        self.answer_read(id, &read.update.id, found, out);
        if let Some(from) = read.from {
            Self::send(from, read_done(id, read.update.id, found.clone()), out);
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
        note: update.task.as_ref().map(|task| task.note.clone()),
    }
}
