//! Reads and plain writes: what clients ask of one replica.

use std::ops::Bound::{Excluded, Unbounded};

use bytes::Bytes;
use common::types::{PartitionId, RecordId, RecordVersion, TaskMark, UpdateId, Version, Wanted};

use super::message::{Entry, EntryKind};
use super::planted::Bug;
use super::record::{Lookup, Record, RecordChange};
use super::{Change, Level, Outputs, Refusal, Reply, Storage, Token};

/// Reads that wait for a version, at most.
pub const WAITING_READS_MAX: usize = 4_096;
/// Writes that wait for other replicas, at most.
pub const WAITING_WRITES_MAX: usize = 16_384;
/// A client that waits for other replicas is told "unknown" after this long.
pub const WAITING_MS_MAX: u64 = 60_000;

/// A read of a version that has not arrived.
#[derive(Debug, Clone, Hash)]
pub struct WaitingRead {
    token: Token,
    record: RecordId,
    wanted: Wanted,
    until_ms: u64,
}

/// A write that is not yet at as many replicas as its level demands.
#[derive(Debug, Clone, Hash)]
pub struct WaitingWrite {
    token: Token,
    record: RecordId,
    level: Level,
    partition: PartitionId,
    sequence: u64,
    version: Version,
    until_ms: u64,
}

/// A plain write that a client asks for.
#[derive(Debug, Clone)]
pub struct Write {
    pub token: Token,
    pub id: UpdateId,
    pub record: RecordId,
    pub value: Option<Bytes>,
    pub level: Level,
    /// The new version's number is higher than this one's.
    pub above: Version,
    /// Absent: no task makes it.
    pub task: Option<TaskMark>,
}

impl Storage {
    pub(super) fn read(
        &mut self,
        token: Token,
        record: RecordId,
        wanted: Wanted,
        until_ms: Option<u64>,
        out: &mut Outputs,
    ) {
        let reply = match (self.look_up(&record, wanted), until_ms) {
            (Err(Refusal::NotYet { .. }), Some(until_ms)) => {
                if self.waiting_reads.len() < WAITING_READS_MAX {
                    self.waiting_reads.push(WaitingRead {
                        token,
                        record,
                        wanted,
                        until_ms,
                    });
                    return;
                }
                Err(self.overloaded("reads that wait for a version", WAITING_READS_MAX))
            }
            (other, _) => other.map(Reply::Read),
        };
        Self::reply(token, &record, reply, out);
    }

    fn look_up(&self, record: &str, wanted: Wanted) -> Result<RecordVersion, Refusal> {
        self.serves(record)?;
        let absent = Record::default();
        let state = self.durable.record(record).unwrap_or(&absent);
        let found = match wanted {
            Wanted::Exactly(version) => state.look_up(version),
            Wanted::Newest { not_older } => {
                let mut newest = state.newest();
                if self.planted.is(Bug::ReadsShowUndecided)
                    && let Some(accepted) = &state.updates().accepted
                    && let Some(made) = accepted.proposal.made().last()
                {
                    newest = made.clone();
                }
                if newest.version >= not_older {
                    Lookup::Found(newest)
                } else {
                    Lookup::NotYet
                }
            }
        };
        let (record, version) = (record.to_owned(), wanted.needs());
        match found {
            Lookup::Found(found) => Ok(found),
            Lookup::Discarded => Err(Refusal::Discarded { record, version }),
            Lookup::NotYet => Err(Refusal::NotYet { record, version }),
        }
    }

    /// Refuses what another replica has to answer.
    pub(super) fn serves(&self, record: &str) -> Result<(), Refusal> {
        if !self
            .durable
            .placement
            .replicas_of(record)
            .contains(&self.me)
        {
            return Err(Refusal::AskAnother(record.to_owned()));
        }
        if self.joined {
            Ok(())
        } else {
            Err(Refusal::Joining)
        }
    }

