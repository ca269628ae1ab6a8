//! The log of a record's updates: ballots, decided slots, and the table of executed update ids.
//!
//! Invariants: decided slots are consecutive and never change (I1); `promised` never goes back (I10).

use std::collections::{BTreeMap, VecDeque};

use common::types::UpdateId;

use super::message::{Accepted, Ballot, Decision, LogRecord, Outcome};

/// Decided updates kept per record for lagging replicas, and successful ones remembered for the answers to repeats.
pub const LOG_RECORDS_MAX: usize = 1024;
/// Bytes of values kept in a record's log.
pub const LOG_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Updates {
    pub promised: Ballot,
    pub accepted: Option<Accepted>,
    /// Slots decided in all; the log holds the last of them.
    pub decided: u64,
    log: VecDeque<LogRecord>,
    /// Updates in the log, and bytes of their values.
    log_decisions: usize,
    log_bytes: usize,
    executed: BTreeMap<UpdateId, Executed>,
    /// Successful updates that left the log for its size, oldest first: remembered without their values.
    shed: VecDeque<(UpdateId, u64)>,
}

/// What is remembered of a decided update.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Executed {
    slot: u64,
    outcome: Outcome,
}

/// What a record without updates has.
pub static NONE: Updates = Updates {
    promised: Ballot {
        epoch: 0,
        term: 0,
        replica: 0,
    },
    accepted: None,
    decided: 0,
    log: VecDeque::new(),
    log_decisions: 0,
    log_bytes: 0,
    executed: BTreeMap::new(),
    shed: VecDeque::new(),
};

impl Updates {
    pub(super) fn promise(&mut self, ballot: Ballot) {
        debug_assert!(ballot >= self.promised, "I10: a promise went back");
        self.promised = ballot;
    }

    pub(super) fn accept(&mut self, accepted: Accepted) {
        debug_assert_eq!(
            accepted.proposal.slot,
            self.decided + 1,
            "accepted out of order"
        );
        self.accepted = Some(accepted);
    }

    pub(super) fn decide(&mut self, record: LogRecord) {
        debug_assert_eq!(record.slot, self.decided + 1, "I1: decided out of order");
        self.set_decided(record.slot);
        for decision in &record.decisions {
            self.note_executed(record.slot, decision);
        }
        self.log_decisions += record.decisions.len();
        self.log_bytes += record.bytes();
        self.log.push_back(record);
        while self.log.len() > 1
            && (self.log_decisions > LOG_RECORDS_MAX || self.log_bytes > LOG_BYTES_MAX)
        {
            if let Some(oldest) = self.log.pop_front() {
                self.log_decisions -= oldest.decisions.len();
                self.log_bytes -= oldest.bytes();
                self.shed(oldest);
            }
        }
    }

    fn note_executed(&mut self, slot: u64, decision: &Decision) {
        let outcome = decision.outcome.clone();
        let executed = Executed { slot, outcome };
        self.executed.insert(decision.id.clone(), executed);
    }

    /// The log below this slot is not to be had any more: goes on from here.
    pub(super) fn skip_to(&mut self, slot: u64) {
        (self.log_decisions, self.log_bytes) = (0, 0);
        for record in std::mem::take(&mut self.log) {
            self.shed(record);
        }
        self.set_decided(slot);
    }

    /// Takes over what another replica remembers of updates that left the log.
    pub(super) fn remember(&mut self, remembered: &[LogRecord]) {
        for LogRecord { slot, decisions } in remembered {
            for decision in decisions {
                if !self.executed.contains_key(&decision.id) {
                    self.note_executed(*slot, decision);
                    self.shed.push_back((decision.id.clone(), *slot));
                }
            }
        }
        self.shed
            .make_contiguous()
            .sort_unstable_by_key(|(_, slot)| *slot);
        self.limit_shed();
    }

    /// The answer to a repeat names the version that was made, so its value can go; a mismatch is nothing without its
    /// value, and to test a failed update anew harms nobody.
    fn shed(&mut self, oldest: LogRecord) {
        let LogRecord { slot, decisions } = oldest;
        for Decision { id, .. } in decisions {
            match self.executed.get_mut(&id) {
                Some(Executed {
                    slot: of,
                    outcome: Outcome::Updated { made, .. },
                }) if *of == slot => {
                    made.value = None;
                    self.shed.push_back((id, slot));
                }
                _ => self.forget(&id, slot),
            }
        }
        self.limit_shed();
    }

    fn limit_shed(&mut self) {
        while self.shed.len() > LOG_RECORDS_MAX
            && let Some((id, slot)) = self.shed.pop_front()
        {
            self.forget(&id, slot);
        }
    }

    /// The notes of these origins are needed no longer.
    pub(super) fn forget_notes(&mut self, origins: &[String]) {
        for decision in self.log.iter_mut().flat_map(|of| &mut of.decisions) {
            if origins.contains(&decision.id.origin) {
                let note = decision.note.take();
                self.log_bytes -= note.map_or(0, |note| note.len());
            }
        }
    }

    fn forget(&mut self, id: &UpdateId, slot: u64) {
        if self
            .executed
            .get(id)
            .is_some_and(|known| known.slot == slot)
        {
            self.executed.remove(id);
        }
    }

    fn set_decided(&mut self, slot: u64) {
        self.decided = slot;
        if self
            .accepted
            .as_ref()
            .is_some_and(|accepted| accepted.proposal.slot <= slot)
        {
            self.accepted = None;
        }
    }

    /// The outcome of an update that was decided here and is still remembered; without the value that it made when that
    /// was long ago.
    pub fn executed(&self, id: &UpdateId) -> Option<&Outcome> {
        self.executed.get(id).map(|executed| &executed.outcome)
    }

    pub fn log_after(&self, slot: u64) -> Vec<LogRecord> {
        self.log
            .iter()
            .filter(|record| record.slot > slot)
            .cloned()
            .collect()
    }

    /// What is remembered of updates that left the log, oldest first.
    pub fn remembered(&self) -> Vec<LogRecord> {
        let record = |(id, slot): &(UpdateId, u64)| {
            let decision = Decision {
                id: id.clone(),
                outcome: self.executed(id)?.clone(),
                // What is retained is kept by the record.
                note: None,
            };
            Some(LogRecord {
                slot: *slot,
                decisions: vec![decision],
            })
        };
        self.shed.iter().filter_map(record).collect()
    }

    /// The last slot that is not in the log.
    pub fn skipped(&self) -> u64 {
        self.log
            .front()
            .map_or(self.decided, |first| first.slot.saturating_sub(1))
    }

    pub fn log_bytes(&self) -> usize {
        self.log_bytes + 64 * self.log_decisions + 64 * self.shed.len()
    }
}
