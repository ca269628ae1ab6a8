//! Fence and collect: how a new attempt at a task takes over from an older one, and finds out what that did.
//!
//! A fence names a path of origins and an attempt. From when it is durable this node takes no update of a lower attempt:
//! not from a client, not from another node, nor from its own queues. What was proposed or accepted here by then is
//! waited for, until it is decided or another proposal has taken its place; the update protocol sees to that, also
//! when the coordinator is dead. Then the node tells what it retains of these origins, in pages.
//!
//! Promised to whoever was answered by a majority of each replica set (or under fail-stop by all that live): the answers
//! hold every update (compare-and-swap) that the older attempts were told the outcome of, and every plain write whose
//! replica has answered, or had spread it. Not promised: a plain write of level one that only a replica knows that did not answer;
//! repeated, it makes another version. Nor an update that such a node had taken up by then: it may still be decided, but only
//! under its id, so that the retry, which asks for the same id, finds its outcome and has its effect once. What it takes
//! later is refused by the votes: each quorum has one who has the fence (ARCHITECTURE.md has the argument). A write that
//! was waiting for its level is told as made. A node that was away asks for fences when it is back (`absence`).
//!
//! What is forgotten is refused from then on, whatever its attempt: a straggler of a run that is over would find
//! neither its fence nor what it did.

use std::collections::{BTreeMap, BTreeSet};

use common::types::{RecordId, ReplicaId, TaskMark, UpdateId, is_below};

use super::copy::What;
use super::fences::{FENCES_BYTES_MAX, Fences, Forgotten, below};
use super::message::{Decision, Update};
use super::planted::Bug;
use super::queue::Queued;
use super::record::{Record, RecordChange};
use super::retained::{
    Did, NODE_BYTES_MAX, NODE_UPDATES_MAX, RECORD_BYTES_MAX, RECORD_UPDATES_MAX, Retained,
};
use super::{Change, Outputs, Refusal, Reply, Storage, Token};

/// Fences that wait for what is under way, at most.
const WAITING_FENCES_MAX: usize = 1_024;
/// For so long; then whoever asks has to ask again.
pub const FENCE_WAIT_MS: u64 = 5_000;
/// A page closes at this size.
const PAGE_BYTES_TARGET: usize = 1 << 20;

/// What a new attempt asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    pub path: String,
    /// Lower ones are refused.
    pub attempt: u32,
    /// The page begins behind this update.
    pub after: Option<(UpdateId, RecordId)>,
}

/// A fence that stands; what older attempts had under way is not over.
#[derive(Debug, Clone, Hash)]
pub struct WaitingFence {
    token: Token,
    fence: Fence,
    until_ms: u64,
}

/// A page of what tasks did, in the order of ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    pub retained: Vec<(RecordId, Retained)>,
    pub has_more: bool,
}

impl Storage {
    pub(super) fn fence(&mut self, now_ms: u64, token: Token, fence: Fence, out: &mut Outputs) {
        if let Err(refusal) = self.raise_fence(&fence, out) {
            return Self::reply_all(token, Err(refusal), out);
        }
        self.purge(|origin| is_below(origin, &fence.path), out);
        // Who joins does not have all yet, but refuses from now on what it would.
        let refusal = if !self.joined {
            Refusal::Joining
        } else if self.waiting_fences.len() >= WAITING_FENCES_MAX {
            self.overloaded("fences that wait at one node", WAITING_FENCES_MAX)
        } else {
            let until_ms = now_ms + FENCE_WAIT_MS;
            // Answered when this batch of inputs has ended, at the earliest.
            return self.waiting_fences.push(WaitingFence {
                token,
                fence,
                until_ms,
            });
        };
        Self::reply_all(token, Err(refusal), out);
    }

    fn raise_fence(&mut self, fence: &Fence, out: &mut Outputs) -> Result<(), Refusal> {
        let Fence { path, attempt, .. } = fence;
        self.writable()?;
        self.not_fenced(path, *attempt)?;
        if self.durable.fences.holds(path, *attempt) {
            return Ok(());
        }
        if !self.durable.fences.has_room() {
            return Err(self.overloaded("bytes of fences at one node", FENCES_BYTES_MAX));
        }
        let (origin, attempt) = (path.clone(), *attempt);
        self.persist(Change::Fenced { origin, attempt }, out);
        Ok(())
    }

