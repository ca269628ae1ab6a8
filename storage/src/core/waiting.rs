//! Clients that wait for the outcome of an update.

use std::collections::BTreeMap;

use common::types::{RecordId, RecordVersion, UpdateId};

use super::message::{Decision, LogRecord, Outcome};
use super::{Outputs, Reply, Storage, Token};

/// By record and update: two records may have updates of one id. Its user bounds it by [`count`](Self::count).
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct WaitingUpdates {
    by_record: BTreeMap<RecordId, BTreeMap<UpdateId, Vec<Token>>>,
    count: usize,
}

impl WaitingUpdates {
    pub fn add(&mut self, record: &str, id: UpdateId, token: Token) {
        let updates = self.by_record.entry(record.to_owned()).or_default();
        updates.entry(id).or_default().push(token);
        self.count += 1;
    }

    /// Those that waited for this one, in the order in which they came.
    pub fn take(&mut self, record: &str, id: &UpdateId) -> Vec<Token> {
        let Some(updates) = self.by_record.get_mut(record) else {
            return Vec::new();
        };
        let tokens = updates.remove(id).unwrap_or_default();
        if updates.is_empty() {
            self.by_record.remove(record);
        }
        self.count -= tokens.len();
        tokens
    }

    pub fn count(&self) -> usize {
        self.count
    }
}

impl Storage {
    /// A slot was decided. That a quorum has accepted it is durable, so the answers need not wait for the change that
    /// says so here.
    pub(super) fn answer_updates(&mut self, record: &str, decided: &LogRecord, out: &mut Outputs) {
        for Decision { id, outcome, .. } in &decided.decisions {
            self.answer_update(record, id, outcome, out);
        }
    }

    pub(super) fn answer_update(
        &mut self,
        record: &str,
        id: &UpdateId,
        outcome: &Outcome,
        out: &mut Outputs,
    ) {
        self.forget_queued(record, id);
        for token in self.waiting_updates.take(record, id) {
            Self::reply(token, record, Ok(Reply::Update(outcome.clone())), out);
        }
    }

    pub(super) fn answer_read(
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
}
