//! Updates that wait for a record: queued here, forwarded to the coordinator, or taken up when it falls silent.

use std::collections::{BTreeMap, VecDeque};

use common::types::{RecordId, ReplicaId, UpdateId, Version};

use super::client::WAITING_MS_MAX;
use super::coordinator::{BATCH_MAX, Coordinator, FENCED_MS};
use super::message::{Ballot, Digest, Message, Outcome, Update};
use super::planted::Bug;
use super::{Outputs, Refusal, Reply, Storage, Token};

/// Updates that wait for one record, and at one node for all of its records, at most; unless it is told otherwise.
pub const QUEUE_MAX: usize = 1_024;
pub const NODE_QUEUE_MAX: usize = 16_384;

/// How many updates may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueBounds {
    /// For one record.
    pub record: usize,
    /// For all records of a node; and so many of its clients.
    pub node: usize,
}

impl QueueBounds {
    /// What either can be set to.
    pub const MAX: usize = 1_000_000;
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self {
            record: QUEUE_MAX,
            node: NODE_QUEUE_MAX,
        }
    }
}

/// What goes on for a record: its queue, and the term that this node coordinates.
#[derive(Debug, Clone, Default, Hash)]
pub struct Activity {
    pub(super) queue: VecDeque<Queued>,
    pub(super) coordinator: Option<Coordinator>,
    /// When the node looks after this record again: resends, forwards or terminates. What a coordinator says puts it off.
    pub(super) due_ms: u64,
    /// When the queue is forwarded again, whatever the coordinator says: it may not have heard of it.
    pub(super) forward_ms: u64,
}

#[derive(Debug, Clone, Hash)]
pub(super) struct Queued {
    pub(super) update: Update,
    /// Who forwarded it; absent: a client of this node.
    pub(super) from: Option<ReplicaId>,
    until_ms: u64,
}

impl Activity {
    /// Whose updates a term may take: of each origin, the lowest attempt.
    pub(super) fn tasks(&self) -> BTreeMap<String, u32> {
        let mut tasks = BTreeMap::new();
        for Queued { update, .. } in self.queue.iter().take(BATCH_MAX) {
            if let Some(attempt) = update.attempt() {
                let lowest = tasks.entry(update.id.origin.clone()).or_insert(attempt);
                *lowest = attempt.min(*lowest);
            }
        }
        tasks
    }

    pub(super) fn is_idle(&self) -> bool {
        self.coordinator.is_none()
    }

    fn is_due(&self, now_ms: u64) -> bool {
        let forwards = self.is_idle() && !self.queue.is_empty() && self.forward_ms <= now_ms;
        self.due_ms <= now_ms || forwards
    }

    /// Gives up the term if its slot was decided by someone else; what is queued here waits for the next look.
    pub(super) fn close(&mut self, decided: u64) {
        if self
            .coordinator
            .as_ref()
            .is_some_and(|coordinator| coordinator.is_closed(decided))
        {
            self.coordinator = None;
        }
    }

    /// Gives up the term if a higher ballot is promised; looks again at the given time.
    pub(super) fn fence(&mut self, promised: Ballot, due_ms: u64) {
        if self
            .coordinator
            .as_ref()
            .is_some_and(|coordinator| coordinator.ballot() < promised)
        {
            self.coordinator = None;
            (self.due_ms, self.forward_ms) = (due_ms, due_ms);
        }
    }
}

impl Storage {
    pub(super) fn update_if(
        &mut self,
        now_ms: u64,
        token: Token,
        update: Update,
        out: &mut Outputs,
    ) {
        let admitted = self.admit_update(now_ms, &update, out);
        let reply = match admitted {
            Ok(()) => self.answer_at_once(now_ms, &update),
            Err(refusal) => Some(Err(refusal)),
        };
        if let Some(reply) = reply {
            return Self::reply(token, &update.record, reply, out);
        }
        let (id, record) = (update.id.clone(), update.record.clone());
        let room = if self.waiting_updates.count() < self.bounds.node {
            self.enqueue(now_ms, update, None)
        } else {
            let what = "clients that wait for updates at one node";
            Err(self.overloaded(what, self.bounds.node))
        };
        if let Err(refusal) = room {
            return Self::reply(token, &record, Err(refusal), out);
        }
        self.waiting_updates.add(&record, id.clone(), token);
        self.attend(now_ms, &record, Some(&id), out);
    }

    /// Refuses what has no room. By the time named some of what is under way has ended.
    pub(super) fn overloaded(&self, what: &'static str, max: usize) -> Refusal {
        Refusal::Overloaded {
            what,
            max,
            retry_after_ms: self.members.round_trip_ms() / 2,
        }
    }

