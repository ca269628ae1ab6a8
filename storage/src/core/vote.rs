//! The update protocol, as participant: votes, commits, and what was decided elsewhere.

use std::collections::BTreeMap;

use common::types::{RecordId, ReplicaId};

use super::message::{Accepted, Ballot, Digest, Message, RecordState, Term};
use super::planted::Bug;
use super::record::{Record, RecordChange};
use super::{Outputs, Refusal, Storage};

/// What a coordinator asks for when a term begins; `tasks`: of each origin in its batch, the lowest attempt.
pub struct Prepare {
    pub term: Term,
    pub digest: Digest,
    pub tasks: BTreeMap<String, u32>,
}

impl Storage {
    pub(super) fn take_prepare(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        record: RecordId,
        asked: Prepare,
        out: &mut Outputs,
    ) {
        let Prepare {
            term,
            digest,
            tasks,
        } = asked;
        if !self.promise(now_ms, from, &record, term.ballot, out) {
            return;
        }
        let absent = Record::default();
        let state = self.durable.record(&record).unwrap_or(&absent);
        let vote = Message::Vote {
            term,
            accepted: state.updates().accepted.clone(),
            digest: state.digest(),
            lacking: state.lacking(&digest),
            fenced: self.fenced_of(tasks),
            record,
        };
        Self::send(from, vote, out);
    }

    /// Promises the ballot, unless a higher one was promised: then the sender is told so.
    fn promise(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        record: &str,
        ballot: Ballot,
        out: &mut Outputs,
    ) -> bool {
        let promised = self.updates(record).promised;
        if ballot < promised {
            Self::send(
                from,
                Message::Nack {
                    record: record.to_owned(),
                    promised,
                },
                out,
            );
            return false;
        }
        if ballot > promised {
            self.change(record, RecordChange::Promise(ballot), out);
        }
        let due_ms = now_ms + self.patience_ms(record);
        if let Some(activity) = self.active.get_mut(record) {
            activity.fence(ballot, due_ms);
            activity.due_ms = due_ms;
        }
        true
    }

    pub(super) fn take_commit(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        record: &str,
        offer: Accepted,
        lacking: RecordState,
        out: &mut Outputs,
    ) {
        let ballot = offer.ballot;
        if !self.planted.is(Bug::CommitIgnoresPromise)
            && !self.promise(now_ms, from, record, ballot, out)
        {
            return;
        }
        self.take_state_of(record, lacking, out);
        let decided = self.updates(record).decided;
        let slot = offer.proposal.slot;
        if slot == decided + 1 {
            self.change(record, RecordChange::Accept(offer), out);
            // From now on there is something to terminate should the coordinator fall silent.
            self.active.entry(record.to_owned()).or_default().due_ms =
                now_ms + self.patience_ms(record);
            Self::send(
                from,
                Message::Committed {
                    record: record.to_owned(),
                    ballot,
                    slot,
                },
                out,
            );
        } else if slot <= decided {
            self.send_decided(
                from,
                record,
                &Digest {
                    decided: slot - 1,
                    ..Digest::default()
                },
                out,
            );
        } else {
            self.fetch(from, record, out);
        }
    }

    /// Takes over what another replica knows of a record; a term of our own whose slot was closed by someone else ends.
    pub(super) fn take_state_of(&mut self, record: &str, state: RecordState, out: &mut Outputs) {
        let changes = match self.durable.record(record) {
            Some(own) => own.merge(state),
            None => Record::default().merge(state),
        };
        if changes.is_empty() {
            return;
        }
        let decides = changes
            .iter()
            .any(|change| matches!(change, RecordChange::Decide(_) | RecordChange::SkipTo(_)));
        for change in changes {
            self.change(record, change, out);
        }
        if decides {
            self.end_slots(record, out);
        }
    }

    /// Someone else's slots were decided here.
    pub(super) fn end_slots(&mut self, record: &str, out: &mut Outputs) {
        let slots = self.updates(record).decided;
        if let Some(activity) = self.active.get_mut(record) {
            activity.close(slots);
        }
        self.answer_executed(record, out);
        self.rest(record);
    }

    /// Answers what is queued here and was decided in slots that this node has skipped.
    fn answer_executed(&mut self, record: &str, out: &mut Outputs) {
        let Some(activity) = self.active.get(record) else {
            return;
        };
        let decided = |queued: &super::queue::Queued| {
            let id = &queued.update.id;
            let outcome = self.durable.record(record)?.executed(id)?;
            Some((id.clone(), outcome))
        };
        let decided: Vec<_> = activity.queue.iter().filter_map(decided).collect();
        for (id, outcome) in decided {
            match outcome {
                Ok(outcome) => self.answer_update(record, &id, &outcome, out),
                Err(version) => {
                    let of = record.to_owned();
                    let refusal = Refusal::Discarded {
                        record: of,
                        version,
                    };
                    self.refuse_queued(record, &id, &refusal, out);
                }
            }
        }
    }

    pub(super) fn send_decided(
        &self,
        to: ReplicaId,
        record: &str,
        digest: &Digest,
        out: &mut Outputs,
    ) {
        if let Some(state) = self.durable.record(record) {
            Self::send(
                to,
                Message::Decided {
                    record: record.to_owned(),
                    state: state.lacking(digest),
                },
                out,
            );
        }
    }

    pub(super) fn fetch(&self, from: ReplicaId, record: &str, out: &mut Outputs) {
        let digest = self
            .durable
            .record(record)
            .map(Record::digest)
            .unwrap_or_default();
        Self::send(
            from,
            Message::Fetch {
                record: record.to_owned(),
                digest,
            },
            out,
        );
    }
}
