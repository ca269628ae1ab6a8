//! Who is active, how much each has to do, and the choice among them.

use std::collections::{BTreeMap, BTreeSet};

use common::types::{ComponentHash, WorkerAddress};

use super::SILENCE_MS_MAX;
use super::event::{Heartbeat, StageSpec, TooManyWorkers};

/// Active workers.
pub const WORKERS_MAX: usize = 1_024;
/// Lost workers that are remembered, to be shown as dead.
const LOST_WORKERS_MAX: usize = 64;
/// Two heartbeats missed: shown as suspected.
const SUSPECTED_MS: u64 = 2_500;

/// An active worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    pub at: WorkerAddress,
    pub incarnation: u64,
    /// Sorted.
    pub classes: Vec<String>,
    pub slots: u32,
    pub heard_ms: u64,
    /// Tasks assigned to it which are not done; those whose turn has not come count too.
    pub outstanding: u32,
    /// When its last outstanding task ended.
    pub idle_since_ms: u64,
    /// Until then it gets no tasks of `map` and `reduce`.
    shunned_until_ms: u64,
    /// Deployed components that it was told to prepare, and has not failed to.
    prepared: BTreeSet<ComponentHash>,
}

impl Worker {
    /// Deployed components are fetched by whoever needs them.
    fn can_run(&self, stage: &StageSpec) -> bool {
        stage.component.is_some() || self.classes.binary_search(&stage.class).is_ok()
    }
}

/// A worker as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    pub name: String,
    /// present, suspected, dead.
    pub state: &'static str,
    pub silent_ms: u64,
}

/// What a heartbeat has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    New,
    /// Its classes, or where it is.
    Changed,
    Unchanged,
}

#[derive(Default)]
pub struct Workers {
    active: BTreeMap<String, Worker>,
    /// With the time when each was heard last.
    lost: BTreeMap<String, u64>,
}

impl Workers {
    pub fn active(&self) -> impl Iterator<Item = &Worker> {
        self.active.values()
    }

    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// The active worker with this name.
    pub fn named(&self, name: &str) -> Option<&Worker> {
        self.active.get(name)
    }

    pub fn address(&self, name: &str) -> Option<WorkerAddress> {
        self.active.get(name).map(|worker| worker.at.clone())
    }