    /// What is known without asking the others: a repeat's outcome, or that the update cannot be decided here.
    fn answer_at_once(&self, now_ms: u64, update: &Update) -> Option<Result<Reply, Refusal>> {
        if let Some(outcome) = self.executed(update) {
            let record = update.record.clone();
            let cut = |version| Refusal::Discarded { record, version };
            return Some(outcome.map(Reply::Update).map_err(cut));
        }
        let room = self.room_to_retain(&update.record, update.task.as_ref());
        if let Err(refusal) = self.writable().and(room) {
            return Some(Err(refusal));
        }
        let replicas = self.durable.placement.replicas_of(&update.record);
        let can_decide = self.members.quorum_in_sight(now_ms, replicas);
        (!can_decide).then(|| Err(Refusal::NoQuorum(update.record.clone())))
    }

    /// Refuses what is asked of the wrong node, and by an attempt whose place another one may have taken.
    fn admit_update(
        &mut self,
        now_ms: u64,
        update: &Update,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        self.serves(&update.record)?;
        let (origin, task) = (&update.id.origin, update.task.as_ref());
        self.admit(now_ms, &update.record, origin, task, out)
    }

    /// The outcome of a repeat. Error: the version that it found, which is kept no longer.
    fn executed(&self, update: &Update) -> Option<Result<Outcome, Version>> {
        let record = self.durable.record(&update.record)?;
        record
            .executed(&update.id)
            .filter(|_| !self.planted.is(Bug::NoDeduplication))
    }

    /// A replica forwards an update to this one, which it takes for the coordinator.
    pub(super) fn take_submit(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        update: Update,
        decided: u64,
        out: &mut Outputs,
    ) {
        // Its clients are told by the nodes that they ask.
        if self.admit_update(now_ms, &update, out).is_err() {
            return;
        }
        let record = update.record.clone();
        if self.executed(&update).is_some() {
            return self.send_decided(
                from,
                &record,
                &Digest {
                    decided,
                    ..Digest::default()
                },
                out,
            );
        }
        // A full queue drops it: the forwarding replica asks again.
        if self.enqueue(now_ms, update, Some(from)).is_ok() && self.idle(&record) {
            self.start_term(now_ms, &record, out);
        }
    }

    fn enqueue(
        &mut self,
        now_ms: u64,
        update: Update,
        from: Option<ReplicaId>,
    ) -> Result<(), Refusal> {
        let queue = self.active.get_mut(&update.record);
        let mut queue = queue.map(|of| &mut of.queue);
        let mut queued = queue.iter_mut().flat_map(|queue| queue.iter_mut());
        if let Some(queued) = queued.find(|queued| queued.update.id == update.id) {
            // A fence against the older attempt shall not take the newer one's with it.
            if queued.update.attempt() < update.attempt() {
                queued.update = update;
            }
            return Ok(());
        }
        let QueueBounds { record, node } = self.bounds;
        if queue.is_some_and(|queue| queue.len() >= record) {
            return Err(self.overloaded("updates of one record", record));
        }
        if self.queued_updates >= node {
            return Err(self.overloaded("updates at one node", node));
        }
        let activity = self.active.entry(update.record.clone()).or_default();
        activity.queue.push_back(Queued {
            update,
            from,
            until_ms: now_ms + WAITING_MS_MAX,
        });
        self.queued_updates += 1;
        Ok(())
    }

    /// Takes an update out of its queue: its outcome is known.
    pub(super) fn forget_queued(&mut self, record: &str, id: &UpdateId) {
        if let Some(activity) = self.active.get_mut(record) {
            let before = activity.queue.len();
            activity.queue.retain(|queued| queued.update.id != *id);
            self.queued_updates -= before - activity.queue.len();
        }
    }

    fn idle(&self, record: &str) -> bool {
        self.active.get(record).is_some_and(Activity::is_idle)
    }

    /// Something waits for this record: coordinate it, or forward it to whoever should. `new`: what has just come, the
    /// rest of the queue was forwarded before.
    fn attend(&mut self, now_ms: u64, record: &str, new: Option<&UpdateId>, out: &mut Outputs) {
        if !self.idle(record) {
            return;
        }
        match self
            .members
            .coordinator(now_ms, self.durable.placement.replicas_of(record))
        {
            Some(other) if other != self.me => self.forward(now_ms, record, new, other, out),
            _ => self.start_term(now_ms, record, out),
        }
    }

