//! What goes wrong in a simulation, and how often.

use common::types::{CommitMode, ReplicaId};

use super::cluster::Cluster;
use crate::core::Storage;
use crate::disk::sim::{Fault, Operation};

/// A broken disk is replaced by nobody: its node is started again after this long.
const REPAIR_MS: u64 = 2_000;

#[derive(Debug, Default)]
pub struct Faults {
    next_ms: u64,
    /// What is to be undone, and when.
    undo: Vec<(u64, Undo)>,
    pub crashes: u64,
    pub others: u64,
}

#[derive(Debug, Clone, Copy)]
enum Undo {
    Start(ReplicaId),
    Heal,
    MakeRoom(ReplicaId),
    Restart(ReplicaId),
}

impl Faults {
    pub fn new(cluster: &mut Cluster) -> Self {
        let every_ms = cluster.settings.fault_every_ms;
        Self {
            next_ms: cluster.chance.between(every_ms / 2, every_ms + 1),
            ..Self::default()
        }
    }

    /// Undoes what is due, and breaks something when it is time.
    pub fn act(&mut self, cluster: &mut Cluster) {
        let now_ms = cluster.now_ms;
        let due: Vec<Undo> = self
            .undo
            .extract_if(.., |(at, _)| *at <= now_ms)
            .map(|(_, undo)| undo)
            .collect();
        for undo in due {
            undo.perform(cluster);
        }
        let every_ms = cluster.settings.fault_every_ms;
        if every_ms > 0 && now_ms >= self.next_ms {
            self.next_ms = now_ms + cluster.chance.between(1, 2 * every_ms);
            self.break_something(cluster);
        }
    }

    /// Undoes everything.
    pub fn heal(&mut self, cluster: &mut Cluster) {
        for (_, undo) in std::mem::take(&mut self.undo) {
            undo.perform(cluster);
        }
        cluster.cuts.clear();
        cluster.settings.loss_percent = 0;
        for replica in cluster.replicas() {
            Undo::MakeRoom(replica).perform(cluster);
            let is_broken = cluster
                .core(replica)
                .is_some_and(|core| core.read_only().is_some());
            if is_broken {
                Undo::Restart(replica).perform(cluster);
            }
            Undo::Start(replica).perform(cluster);
            if let Some(machine) = cluster.machines.get_mut(&replica) {
                machine.frozen_until_ms = 0;
                machine.doomed = None;
            }
        }
    }

    fn break_something(&mut self, cluster: &mut Cluster) {
        let replicas = cluster.alive();
        let Some(victim) = cluster.chance.one_of(&replicas).copied() else {
            return;
        };
        let now_ms = cluster.now_ms;
        let later_ms = now_ms + cluster.chance.between(20, 6_000);
        match cluster.chance.below(100) {
            0..45 => self.crash(cluster, victim, later_ms),
            45..70 => {
                self.others += 1;
                cut(cluster, victim);
                self.undo.push((later_ms, Undo::Heal));
            }
            70..85 => {
                self.others += 1;
                let frozen_ms = cluster.chance.between(50, 5_000);
                if let Some(machine) = cluster.machines.get_mut(&victim) {
                    machine.frozen_until_ms = now_ms + frozen_ms;
                }
            }
            85..93 => self.fill_disk(cluster, victim, later_ms),
            _ => self.break_disk(cluster, victim),
        }
    }

    /// At once, or after some more outputs.
    fn crash(&mut self, cluster: &mut Cluster, victim: ReplicaId, later_ms: u64) {
        if !may_crash(cluster, victim) {
            return;
        }
        self.crashes += 1;
        self.undo.push((later_ms, Undo::Start(victim)));
        if cluster.chance.percent(50) || !cluster.settings.durable {
            return cluster.crash(victim);
        }
        let doomed = cluster.chance.below(12);
        if let Some(machine) = cluster.machines.get_mut(&victim) {
            machine.doomed = Some(doomed);
        }
    }

    fn fill_disk(&mut self, cluster: &mut Cluster, victim: ReplicaId, later_ms: u64) {
        self.others += 1;
        let room = cluster.chance.below(3_000);
        if let Some(machine) = cluster.machines.get(&victim) {
            let used = machine.disk.files.bytes();
            machine.disk.files.set_bytes_max(Some(used + room));
        }
        self.undo.push((later_ms, Undo::MakeRoom(victim)));
    }

    fn break_disk(&mut self, cluster: &mut Cluster, victim: ReplicaId) {
        self.others += 1;
        let operations = [Operation::Append, Operation::Sync, Operation::SyncDirectory];
        let operation = cluster.chance.one_of(&operations).copied();
        let after = cluster.chance.below(5);
        if let Some(machine) = cluster.machines.get(&victim) {
            machine.disk.files.plan(Fault {
                operation,
                after,
                lasting: false,
            });
        }
        let restart_ms = cluster.now_ms + REPAIR_MS;
        self.undo.push((restart_ms, Undo::Restart(victim)));
    }
}

/// Nodes without a disk keep what they know only in each other.
fn may_crash(cluster: &Cluster, victim: ReplicaId) -> bool {
    if cluster.settings.durable {
        return true;
    }
    let joined = |replica: &ReplicaId| {
        *replica != victim && cluster.core(*replica).is_some_and(Storage::is_joined)
    };
    let others = cluster
        .replicas()
        .iter()
        .filter(|other| joined(other))
        .count();
    match cluster.settings.ring.commit {
        CommitMode::FailStop => others >= 1,
        CommitMode::Majority => others + 1 == cluster.replicas().len(),
    }
}

/// One node from all, or one way between two, or a set from the rest.
fn cut(cluster: &mut Cluster, victim: ReplicaId) {
    let replicas = cluster.replicas();
    let kind = cluster.chance.below(3);
    let beside = cluster.chance.one_of(&replicas).copied().unwrap_or(victim);
    for other in replicas {
        match kind {
            0 if other != victim => {
                cluster.cuts.insert((victim, other));
                cluster.cuts.insert((other, victim));
            }
            1 if other == beside => {
                cluster.cuts.insert((victim, other));
            }
            2 if other != victim && other != beside => {
                for inside in [victim, beside] {
                    cluster.cuts.insert((inside, other));
                    cluster.cuts.insert((other, inside));
                }
            }
            _ => {}
        }
    }
}

impl Undo {
    fn perform(self, cluster: &mut Cluster) {
        match self {
            Self::Start(replica) => {
                if cluster.core(replica).is_none() {
                    cluster.start(replica, false);
                }
            }
            Self::Heal => cluster.cuts.clear(),
            Self::MakeRoom(replica) => {
                if let Some(machine) = cluster.machines.get(&replica) {
                    machine.disk.files.set_bytes_max(None);
                    machine.disk.files.clear_faults();
                }
            }
            Self::Restart(replica) => {
                if may_crash(cluster, replica) {
                    cluster.crash(replica);
                    Self::Start(replica).perform(cluster);
                }
            }
        }
    }
}