    /// Every class that some active worker has, sorted.
    pub fn classes(&self) -> Vec<String> {
        let mut classes: Vec<String> = self
            .active
            .values()
            .flat_map(|worker| worker.classes.clone())
            .collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    pub fn can_run(&self, stage: &StageSpec) -> bool {
        self.active.values().any(|worker| worker.can_run(stage))
    }

    /// Whether a worker other than `name` can run the stage.
    pub fn can_run_besides(&self, stage: &StageSpec, name: &str) -> bool {
        self.active
            .values()
            .any(|worker| worker.at.name != name && worker.can_run(stage))
    }

    /// Notes that a worker shall have a component; false when it was told before.
    pub fn shall_prepare(&mut self, name: &str, component: ComponentHash) -> bool {
        let worker = self.active.get_mut(name);
        worker.is_some_and(|worker| worker.prepared.insert(component))
    }

    /// The worker has not got the component after all.
    pub fn is_unprepared(&mut self, name: &str, component: ComponentHash) {
        if let Some(worker) = self.active.get_mut(name) {
            worker.prepared.remove(&component);
        }
    }

    /// Only these are still of use.
    pub fn forget_prepared(&mut self, but: &BTreeSet<ComponentHash>) {
        for worker in self.active.values_mut() {
            worker.prepared.retain(|component| but.contains(component));
        }
    }

    /// Whether a worker of this name is active that started before the sender.
    pub fn is_predecessor_of(&self, heartbeat: &Heartbeat) -> bool {
        self.active
            .get(&heartbeat.worker.name)
            .is_some_and(|worker| worker.incarnation != heartbeat.incarnation)
    }

    /// Notes a heartbeat; a predecessor must have been lost before.
    pub fn heard(
        &mut self,
        now_ms: u64,
        heartbeat: Heartbeat,
    ) -> Result<Registration, TooManyWorkers> {
        let Heartbeat {
            worker: at,
            incarnation,
            classes,
            slots,
        } = heartbeat;
        if let Some(worker) = self.active.get_mut(&at.name) {
            worker.heard_ms = now_ms;
            worker.slots = slots;
            if worker.classes == classes && worker.at == at {
                return Ok(Registration::Unchanged);
            }
            worker.classes = classes;
            worker.at = at;
            return Ok(Registration::Changed);
        }
        if self.active.len() >= WORKERS_MAX {
            return Err(TooManyWorkers {
                workers_max: WORKERS_MAX,
            });
        }
        self.lost.remove(&at.name);
        let name = at.name.clone();
        // A worker that has never worked has been idle longest; ties between such go by name, whoever came first.
        let (heard_ms, idle_since_ms) = (now_ms, 0);
        let worker = Worker {
            at,
            incarnation,
            classes,
            slots,
            heard_ms,
            outstanding: 0,
            idle_since_ms,
            shunned_until_ms: 0,
            prepared: BTreeSet::new(),
        };
        self.active.insert(name, worker);
        Ok(Registration::New)
    }

    /// Forgets an active worker; false when there is none of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(worker) = self.active.remove(name) else {
            return false;
        };
        self.lost.insert(name.to_owned(), worker.heard_ms);
        if self.lost.len() > LOST_WORKERS_MAX {
            let oldest = self.lost.iter().min_by_key(|(_, heard_ms)| **heard_ms);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.lost.remove(&name);
            }
        }
        true
    }

    pub fn silent(&self, now_ms: u64) -> Vec<String> {
        let silent = |worker: &&Worker| now_ms.saturating_sub(worker.heard_ms) > SILENCE_MS_MAX;
        self.active
            .values()
            .filter(silent)
            .map(|worker| worker.at.name.clone())
            .collect()
    }

    /// The scheduler itself was away for so long: heartbeats may still be waiting for it.
    pub fn forgive(&mut self, now_ms: u64, pause_ms: u64) {
        for worker in self.active.values_mut() {
            worker.heard_ms = now_ms.min(worker.heard_ms + pause_ms);
        }
    }

    /// Gives one more task to the worker with the fewest outstanding ones among those that can run the stage, except
    /// `except`. Ties: the one idle longest; then by name.
    pub fn assign(&mut self, stage: &StageSpec, except: Option<&str>) -> Option<WorkerAddress> {
        self.assign_if(stage, except, |_| true)
    }

    /// The same among those that have fewer tasks than `tasks_max` says for their slots, and are not shunned.
    pub fn assign_free(
        &mut self,
        now_ms: u64,
        stage: &StageSpec,
        except: Option<&str>,
        tasks_max: impl Fn(u32) -> u32,
    ) -> Option<WorkerAddress> {
        self.assign_if(stage, except, |worker| {
            worker.outstanding < tasks_max(worker.slots) && worker.shunned_until_ms <= now_ms
        })
    }

    /// The worker could not be reached, or had no room.
    pub fn shun(&mut self, name: &str, until_ms: u64) {
        if let Some(worker) = self.active.get_mut(name) {
            worker.shunned_until_ms = until_ms;
        }
    }

    fn assign_if(
        &mut self,
        stage: &StageSpec,
        except: Option<&str>,
        has_room: impl Fn(&Worker) -> bool,
    ) -> Option<WorkerAddress> {
        let eligible = |worker: &&mut Worker| {
            worker.can_run(stage) && Some(worker.at.name.as_str()) != except && has_room(worker)
        };
        // The first of several equal ones, and they come in the order of their names.
        let least = |worker: &&mut Worker| (worker.outstanding, worker.idle_since_ms);
        let worker = self
            .active
            .values_mut()
            .filter(eligible)
            .min_by_key(least)?;
        worker.outstanding += 1;
        Some(worker.at.clone())
    }

    /// One task less; nothing to do for a worker that was lost meanwhile.
    pub fn release(&mut self, now_ms: u64, name: &str) {
        let Some(worker) = self.active.get_mut(name) else {
            return;
        };
        debug_assert!(
            worker.outstanding > 0,
            "{name} has a task that was never counted"
        );
        worker.outstanding = worker.outstanding.saturating_sub(1);
        if worker.outstanding == 0 {
            worker.idle_since_ms = now_ms;
        }
    }

    pub fn presences(&self, now_ms: u64) -> Vec<Presence> {
        let presence = |name: &String, state, heard_ms: u64| Presence {
            name: name.clone(),
            state,
            silent_ms: now_ms.saturating_sub(heard_ms),
        };
        let active = self.active.iter().map(|(name, worker)| {
            let suspected = now_ms.saturating_sub(worker.heard_ms) > SUSPECTED_MS;
            presence(
                name,
                if suspected { "suspected" } else { "present" },
                worker.heard_ms,
            )
        });
        let lost = self
            .lost
            .iter()
            .map(|(name, heard_ms)| presence(name, "dead", *heard_ms));
        active.chain(lost).collect()
    }
}