    fn forward(
        &mut self,
        now_ms: u64,
        record: &str,
        new: Option<&UpdateId>,
        to: ReplicaId,
        out: &mut Outputs,
    ) {
        let due_ms = now_ms + self.patience_ms(record);
        let decided = self.updates(record).decided;
        let Some(activity) = self.active.get_mut(record) else {
            return;
        };
        if new.is_none() || activity.queue.len() == 1 {
            (activity.due_ms, activity.forward_ms) = (due_ms, due_ms);
        }
        let is_wanted = |queued: &&Queued| new.is_none_or(|id| queued.update.id == *id);
        for queued in activity.queue.iter().filter(is_wanted) {
            Self::send(
                to,
                Message::Submit {
                    update: queued.update.clone(),
                    decided,
                },
                out,
            );
        }
    }

    /// After a term: what came meanwhile is the next one's; a record at rest is forgotten.
    pub(super) fn settle(&mut self, now_ms: u64, record: &str, out: &mut Outputs) {
        let Some(activity) = self.active.get(record) else {
            return;
        };
        if !activity.is_idle() {
            return;
        }
        if activity.queue.is_empty() {
            self.rest(record);
        } else {
            self.attend(now_ms, record, None, out);
        }
    }

    /// Forgets a record for which nothing goes on.
    pub(super) fn rest(&mut self, record: &str) {
        let is_orphan = self.durable.undecided().contains(record);
        if !is_orphan
            && self
                .active
                .get(record)
                .is_some_and(|activity| activity.is_idle() && activity.queue.is_empty())
        {
            self.active.remove(record);
        }
    }

    /// A member has died or joined: look soon at what waits for a coordinator or for a vote.
    pub(super) fn hasten(&mut self, now_ms: u64) {
        let active: Vec<RecordId> = self.active.keys().cloned().collect();
        for record in active {
            let due_ms = now_ms + FENCED_MS * self.place_in(&record);
            if let Some(activity) = self.active.get_mut(&record) {
                activity.due_ms = activity.due_ms.min(due_ms);
            }
        }
    }

    /// A member has fallen silent: what was forwarded to it goes to whoever coordinates now, who takes up what it left.
    /// Nobody else does: that would fence coordinators who live. Where no quorum is left in sight, clients are not kept
    /// waiting: whether their updates were decided is not known here.
    pub(super) fn succeed(&mut self, now_ms: u64) {
        for (record, activity) in &mut self.active {
            let replicas = self.durable.placement.replicas_of(record);
            activity.forward_ms = activity.forward_ms.min(now_ms);
            if self.members.coordinator(now_ms, replicas) == Some(self.me) {
                activity.due_ms = activity.due_ms.min(now_ms);
            }
            if !self.members.quorum_in_sight(now_ms, replicas) {
                let expire = |queued: &mut Queued| queued.until_ms = now_ms;
                activity.queue.iter_mut().for_each(expire);
            }
        }
    }

    /// Looks after the records whose time has come.
    pub(super) fn tick_updates(&mut self, now_ms: u64, out: &mut Outputs) {
        if !self.joined {
            return;
        }
        self.expire_updates(now_ms, out);
        let queued = self.active.values().map(|activity| activity.queue.len());
        debug_assert_eq!(self.queued_updates, queued.sum::<usize>());
        let due: Vec<RecordId> = self
            .active
            .iter()
            .filter(|(_, activity)| activity.is_due(now_ms))
            .map(|(record, _)| record.clone())
            .collect();
        for record in due {
            let is_quiet = self
                .active
                .get(&record)
                .is_some_and(|activity| activity.due_ms <= now_ms);
            let is_orphan = is_quiet && self.durable.undecided().contains(&record);
            if !self.idle(&record) {
                self.resend(now_ms, &record, out);
            } else if is_orphan {
                self.start_term(now_ms, &record, out);
            } else {
                self.settle(now_ms, &record, out);
            }
        }
    }

    fn expire_updates(&mut self, now_ms: u64, out: &mut Outputs) {
        for (record, activity) in &mut self.active {
            // Queued in the order of their deadlines.
            while activity
                .queue
                .front()
                .is_some_and(|queued| queued.until_ms <= now_ms)
            {
                let Some(expired) = activity.queue.pop_front() else {
                    break;
                };
                self.queued_updates -= 1;
                for token in self.waiting_updates.take(record, &expired.update.id) {
                    Self::reply(token, record, Err(Refusal::Unknown), out);
                }
            }
        }
    }

    /// How long a quiet coordinator is waited for: those later in the replica set wait longer, so that one acts.
    pub(super) fn patience_ms(&self, record: &str) -> u64 {
        3 * self.members.round_trip_ms() * self.place_in(record)
    }

    /// This node's place in the record's replica set, from 1.
    pub(super) fn place_in(&self, record: &str) -> u64 {
        let place = self
            .durable
            .placement
            .replicas_of(record)
            .iter()
            .position(|replica| *replica == self.me);
        place.map_or(1, |place| place as u64 + 1)
    }
}