    /// Takes what waits of older attempts at these origins out of the queues.
    fn purge(&mut self, is_meant: impl Fn(&str) -> bool, out: &mut Outputs) {
        let refused = |update: &Update| {
            let task = update.task.as_ref()?;
            let refusal = self.not_fenced(&update.id.origin, task.attempt).err()?;
            Some((update.record.clone(), update.id.clone(), refusal))
        };
        let queues = self.active.values().map(|activity| &activity.queue);
        let updates = queues.flatten().map(|waiting| &waiting.update);
        let meant = updates.filter(|update| is_meant(&update.id.origin));
        for (record, id, refusal) in meant.filter_map(refused).collect::<Vec<_>>() {
            self.refuse_queued(&record, &id, &refusal, out);
            self.rest(&record);
        }
    }

    /// Takes an update out of its queue, and tells its clients why.
    pub(super) fn refuse_queued(
        &mut self,
        record: &str,
        id: &UpdateId,
        refusal: &Refusal,
        out: &mut Outputs,
    ) {
        self.forget_queued(record, id);
        for token in self.waiting_updates.take(record, id) {
            Self::reply(token, record, Err(refusal.clone()), out);
        }
    }

    /// Refuses an update of an attempt whose place another one has taken.
    pub(super) fn not_fenced(&self, origin: &str, attempt: u32) -> Result<(), Refusal> {
        match self.durable.fences.fenced_by(origin, attempt) {
            Some(attempt) if !self.planted.is(Bug::FenceIgnored) => {
                let origin = origin.to_owned();
                Err(Refusal::Fenced { origin, attempt })
            }
            _ => Ok(()),
        }
    }

    /// Of tasks whose updates a coordinator is to decide, by their lowest attempts: those that are refused here.
    pub(super) fn fenced_of(&self, tasks: BTreeMap<String, u32>) -> BTreeMap<String, u32> {
        let refused = tasks.into_iter().filter_map(|(origin, attempt)| {
            match self.not_fenced(&origin, attempt) {
                Err(Refusal::Fenced { origin, attempt }) => Some((origin, attempt)),
                _ => None,
            }
        });
        refused.collect()
    }

    /// A voter refuses updates of these tasks that this node, which has missed their fences, has queued. It asks for all
    /// fences of that voter.
    pub(super) fn take_refused(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        record: &str,
        fenced: &BTreeMap<String, u32>,
        out: &mut Outputs,
    ) {
        if fenced.is_empty() {
            return;
        }
        let refused = |queued: &Queued| {
            let id = &queued.update.id;
            let attempt = *fenced.get(&id.origin)?;
            let origin = id.origin.clone();
            let is_older = queued.update.attempt()? < attempt;
            is_older.then(|| (id.clone(), Refusal::Fenced { origin, attempt }))
        };
        let queue = self.active.get(record).map(|activity| &activity.queue);
        let refused: Vec<_> = queue.into_iter().flatten().filter_map(refused).collect();
        for (id, refusal) in refused {
            self.refuse_queued(record, &id, &refusal, out);
            // If it is asked for anew, these votes do not speak of that.
            let activity = self.active.get_mut(record);
            if let Some(coordinator) = activity.and_then(|of| of.coordinator.as_mut()) {
                coordinator.batch.retain(|waiting| *waiting != id);
            }
        }
        if !self.pulls.contains_key(&from) {
            self.start_pull(from, What::Fences);
            self.tick_pulls(now_ms, out);
        }
    }

    /// Whether what the update of a task does can be retained.
    pub(super) fn room_to_retain(
        &self,
        record: &str,
        task: Option<&TaskMark>,
    ) -> Result<(), Refusal> {
        if task.is_none() {
            return Ok(());
        }
        let of_record = self.durable.record(record).map(Record::retained_size);
        let of_record = of_record.unwrap_or_default();
        let of_node = self.durable.retained_size();
        let bounds = [
            (
                "updates that tasks made of one record",
                of_record.updates,
                RECORD_UPDATES_MAX,
            ),
            (
                "bytes of updates that tasks made of one record",
                of_record.bytes,
                RECORD_BYTES_MAX,
            ),
            (
                "updates that tasks made at one node",
                of_node.updates,
                NODE_UPDATES_MAX,
            ),
            (
                "bytes of updates that tasks made at one node",
                of_node.bytes,
                NODE_BYTES_MAX,
            ),
        ];
        let full = bounds.into_iter().find(|(_, size, max)| size >= max);
        full.map_or(Ok(()), |(what, _, max)| Err(self.overloaded(what, max)))
    }

    /// Answers the fences whose older attempts have nothing under way here any more; called when a batch of inputs has
    /// ended.
    pub(super) fn answer_fences(&mut self, out: &mut Outputs) {
        let waiting = std::mem::take(&mut self.waiting_fences);
        for waiting in waiting {
            if self.has_under_way(&waiting.fence.path) {
                self.waiting_fences.push(waiting);
            } else {
                let collected = self.collect(&waiting.fence);
                Self::reply_all(waiting.token, Ok(Reply::Collected(collected)), out);
            }
        }
    }

