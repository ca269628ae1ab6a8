//! The update protocol, as participant: votes, commits, and what was decided elsewhere.

use common::types::{RecordId, ReplicaId};

use super::message::{Accepted, Ballot, Digest, Message, RecordState};
use super::record::RecordChange;
use super::{Outputs, Storage};

impl Storage {
    pub(super) fn take_prepare(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        record: RecordId,
        ballot: Ballot,
        digest: &Digest,
        out: &mut Outputs,
    ) {
        if !self.promise(now_ms, from, &record, ballot, out) {
            return;
        }
        let state = self.records.entry(record.clone()).or_default();
        let vote = Message::Vote {
            ballot,
            accepted: state.accepted.clone(),
            digest: state.digest(),
            lacking: state.lacking(digest),
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
        let promised = self
            .records
            .get(record)
            .map_or(Ballot::default(), |state| state.promised);
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
        lacking: &RecordState,
        out: &mut Outputs,
    ) {
        let ballot = offer.ballot;
        if !self.promise(now_ms, from, record, ballot, out) {
            return;
        }
        self.take_state_of(record, lacking, out);
        let decided = self.records.get(record).map_or(0, |state| state.decided);
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
    pub(super) fn take_state_of(&mut self, record: &str, state: &RecordState, out: &mut Outputs) {
        let changes = match self.records.get(record) {
            Some(own) => own.merge(state),
            None => super::record::Record::default().merge(state),
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
            let slots = self.records.get(record).map_or(0, |own| own.decided);
            if let Some(activity) = self.active.get_mut(record) {
                activity.close(slots);
            }
            self.rest(record);
        }
    }

    pub(super) fn send_decided(
        &self,
        to: ReplicaId,
        record: &str,
        digest: &Digest,
        out: &mut Outputs,
    ) {
        if let Some(state) = self.records.get(record) {
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
            .records
            .get(record)
            .map(super::record::Record::digest)
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
