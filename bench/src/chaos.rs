//! Kills, freezes and restarts nodes at random, each on its own, so that any number of them is down at a time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use common::types::{CommitMode, ReplicaId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cluster::{Cluster, ClusterError, detail};

/// How long a node is left alone.
const UP_MS: Range<u64> = 1_000..7_000;
/// How long it stays killed.
const DOWN_MS: Range<u64> = 0..3_000;
/// How long it stays frozen: sometimes too short to be suspected.
const FROZEN_MS: Range<u64> = 200..4_000;
/// Of all faults.
const KILLS_PERCENT: u32 = 65;

/// What was done to the nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    pub kills: BTreeMap<ReplicaId, u64>,
    pub freezes: BTreeMap<ReplicaId, u64>,
    pub restarts: u64,
    /// From exec to the readiness line, the longest.
    pub restart_max: Duration,
    /// Moments without any node that runs.
    pub all_down: u64,
}

pub struct Chaos {
    random: StdRng,
    /// When something is done to a node again.
    due: BTreeMap<ReplicaId, Instant>,
    pub done: Done,
}

impl Chaos {
    pub fn new(cluster: &Cluster, seed: u64) -> Self {
        let mut chaos = Self {
            random: StdRng::seed_from_u64(seed),
            due: BTreeMap::new(),
            done: Done::default(),
        };
        for replica in cluster.replicas() {
            chaos.postpone(replica, UP_MS);
        }
        chaos
    }

    fn postpone(&mut self, replica: ReplicaId, ms: Range<u64>) {
        let wait = Duration::from_millis(self.random.random_range(ms));
        self.due.insert(replica, Instant::now() + wait);
    }

    /// Goes on for so long; then all nodes run again.
    pub async fn run(
        &mut self,
        cluster: &mut Cluster,
        duration: Duration,
    ) -> Result<(), ClusterError> {
        let end = Instant::now() + duration;
        loop {
            let next = self.due.iter().min_by_key(|(_, due)| **due);
            let Some((&replica, &due)) = next.filter(|(_, due)| **due < end) else {
                break;
            };
            tokio::time::sleep_until(due.into()).await;
            cluster.check_alive()?;
            self.strike(cluster, replica).await?;
        }
        tokio::time::sleep_until(end.into()).await;
        self.heal(cluster).await
    }

    /// All nodes run, and none is frozen.
    pub async fn heal(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        for replica in cluster.replicas() {
            if cluster.is_frozen(replica) {
                cluster.unfreeze(replica)?;
            } else if !cluster.is_running(replica) {
                self.restart(cluster, replica).await?;
            }
        }
        Ok(())
    }

    async fn strike(
        &mut self,
        cluster: &mut Cluster,
        replica: ReplicaId,
    ) -> Result<(), ClusterError> {
        if cluster.is_frozen(replica) {
            cluster.unfreeze(replica)?;
            self.postpone(replica, UP_MS);
        } else if !cluster.is_running(replica) {
            self.restart(cluster, replica).await?;
            self.postpone(replica, UP_MS);
        } else if !self.random.random_ratio(KILLS_PERCENT, 100) {
            cluster.freeze(replica)?;
            *self.done.freezes.entry(replica).or_default() += 1;
            self.postpone(replica, FROZEN_MS);
        } else if cluster.ring().commit == CommitMode::Majority {
            self.kill(cluster, replica)?;
        } else if has_another_member(cluster, replica).await {
            // The certificate is for all: nobody may be too frozen to hear it.
            for other in cluster.running() {
                cluster.unfreeze(other)?;
            }
            self.kill(cluster, replica)?;
            cluster.certify_death(replica).await?;
        } else {
            // The last survivor has what the others lack.
            self.postpone(replica, UP_MS);
        }
        Ok(())
    }

    fn kill(&mut self, cluster: &mut Cluster, replica: ReplicaId) -> Result<(), ClusterError> {
        cluster.kill(replica)?;
        *self.done.kills.entry(replica).or_default() += 1;
        self.done.all_down += u64::from(cluster.running().is_empty());
        self.postpone(replica, DOWN_MS);
        Ok(())
    }

    async fn restart(
        &mut self,
        cluster: &mut Cluster,
        replica: ReplicaId,
    ) -> Result<(), ClusterError> {
        let started = Instant::now();
        cluster.restart(replica).await?;
        self.done.restarts += 1;
        self.done.restart_max = self.done.restart_max.max(started.elapsed());
        if cluster.ring().commit == CommitMode::FailStop {
            // It has not heard of those that died meanwhile, and waits for what they have.
            for dead in cluster.replicas() {
                if !cluster.is_running(dead) {
                    cluster.certify_death(dead).await?;
                }
            }
        }
        Ok(())
    }
}

async fn has_another_member(cluster: &Cluster, replica: ReplicaId) -> bool {
    for other in cluster.running() {
        if other != replica
            && !cluster.is_frozen(other)
            && let Ok(status) = cluster.status(other).await
            && detail(&status, "state") == "member"
        {
            return true;
        }
    }
    false
}
