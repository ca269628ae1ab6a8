//! Copies of state: how a node without data becomes a member, and how one far behind catches up.
//!
//! A node that starts without data votes only when it has merged the state of **every** other member that is not
//! certified dead: whatever was decided with its predecessor's help is known to one of them. Members count a joining
//! node in their quorums from the moment it asks, so nothing is decided behind its back.

use std::ops::Bound::{Excluded, Unbounded};

use common::types::{PartitionId, RecordId, ReplicaId};

use super::message::{JoinRecord, Message, StatePage};
use super::record::RecordChange;
use super::timestamp::Timestamp;
use super::{Change, Output, Outputs, Storage};

/// A page closes at this size.
const PAGE_BYTES_TARGET: usize = 1 << 20;

/// A copy of a member's state under way: of one partition, or of all that are shared.
#[derive(Debug)]
pub struct Pull {
    copy: u64,
    partition: Option<PartitionId>,
    after: RecordId,
    /// From the first page: later pages may hold more, but not less.
    timestamps: Vec<(PartitionId, Timestamp)>,
    due_ms: u64,
}

impl Pull {
    fn new(copy: u64, partition: Option<PartitionId>) -> Self {
        Self {
            copy,
            partition,
            after: RecordId::default(),
            timestamps: Vec::new(),
            due_ms: 0,
        }
    }
}

impl Storage {
    /// Begins to copy from all members; the requests leave with the next tick.
    pub(super) fn start_joining(&mut self) {
        self.copies = self.copies.wrapping_add(1);
        self.pulls = self
            .members
            .living()
            .map(|member| (member, Pull::new(self.copies, None)))
            .collect();
    }

    pub(super) fn finish_joining(&mut self, out: &mut Outputs) {
        if !self.joined && self.pulls.is_empty() {
            self.joined = true;
            // The others are told at once, not at the next heartbeat.
            self.heartbeat_due_ms = 0;
            out.push(Output::Persist(Change::Joined));
        }
    }

    /// Copies one partition from a member that no longer has it as entries, unless a copy is under way.
    pub(super) fn pull(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        partition: Option<PartitionId>,
        out: &mut Outputs,
    ) {
        if self.pulls.contains_key(&from) {
            return;
        }
        self.copies = self.copies.wrapping_add(1);
        self.pulls.insert(from, Pull::new(self.copies, partition));
        self.tick_pulls(now_ms, out);
    }

    /// Asks for the next pages, and again for those that did not come.
    pub(super) fn tick_pulls(&mut self, now_ms: u64, out: &mut Outputs) {
        let again_ms = now_ms + 2 * self.members.round_trip_ms();
        for (member, pull) in &mut self.pulls {
            if pull.due_ms <= now_ms {
                pull.due_ms = again_ms;
                Self::send(
                    *member,
                    Message::StateRequest {
                        copy: pull.copy,
                        partition: pull.partition,
                        after: pull.after.clone(),
                    },
                    out,
                );
            }
        }
    }

    pub(super) fn send_state(
        &mut self,
        now_ms: u64,
        to: ReplicaId,
        copy: u64,
        partition: Option<PartitionId>,
        after: RecordId,
        out: &mut Outputs,
    ) {
        if partition.is_none() && after.is_empty() {
            self.expect_joining(now_ms, to);
        }
        let shared = |id: PartitionId| {
            partition.is_none_or(|only| only == id) && self.placement.replicas(id).contains(&to)
        };
        let mut page = StatePage {
            copy,
            partition,
            after,
            records: Vec::new(),
            timestamps: Vec::new(),
            next: None,
        };
        if page.after.is_empty() {
            let timestamps = self.partitions.iter().filter(|(id, _)| shared(**id));
            page.timestamps = timestamps
                .map(|(id, state)| (*id, state.timestamp.clone()))
                .collect();
        }
        let mut bytes = 0;
        for (record, state) in self
            .records
            .range::<str, _>((Excluded(page.after.as_str()), Unbounded))
        {
            if !shared(self.placement.partition(record)) {
                continue;
            }
            if bytes >= PAGE_BYTES_TARGET {
                page.next = page
                    .records
                    .last()
                    .map(|last: &JoinRecord| last.record.clone());
                break;
            }
            bytes += state.size_bytes() + record.len();
            page.records.push(state.to_join(record));
        }
        Self::send(to, Message::State(page), out);
    }

    /// The member has lost its data and starts anew.
    fn expect_joining(&mut self, now_ms: u64, member: ReplicaId) {
        if let Some(member) = self.members.get_mut(member) {
            member.joining = true;
        }
        let check_ms = now_ms + self.members.round_trip_ms();
        for (id, partition) in &mut self.partitions {
            if partition.replicas.contains(&member)
                && partition.forget_predecessor(member, check_ms)
            {
                self.stirring.insert(*id);
            }
        }
    }

    pub(super) fn take_state(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        page: StatePage,
        out: &mut Outputs,
    ) {
        let Some(pull) = self.pulls.get_mut(&from) else {
            return;
        };
        if pull.copy != page.copy || pull.after != page.after {
            return;
        }
        if page.after.is_empty() {
            pull.timestamps = page.timestamps;
        }
        pull.due_ms = now_ms;
        let timestamps = match page.next {
            Some(next) => {
                pull.after = next;
                None
            }
            None => self.pulls.remove(&from).map(|pull| pull.timestamps),
        };
        for record in page.records {
            self.take_join_record(now_ms, record, out);
        }
        for (partition, timestamp) in timestamps.unwrap_or_default() {
            self.catch_up(now_ms, partition, timestamp, out);
        }
        self.finish_joining(out);
        self.tick_pulls(now_ms, out);
    }

    fn take_join_record(&mut self, now_ms: u64, join: JoinRecord, out: &mut Outputs) {
        let record = join.record;
        if !self.placement.replicas_of(&record).contains(&self.me) {
            return;
        }
        self.take_state_of(&record, &join.state, out);
        let state = self.records.entry(record.clone()).or_default();
        let (promised, decided) = (state.promised, state.decided);
        let own_ballot = state.accepted.as_ref().map(|accepted| accepted.ballot);
        if join.promised > promised {
            self.change(&record, RecordChange::Promise(join.promised), out);
        }
        if let Some(accepted) = join.accepted
            && accepted.proposal.slot == decided + 1
            && own_ballot < Some(accepted.ballot)
        {
            self.change(&record, RecordChange::Accept(accepted), out);
            self.active.entry(record.clone()).or_default().due_ms =
                now_ms + self.patience_ms(&record);
        }
    }

    /// All that the timestamp covers has been copied.
    fn catch_up(
        &mut self,
        now_ms: u64,
        partition: PartitionId,
        timestamp: Timestamp,
        out: &mut Outputs,
    ) {
        let Some(state) = self.partitions.get_mut(&partition) else {
            return;
        };
        state.timestamp.merge(&timestamp);
        state.dropped.merge(&timestamp);
        out.push(Output::Persist(Change::CaughtUp {
            partition,
            timestamp,
        }));
        self.apply_waiting(now_ms, partition, out);
    }
}
