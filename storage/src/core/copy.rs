//! Copies of state, a page at a time: of everything for a node that joins without data, of what is undecided for one that
//! comes back, of what differs for one that is far behind or has missed something, and of fences for one that was away.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use common::types::{PartitionId, RecordId, ReplicaId};

use super::durable::bucket_of;
use super::fences::Fences;
use super::join::Answer;
use super::link::Partition;
use super::message::{JoinRecord, Message, PartitionDigest, Scope, StatePage, StateRequest};
use super::record::RecordChange;
use super::timestamp::Timestamp;
use super::{Change, Outputs, Storage};

/// A page closes at this size.
const PAGE_BYTES_TARGET: usize = 1 << 20;
/// A page closes when so many records were looked at: the node has other work.
const PAGE_LOOKS_MAX: usize = 10_000;
/// Replicas whose hashes differ for so long, though both are at rest, compare their partitions.
const DIFFERENCE_MS_MAX: u64 = 5_000;

/// A copy of a member's state under way.
#[derive(Debug, Clone, Hash)]
pub struct Pull {
    copy: u64,
    what: What,
    after: RecordId,
    /// From the first page: later pages may hold more, but not less.
    timestamps: Vec<(PartitionId, Timestamp)>,
    due_ms: u64,
    /// Partitions to copy next.
    next: BTreeSet<PartitionId>,
}

#[derive(Debug, Clone, Hash)]
pub(super) enum What {
    All,
    Undecided,
    /// Nothing but what the member refuses of tasks.
    Fences,
    /// What differs in any of these, which are all that are shared.
    Differences(BTreeSet<PartitionId>),
    Partitions(BTreeSet<PartitionId>),
}

impl Pull {
    fn new(copy: u64, what: What) -> Self {
        Self {
            copy,
            what,
            after: RecordId::default(),
            timestamps: Vec::new(),
            due_ms: 0,
            next: BTreeSet::new(),
        }
    }
}

impl Storage {
    /// Copies one partition from a member, after what is being copied from it already.
    pub(super) fn pull(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        partition: PartitionId,
        out: &mut Outputs,
    ) {
        if let Some(pull) = self.pulls.get_mut(&from) {
            let is_under_way = match &pull.what {
                What::All => true,
                What::Undecided | What::Fences => false,
                What::Differences(ids) | What::Partitions(ids) => ids.contains(&partition),
            };
            if !is_under_way {
                pull.next.insert(partition);
            }
            return;
        }
        self.start_pull(from, What::Partitions([partition].into()));
        self.tick_pulls(now_ms, out);
    }

    /// A copy of its own name: what comes of an earlier one is ignored.
    pub(super) fn start_pull(&mut self, from: ReplicaId, what: What) {
        self.copies = self.copies.wrapping_add(1);
        self.pulls.insert(from, Pull::new(self.copies, what));
    }

    /// Asks for the next pages, and again for those that did not come.
    pub(super) fn tick_pulls(&mut self, now_ms: u64, out: &mut Outputs) {
        let again_ms = now_ms + 2 * self.members.round_trip_ms();
        let hashes = |id: &PartitionId| (*id, self.durable.bucket_hashes(*id));
        for (member, pull) in &mut self.pulls {
            if pull.due_ms > now_ms {
                continue;
            }
            pull.due_ms = again_ms;
            let scope = match &pull.what {
                What::All => Scope::All,
                What::Undecided => Scope::Undecided,
                What::Fences => Scope::Fences,
                What::Differences(ids) | What::Partitions(ids) => {
                    Scope::Differing(ids.iter().map(hashes).collect())
                }
            };
            let request = StateRequest {
                copy: pull.copy,
                scope,
                after: pull.after.clone(),
            };
            Self::send(*member, Message::StateRequest(request), out);
        }
    }