    pub(super) fn write(&mut self, now_ms: u64, write: &Write, out: &mut Outputs) {
        let token = write.token;
        let (version, partition, sequence) = match self.accept(now_ms, write, out) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                return Self::reply(token, &write.record, Err(refusal), out);
            }
        };
        let waiting = WaitingWrite {
            token,
            record: write.record.clone(),
            level: write.level,
            partition,
            sequence,
            version,
            until_ms: now_ms + WAITING_MS_MAX,
        };
        if self.is_spread(&waiting) {
            Self::reply(token, &write.record, Ok(Reply::Written(version)), out);
        } else {
            self.waiting_writes.push(waiting);
        }
    }

    /// The version of the write, and what the others have to know before its level is reached.
    fn accept(
        &mut self,
        now_ms: u64,
        write: &Write,
        out: &mut Outputs,
    ) -> Result<(Version, PartitionId, u64), Refusal> {
        self.serves(&write.record)?;
        let (origin, task) = (&write.id.origin, write.task.as_ref());
        self.admit(now_ms, &write.record, origin, task, out)?;
        let absent = Record::default();
        let record = self.durable.record(&write.record).unwrap_or(&absent);
        if let Some(version) = record.written(&write.id) {
            // A repeat: all that is here now covers the first try.
            let partition = self.durable.placement.partition(&write.record);
            let spread = self.durable.spread(partition);
            let sequence = spread.map_or(0, |spread| spread.timestamp.get(version.replica));
            return Ok((version, partition, sequence));
        }
        self.writable()?;
        self.room_to_retain(&write.record, write.task.as_ref())?;
        if write.level != Level::One && self.waiting_writes.len() >= WAITING_WRITES_MAX {
            let what = "writes that wait for other replicas";
            return Err(self.overloaded(what, WAITING_WRITES_MAX));
        }
        let highest = record.highest_number.max(write.above.number);
        let version = Version::write(highest, self.me);
        let made = RecordVersion {
            version,
            value: write.value.clone(),
        };
        let id = write.id.clone();
        let note = write.task.as_ref().map(|task| task.note.clone());
        let what = EntryKind::Write { made, id, note };
        let (partition, sequence) = self.originate(now_ms, &write.record, what, out);
        Ok((version, partition, sequence))
    }

    /// Numbers an update accepted here and puts it into the partition's gossip.
    pub(super) fn originate(
        &mut self,
        now_ms: u64,
        record: &str,
        what: EntryKind,
        out: &mut Outputs,
    ) -> (PartitionId, u64) {
        let partition = self.durable.placement.partition(record);
        let Some(spread) = self.durable.spread(partition) else {
            return (partition, 0);
        };
        let sequence = spread.timestamp.get(self.me) + 1;
        let previous = spread.timestamp.clone();
        let entry = Entry {
            origin: self.me,
            sequence,
            previous,
            record: record.to_owned(),
            what,
        };
        self.apply_entry(now_ms, partition, entry, out);
        (partition, sequence)
    }

    /// Answers the writes that enough replicas hold.
    pub(super) fn answer_writes(&mut self, out: &mut Outputs) {
        let waiting = std::mem::take(&mut self.waiting_writes);
        for write in waiting {
            if self.is_spread(&write) {
                let reply = Ok(Reply::Written(write.version));
                Self::reply(write.token, &write.record, reply, out);
            } else {
                self.waiting_writes.push(write);
            }
        }
    }

    fn is_spread(&self, write: &WaitingWrite) -> bool {
        let Some(partition) = self.partitions.get(&write.partition) else {
            return true;
        };
        let origin = write.version.replica;
        let has =
            |replica| replica == self.me || partition.known(replica, origin) >= write.sequence;
        match write.level {
            Level::One => true,
            Level::Majority => {
                partition
                    .replicas
                    .iter()
                    .filter(|replica| has(**replica))
                    .count()
                    > partition.replicas.len() / 2
            }
            Level::All => partition
                .replicas
                .iter()
                .all(|replica| has(*replica) || self.members.is_certified_dead(*replica)),
        }
    }

    /// Answers the reads whose version has come; called when a batch of inputs has ended.
    pub(super) fn answer_reads(&mut self, out: &mut Outputs) {
        let waiting = std::mem::take(&mut self.waiting_reads);
        for read in waiting {
            match self.look_up(&read.record, read.wanted) {
                Err(Refusal::NotYet { .. }) => self.waiting_reads.push(read),
                reply => Self::reply(read.token, &read.record, reply.map(Reply::Read), out),
            }
        }
    }

    pub(super) fn expire_waiting(&mut self, now_ms: u64, out: &mut Outputs) {
        self.waiting_reads.retain(|read| {
            let waits = now_ms < read.until_ms;
            if !waits {
                let refusal = Refusal::NotYet {
                    record: read.record.clone(),
                    version: read.wanted.needs(),
                };
                Self::reply(read.token, &read.record, Err(refusal), out);
            }
            waits
        });
        self.waiting_writes.retain(|write| {
            let waits = now_ms < write.until_ms;
            if !waits {
                Self::reply(write.token, &write.record, Err(Refusal::Unknown), out);
            }
            waits
        });
    }

    /// Every version of a record kept here, newest first, and whether older ones were discarded.
    pub fn history(&self, record: &str) -> Result<(Vec<RecordVersion>, bool), Refusal> {
        self.serves(record)?;
        let history = |record: &Record| {
            let versions = record.versions().cloned().collect();
            (versions, !record.floor.is_null())
        };
        Ok(self
            .durable
            .record(record)
            .map_or_else(Default::default, history))
    }

    /// Records with at least one visible version, in key order after `after`.
    pub fn list(&self, after: &str) -> impl Iterator<Item = (&RecordId, Vec<RecordVersion>)> {
        self.durable
            .records()
            .range::<str, _>((Excluded(after), Unbounded))
            .map(|(record, state)| (record, state.versions().cloned().collect::<Vec<_>>()))
            .filter(|(_, versions)| !versions.is_empty())
    }
}

/// What a change persisted by the core makes visible.
pub fn visible(change: &Change) -> Vec<(&RecordId, &RecordVersion)> {
    match change {
        Change::Record {
            record,
            change: RecordChange::Merge(made),
        }
        | Change::Entry {
            entry:
                Entry {
                    record,
                    what: EntryKind::Write { made, .. },
                    ..
                },
            ..
        } => vec![(record, made)],
        Change::Record {
            record,
            change: RecordChange::Decide(decided),
        }
        | Change::Entry {
            entry:
                Entry {
                    record,
                    what: EntryKind::Decided(decided),
                    ..
                },
            ..
        } => decided.made().map(|made| (record, made)).collect(),
        _ => Vec::new(),
    }
}