    pub(super) fn expire_fences(&mut self, now_ms: u64, out: &mut Outputs) {
        self.waiting_fences.retain(|waiting| {
            let waits = now_ms < waiting.until_ms;
            if !waits {
                let refusal = Refusal::UnderWay(waiting.fence.path.clone());
                Self::reply_all(waiting.token, Err(refusal), out);
            }
            waits
        });
    }

    /// True when something of these tasks is proposed or accepted here, and its outcome is not known.
    fn has_under_way(&self, path: &str) -> bool {
        let is_of_task = |of: &Decision| of.note.is_some() && is_below(&of.id.origin, path);
        self.durable.undecided().iter().any(|record| {
            let accepted = self.durable.updates(record).accepted.as_ref();
            accepted.is_some_and(|of| of.proposal.decisions.iter().any(is_of_task))
        })
    }

    fn collect(&self, fence: &Fence) -> Collected {
        let mut collected = Collected::default();
        let mut bytes = 0;
        let after = fence.after.as_ref();
        for (origin, records) in below(self.durable.retaining(), &fence.path) {
            if after.is_some_and(|(last, _)| origin < last.origin.as_str()) {
                continue;
            }
            for (id, record) in self.updates_of(origin, records, after) {
                if bytes >= PAGE_BYTES_TARGET {
                    collected.has_more = true;
                    return collected;
                }
                if let Some(retained) = self.with_value(record, id) {
                    bytes += retained.bytes();
                    collected.retained.push((record.clone(), retained));
                }
            }
        }
        collected
    }

    /// Names of updates of one origin, in their order.
    fn updates_of<'a>(
        &'a self,
        origin: &'a str,
        records: &'a BTreeSet<RecordId>,
        after: Option<&(UpdateId, RecordId)>,
    ) -> Vec<(&'a UpdateId, &'a RecordId)> {
        let of_record = |record: &'a RecordId| {
            let known = self.durable.record(record);
            let retained = known.into_iter().flat_map(move |of| of.retained_of(origin));
            retained.map(move |retained| (&retained.id, record))
        };
        let is_next = |(id, record): &(&UpdateId, &RecordId)| {
            after.is_none_or(|(last, of)| (*id, *record) > (last, of))
        };
        let mut updates: Vec<_> = records.iter().flat_map(of_record).filter(is_next).collect();
        updates.sort_unstable();
        updates
    }

    /// What is retained, with the value found if that is one of the record's versions.
    fn with_value(&self, record: &str, id: &UpdateId) -> Option<Retained> {
        let record = self.durable.record(record)?;
        let mut retained = record.retained(id)?.clone();
        if let (Did::Update { is_cut, .. }, Some(Ok(outcome))) =
            (&retained.did, record.executed(id))
            && *is_cut
        {
            let is_cut = false;
            retained.did = Did::Update { outcome, is_cut };
        }
        Some(retained)
    }

    pub(super) fn forget(&mut self, token: Token, range: Forgotten, out: &mut Outputs) {
        if let Err(refusal) = self.writable() {
            return Self::reply_all(token, Err(refusal), out);
        }
        self.forget_range(range, out);
        Self::reply_all(token, Ok(Reply::Forgotten), out);
    }

    fn forget_range(&mut self, range: Forgotten, out: &mut Outputs) {
        let mut origins: BTreeMap<RecordId, Vec<String>> = BTreeMap::new();
        let from_there = self.durable.retaining().range(range.from.clone()..);
        let until = from_there.take_while(|(origin, _)| **origin < range.until);
        for (origin, records) in until.filter(|(origin, _)| range.has(origin)) {
            for record in records {
                let of_record = origins.entry(record.clone()).or_default();
                of_record.push(origin.clone());
            }
        }
        for (record, origins) in origins {
            self.change(&record, RecordChange::Forget(origins), out);
        }
        if !self.durable.fences.knows(&range) {
            self.persist(Change::Forgotten(range), out);
        }
    }

    /// Takes over what another node refuses.
    pub(super) fn take_fences(&mut self, fences: &Fences, out: &mut Outputs) {
        for (origin, attempt) in fences.fences() {
            if !self.durable.fences.holds(origin, *attempt) {
                let (origin, attempt) = (origin.clone(), *attempt);
                self.persist(Change::Fenced { origin, attempt }, out);
            }
        }
        for range in fences.forgotten() {
            if !self.durable.fences.covers(range) {
                self.forget_range(range.clone(), out);
            }
        }
        self.purge(|_| true, out);
    }
}