    pub(super) fn send_state(
        &mut self,
        now_ms: u64,
        to: ReplicaId,
        request: StateRequest,
        out: &mut Outputs,
    ) {
        let joins = matches!(request.scope, Scope::All | Scope::Undecided);
        if joins && request.after.is_empty() {
            self.expect_joining(now_ms, to);
        }
        let mut page = StatePage {
            copy: request.copy,
            after: request.after,
            records: Vec::new(),
            timestamps: Vec::new(),
            is_member: self.joined,
            dead: self.durable.dead.iter().copied().collect(),
            lives: self.members.lives(),
            next: None,
            fences: Fences::default(),
        };
        let wanted = Wants::new(self, to, request.scope);
        if page.after.is_empty() {
            page.fences = self.durable.fences.clone();
            let wanted = self
                .durable
                .spreads()
                .iter()
                .filter(|(id, _)| wanted.partition(**id));
            page.timestamps = wanted
                .map(|(id, spread)| (*id, spread.timestamp.clone()))
                .collect();
        }
        if !wanted.partitions.is_empty() {
            self.fill(&mut page, &wanted);
        }
        Self::send(to, Message::State(page), out);
    }

    fn fill(&self, page: &mut StatePage, wanted: &Wants) {
        let range = (Excluded(page.after.as_str()), Unbounded);
        let (mut looks, mut bytes) = (0, 0);
        let ids: Box<dyn Iterator<Item = &RecordId>> = if wanted.only_undecided {
            Box::new(self.durable.undecided().range::<str, _>(range))
        } else {
            Box::new(self.durable.records().range::<str, _>(range).map(|of| of.0))
        };
        let mut last: Option<&RecordId> = None;
        for id in ids {
            if bytes >= PAGE_BYTES_TARGET || looks >= PAGE_LOOKS_MAX {
                page.next = last.cloned();
                return;
            }
            looks += 1;
            last = Some(id);
            if wanted.record(self.durable.placement.partition(id), id)
                && let Some(record) = self.durable.record(id)
            {
                bytes += record.size_bytes() + id.len();
                page.records.push(record.to_join(id));
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
        if page.after.is_empty() {
            self.take_fences(&page.fences, out);
            self.note_fences(from, page.copy, page.is_member);
        }
        let answer = Answer {
            is_member: page.is_member,
            dead: page.dead.into_iter().collect(),
            expected: Vec::new(),
            is_compared: true,
        };
        // A certificate of an earlier life may have come after a later one has joined.
        for (replica, incarnation) in page.lives {
            if self.members.learn(replica, incarnation) {
                self.reborn(now_ms, replica, out);
            }
        }
        for record in page.records {
            self.take_join_record(now_ms, record, out);
        }
        match (page.next, self.pulls.get_mut(&from)) {
            (Some(next), Some(pull)) => pull.after = next,
            _ => self.end_pull(now_ms, from, answer, out),
        }
        self.finish_joining(out);
        self.tick_pulls(now_ms, out);
    }

    fn end_pull(&mut self, now_ms: u64, from: ReplicaId, mut answer: Answer, out: &mut Outputs) {
        let Some(pull) = self.pulls.remove(&from) else {
            return;
        };
        let joins = !matches!(pull.what, What::Partitions(_) | What::Fences);
        if matches!(pull.what, What::Undecided) {
            answer.expected = pull.timestamps;
            answer.is_compared = false;
        } else {
            for (partition, timestamp) in pull.timestamps {
                self.catch_up(now_ms, partition, timestamp, out);
            }
        }
        if joins {
            self.answers.insert(from, answer);
        }
        if !pull.next.is_empty() {
            self.start_pull(from, What::Partitions(pull.next));
        }
    }

    fn take_join_record(&mut self, now_ms: u64, join: JoinRecord, out: &mut Outputs) {
        let record = join.record;
        if !self
            .durable
            .placement
            .replicas_of(&record)
            .contains(&self.me)
        {
            return;
        }
        self.take_state_of(&record, join.state, out);
        let updates = self.updates(&record);
        let (promised, decided) = (updates.promised, updates.decided);
        let own_ballot = updates.accepted.as_ref().map(|accepted| accepted.ballot);
        if join.promised > promised {
            self.change(&record, RecordChange::Promise(join.promised), out);
        }
        if let Some(accepted) = join.accepted
            && accepted.proposal.slot == decided + 1
            && own_ballot < Some(accepted.ballot)
        {
            self.change(&record, RecordChange::Accept(accepted), out);
            let due_ms = now_ms + self.patience_ms(&record);
            self.active.entry(record).or_default().due_ms = due_ms;
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
        let Some(spread) = self.durable.spread(partition) else {
            return;
        };
        if !spread.timestamp.covers(&timestamp) {
            let change = Change::CaughtUp {
                partition,
                timestamp,
            };
            self.persist(change, out);
        }
        self.apply_waiting(now_ms, partition, out);
    }

    pub(super) fn shared_with(&self, member: ReplicaId) -> impl Iterator<Item = PartitionId> {
        let holds = move |(_, partition): &(_, &Partition)| partition.replicas.contains(&member);
        self.partitions.iter().filter(holds).map(|(id, _)| *id)
    }

    /// What this node holds of the partitions that it shares with a member.
    pub(super) fn shared_hash(&self, member: ReplicaId) -> u64 {
        self.shared_with(member)
            .fold(0, |hash, id| hash ^ self.durable.hash(id))
    }

    /// A member holds something else than this node. When that lasts, they compare their partitions.
    pub(super) fn compare(&mut self, now_ms: u64, member: ReplicaId, hash: u64, out: &mut Outputs) {
        if hash == self.shared_hash(member) || !self.joined {
            self.differing_since_ms.remove(&member);
            return;
        }
        let since_ms = *self.differing_since_ms.entry(member).or_insert(now_ms);
        if now_ms < since_ms + DIFFERENCE_MS_MAX {
            return;
        }
        self.differing_since_ms.insert(member, now_ms);
        let digest = |partition| {
            Some(PartitionDigest {
                partition,
                timestamp: self.durable.spread(partition)?.timestamp.clone(),
                hash: self.durable.hash(partition),
            })
        };
        let digests = self.shared_with(member).filter_map(digest).collect();
        Self::send(member, Message::Digests(digests), out);
    }

    /// Copies the partitions that differ although the same gossip was applied: something went past it.
    pub(super) fn take_digests(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        digests: Vec<PartitionDigest>,
        out: &mut Outputs,
    ) {
        for digest in digests {
            let is_level = self
                .durable
                .spread(digest.partition)
                .is_some_and(|spread| spread.timestamp == digest.timestamp);
            if is_level && self.durable.hash(digest.partition) != digest.hash {
                self.pull(now_ms, from, digest.partition, out);
            }
        }
    }
}

/// Which records another replica wants.
struct Wants {
    only_undecided: bool,
    /// By partition, the buckets that differ; absent: all of them.
    partitions: BTreeMap<PartitionId, Option<Vec<bool>>>,
}

impl Wants {
    fn new(storage: &Storage, to: ReplicaId, scope: Scope) -> Self {
        let shared: BTreeSet<PartitionId> = storage.shared_with(to).collect();
        let differing = |id: PartitionId, theirs: Vec<u64>| {
            let own = storage.durable.bucket_hashes(id);
            let differ = own.iter().zip(theirs).map(|(own, theirs)| *own != theirs);
            (id, Some(differ.collect()))
        };
        Self {
            only_undecided: scope == Scope::Undecided,
            partitions: match scope {
                Scope::All | Scope::Undecided => shared.into_iter().map(|id| (id, None)).collect(),
                Scope::Fences => BTreeMap::new(),
                Scope::Differing(partitions) => partitions
                    .into_iter()
                    .filter(|(id, _)| shared.contains(id))
                    .map(|(id, theirs)| differing(id, theirs))
                    .collect(),
            },
        }
    }

    fn partition(&self, id: PartitionId) -> bool {
        self.partitions.contains_key(&id)
    }

    fn record(&self, partition: PartitionId, id: &str) -> bool {
        match self.partitions.get(&partition) {
            None => false,
            Some(None) => true,
            Some(Some(buckets)) => buckets.get(bucket_of(id)).copied().unwrap_or(true),
        }
    }
}
