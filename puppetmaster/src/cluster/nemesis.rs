//! Makes things go wrong while a script runs, by the same means that a script has: nodes crash and come back, sleep and wake,
//! and their links are cut, slow or lossy for a while.
//!
//! Promise: when [`Nemesis::end`] has returned, all that was done is undone, and what was crashed is being started.

mod plan;

use super::Cluster;
use crate::language::Faults;
use crate::outcome::Failure;
use common::chance::Chance;
use common::fabric::{Profile, Task};
use plan::{Disturbance, Pace, View};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// At work until it is ended.
pub struct Nemesis {
    cluster: Arc<Cluster>,
    at_work: Vec<Task>,
    done: Done,
}

/// What was done and not undone yet, by number.
type Done = Arc<Mutex<BTreeMap<usize, Disturbance>>>;

impl Nemesis {
    /// Nothing for a profile without faults.
    pub fn begin(cluster: &Arc<Cluster>, faults: Faults) -> Option<Self> {
        let pace = Pace::of(faults.profile)?;
        cluster.fabric.set_weather(faults.profile);
        let done = Done::default();
        let left = Arc::new(AtomicU32::new(faults.at_most.unwrap_or(u32::MAX)));
        let hand = |number| {
            let hand = Hand {
                cluster: Arc::clone(cluster),
                pace,
                chance: Chance::new(cluster.fabric.random()),
                done: Arc::clone(&done),
                left: Arc::clone(&left),
                number,
            };
            cluster.fabric.spawn(Box::pin(hand.work()))
        };
        Some(Self {
            cluster: Arc::clone(cluster),
            at_work: (0..pace.at_once).map(hand).collect(),
            done,
        })
    }

    pub async fn end(self) -> Result<(), Failure> {
        drop(self.at_work);
        self.cluster.fabric.set_weather(Profile::None);
        let left = std::mem::take(&mut *lock(&self.done));
        // Whoever is told of links must be there.
        let (crashes, others): (Vec<_>, Vec<_>) = left
            .into_values()
            .partition(|disturbance| matches!(disturbance, Disturbance::Crash(_)));
        for disturbance in crashes.iter().chain(&others) {
            self.cluster.undo(disturbance).await?;
        }
        Ok(())
    }
}

/// One of those who disturb, one thing after the other.
struct Hand {
    cluster: Arc<Cluster>,
    pace: Pace,
    chance: Chance,
    done: Done,
    /// How many disturbances there may still be.
    left: Arc<AtomicU32>,
    number: usize,
}

impl Hand {
    async fn work(mut self) {
        loop {
            let pause = self.pace.pause(&mut self.chance);
            self.cluster.fabric.sleep(pause).await;
            if self.left.load(Ordering::Relaxed) == 0 {
                return;
            }
            if let Some(disturbance) = self.choose() {
                self.left.fetch_sub(1, Ordering::Relaxed);
                let lasts = self.pace.lasts(&mut self.chance);
                let output = &self.cluster.output;
                output.message(format!(
                    "faults: {disturbance} for {} ms",
                    lasts.as_millis()
                ));
                let disturbed = self.cluster.disturb(&disturbance).await;
                self.cluster.fabric.sleep(lasts).await;
                let mended = self.cluster.undo(&disturbance).await;
                for failure in [disturbed.err(), mended.err()].into_iter().flatten() {
                    let output = &self.cluster.output;
                    output.message(format!("faults: {}", failure.message()));
                }
                lock(&self.done).remove(&self.number);
            }
        }
    }

    /// Notes it at once, so that nobody else takes out another one that is needed, and that it is undone whatever happens.
    fn choose(&mut self) -> Option<Disturbance> {
        let mut done = lock(&self.done);
        let chosen = plan::choose(&self.cluster.view(&done), &mut self.chance)?;
        done.insert(self.number, chosen.clone());
        Some(chosen)
    }
}

fn lock(done: &Done) -> MutexGuard<'_, BTreeMap<usize, Disturbance>> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    fn view(&self, done: &BTreeMap<usize, Disturbance>) -> View {
        let nodes = self.nodes().into_iter();
        let (awake, disturbed): (Vec<_>, Vec<_>) = nodes.partition(|(name, node)| {
            let victims = done.values().flat_map(Disturbance::victims);
            node.is_awake() && !victims.into_iter().any(|victim| victim == name)
        });
        let with_role = |nodes: Vec<(String, super::Node)>| {
            nodes
                .into_iter()
                .map(|(name, node)| (name, node.role))
                .collect()
        };
        View {
            awake: with_role(awake),
            disturbed: with_role(disturbed),
            commit: self.settings().commit,
            keeps_records: self.data.is_some(),
        }
    }

    async fn disturb(self: &Arc<Self>, disturbance: &Disturbance) -> Result<(), Failure> {
        match disturbance {
            Disturbance::Crash(node) => self.kill(node, true).await,
            Disturbance::Freeze(node) => self.freeze(node).await,
            Disturbance::Links(links) => {
                self.set_faults_of_links(
                    links
                        .iter()
                        .map(|(from, to, fault)| (from, to, Some(*fault))),
                )
                .await
            }
        }
    }

    async fn undo(self: &Arc<Self>, disturbance: &Disturbance) -> Result<(), Failure> {
        match disturbance {
            Disturbance::Crash(node) => {
                let is_up = self.node(node).is_some_and(|node| node.is_ready());
                if is_up { Ok(()) } else { self.restart(node) }
            }
            Disturbance::Freeze(node) => self.unfreeze(node).await,
            Disturbance::Links(links) => {
                self.set_faults_of_links(links.iter().map(|(from, to, _)| (from, to, None)))
                    .await
            }
        }
    }
}
