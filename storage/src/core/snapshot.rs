//! Copies of partitions for backups, and back again.
//!
//! A copy is what one replica has applied, at one instant: with each update all that it builds on. It holds what was
//! decided and written, and the ids by which repeats are known; no promise, and nothing that is accepted only, since both
//! are this replica's word to others.
//!
//! A record is taken back only where there is none, or the same. It goes past gossip: every replica is given it.

use common::types::{PartitionId, RecordId};

use super::message::{Ballot, JoinRecord, RecordState};
use super::record::Record;
use super::timestamp::Timestamp;
use super::{Outputs, Refusal, Reply, Storage, Token};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub partition: PartitionId,
    /// What it covers.
    pub timestamp: Timestamp,
    /// In key order.
    pub records: Vec<(RecordId, RecordState)>,
}

impl Storage {
    pub(super) fn snapshot(
        &self,
        token: Token,
        at_least: &[(PartitionId, Timestamp)],
        out: &mut Outputs,
    ) {
        let reply = self.copies(at_least).map(Reply::Snapshot);
        Self::reply_all(token, reply, out);
    }

    fn copies(&self, at_least: &[(PartitionId, Timestamp)]) -> Result<Vec<Snapshot>, Refusal> {
        if !self.joined {
            return Err(Refusal::Joining);
        }
        let mut copies = at_least
            .iter()
            .map(|(partition, wanted)| {
                let spread = self.durable.spread(*partition);
                let timestamp = &spread.ok_or(Refusal::NotHeld(*partition))?.timestamp;
                if !timestamp.covers(wanted) || self.has_orphan(*partition) {
                    return Err(Refusal::Behind(*partition));
                }
                Ok(Snapshot {
                    partition: *partition,
                    timestamp: timestamp.clone(),
                    records: Vec::new(),
                })
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        for (id, record) in self.durable.records() {
            let home = self.durable.placement.partition(id);
            let Some(copy) = copies.iter_mut().find(|copy| copy.partition == home) else {
                continue;
            };
            let state = decided(id, record);
            if state != RecordState::default() {
                copy.records.push((id.clone(), state));
            }
        }
        Ok(copies)
    }

    fn has_orphan(&self, partition: PartitionId) -> bool {
        let mut orphans = self.orphans.iter();
        orphans.any(|id| self.durable.placement.partition(id) == partition)
    }

    pub(super) fn restore(
        &mut self,
        token: Token,
        records: Vec<(RecordId, RecordState)>,
        only_check: bool,
        out: &mut Outputs,
    ) {
        let checked = records
            .iter()
            .try_for_each(|(id, state)| self.can_restore(id, state));
        if checked.is_ok() && !only_check {
            for (id, state) in records {
                self.take_state_of(&id, state, out);
            }
        }
        let reply = checked.map(|()| Reply::Restored);
        Self::reply_all(token, reply, out);
    }

    /// What is there already is what would be there afterwards, or nothing.
    fn can_restore(&self, id: &str, state: &RecordState) -> Result<(), Refusal> {
        self.serves(id)?;
        self.writable()?;
        let Some(own) = self.durable.record(id) else {
            return Ok(());
        };
        let is_undecided = own.updates().accepted.is_some();
        let is_empty = decided(id, own) == RecordState::default();
        if !is_undecided && (is_empty || is_same(own, &self.restored(id, state))) {
            return Ok(());
        }
        Err(Refusal::Exists(id.to_owned()))
    }

    /// As this ring would have it, which may keep fewer versions.
    fn restored(&self, id: &str, state: &RecordState) -> Record {
        let join = JoinRecord {
            record: id.to_owned(),
            promised: Ballot::default(),
            accepted: None,
            state: state.clone(),
        };
        Record::restore(join, self.ring().max_versions as usize)
    }
}

/// What replicas that are equal have in common; the ids of plain writes are remembered in the order in which they came.
fn is_same(one: &Record, other: &Record) -> bool {
    let decided = |record: &Record| (record.updates().decided, record.floor);
    decided(one) == decided(other) && one.versions().eq(other.versions())
}

fn decided(id: &str, record: &Record) -> RecordState {
    record.to_join(id).state
}
