//! A node that was away does not know of the fences that were raised meanwhile: before it takes another update of a task
//! it asks those for theirs that it hears again.
//!
//! Away is who was not running, and who has not heard some of the others. Whoever set a fence has had a majority of each
//! replica set take it: so who has the fences of a majority, its own among them, has that one; when all begin again together,
//! who has those of all. Asked is only when a task's update comes:
//! it is refused until then, to be tried again.
//!
//! Not promised: a node that hears nobody cannot be told, and takes plain writes of tasks as it takes all others, until it
//! hears somebody again. Nor that a fence is known here which this node was not told of although it heard the others all the time:
//! then votes tell of it (`fence`), and until one does plain writes are taken.

use std::collections::{BTreeMap, BTreeSet};

use common::types::{ReplicaId, TaskMark};

use super::copy::What;
use super::members::SUSPECT_MS;
use super::{Outputs, Refusal, Storage};

/// Whom this node has not heard all the time.
#[derive(Debug, Clone, Default, Hash)]
pub struct Absence {
    /// Whose fences may have risen since they were told, and the latest copy that had been asked for when that was noticed: only
    /// later ones tell them.
    unheard: BTreeMap<ReplicaId, u64>,
    /// Those of them that have told theirs, but were away as well: only all together know all.
    half_told: BTreeSet<ReplicaId>,
    /// Ticks come all the time while a node runs.
    ticked_ms: u64,
    /// Since then it runs.
    back_ms: u64,
}

impl Absence {
    /// Of a node that has missed nothing.
    pub(super) fn running(now_ms: u64) -> Self {
        Self {
            ticked_ms: now_ms,
            ..Self::default()
        }
    }
}

impl Storage {
    /// With each input, before anything follows from it: this node may have stood still.
    pub(super) fn note_pause(&mut self, now_ms: u64) {
        if now_ms > self.absence.ticked_ms + SUSPECT_MS {
            self.note_return(now_ms);
        }
    }

    /// This node runs again, and has heard nobody meanwhile.
    pub(super) fn note_return(&mut self, now_ms: u64) {
        let others = self.members.iter().map(|(member, _)| (member, self.copies));
        self.absence = Absence {
            unheard: others.collect(),
            half_told: BTreeSet::new(),
            ticked_ms: now_ms,
            back_ms: now_ms,
        };
    }

    pub(super) fn note_tick(&mut self, now_ms: u64) {
        self.absence.ticked_ms = now_ms;
    }

    /// A member speaks, perhaps after a silence.
    pub(super) fn note_silence(&mut self, now_ms: u64, member: ReplicaId) {
        if !self.members.in_sight(now_ms, member) {
            self.absence.unheard.insert(member, self.copies);
            self.absence.half_told.remove(&member);
        }
    }

    /// Another node, which may have been away itself, has told its fences in the answer to this copy.
    pub(super) fn note_fences(&mut self, other: ReplicaId, copy: u64, is_member: bool) {
        let absence = &mut self.absence;
        if absence
            .unheard
            .get(&other)
            .is_none_or(|noted| copy <= *noted)
        {
            return;
        }
        if is_member {
            absence.unheard.remove(&other);
        } else {
            absence.half_told.insert(other);
        }
        let mut unheard = absence.unheard.keys();
        if unheard.all(|other| absence.half_told.contains(other)) {
            absence.unheard.clear();
            absence.half_told.clear();
        }
    }

    /// Refuses an update of an older attempt than the newest, and any of a task as long as the newest may not be known.
    pub(super) fn admit(
        &mut self,
        now_ms: u64,
        record: &str,
        origin: &str,
        task: Option<&TaskMark>,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let Some(task) = task else {
            return Ok(());
        };
        self.not_fenced(origin, task.attempt)?;
        let untold = self.untold(now_ms, record);
        if untold.is_empty() {
            return Ok(());
        }
        for member in untold {
            if !self.pulls.contains_key(&member) {
                self.start_pull(member, What::Fences);
            }
        }
        self.tick_pulls(now_ms, out);
        Err(Refusal::Away)
    }

    /// Whose fences have to be had first: none when a majority's are, or when nobody is there.
    fn untold(&self, now_ms: u64, record: &str) -> Vec<ReplicaId> {
        let Absence {
            unheard, back_ms, ..
        } = &self.absence;
        if unheard.is_empty() {
            return Vec::new();
        }
        let replicas = self.durable.placement.replicas_of(record);
        let is_back = now_ms < back_ms + SUSPECT_MS;
        let is_there = |member: &ReplicaId| {
            *member != self.me
                && (self.members.in_sight(now_ms, *member)
                    || is_back && !self.members.is_certified_dead(*member))
        };
        let there = replicas.iter().copied().filter(|of| is_there(of));
        let (untold, told): (Vec<_>, Vec<_>) = there.partition(|of| unheard.contains_key(of));
        if told.len() + 1 > replicas.len() / 2 {
            Vec::new()
        } else {
            untold
        }
    }
}
