//! A simulated machine: a disk that outlives the node, and the node while it runs.
//!
//! The node is the production core with the production engine over a simulated disk. A batch takes its time to become
//! durable; a crash falls before it, in the middle of it, or between two of the messages that it releases.

use common::types::ReplicaId;

use super::settings::Settings;
use crate::core::durable::Founding;
use crate::core::{Input, Output};
use crate::disk::LogSettings;
use crate::disk::sim::{Fault, Operation, SimDisk};
use crate::engine::store::{Store, SyncMode};
use crate::engine::writer::Batch;
use crate::engine::{Engine, EngineError, EngineStats};
use crate::node::Node;
use common::chance::Chance;

pub struct Machine {
    pub me: ReplicaId,
    pub disk: SimDisk,
    pub life: Option<Life>,
    pub frozen_until_ms: u64,
    /// Of the life that runs or was the last.
    pub last_incarnation: u64,
    /// It crashes after so many more outputs.
    pub doomed: Option<u64>,
}

/// One run of the node's process.
pub struct Life {
    pub node: Node,
    pub incarnation: u64,
    store: Store<SimDisk>,
    stats: EngineStats,
    in_flight: Option<Batch>,
}

/// What a step has brought about.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be performed now, in order.
    pub outputs: Vec<Output>,
    /// The disk is at work for so long.
    pub disk_ms: Option<u64>,
}

impl Machine {
    pub fn new(me: ReplicaId) -> Self {
        Self {
            me,
            disk: SimDisk::default(),
            life: None,
            frozen_until_ms: 0,
            last_incarnation: 0,
            doomed: None,
        }
    }

    /// Starts the process on what its disk holds. `fresh`: the cluster is new.
    pub fn start(
        &mut self,
        now_ms: u64,
        settings: &Settings,
        incarnation: u64,
        fresh: bool,
    ) -> Result<(), EngineError> {
        let log = LogSettings {
            segment_bytes_max: settings.checkpoint_bytes / 2,
        };
        let mut store = Store::new(self.disk.clone(), SyncMode::Always, log);
        let recovered = if settings.durable {
            store.recover()?
        } else {
            None
        };
        let delay_ms = settings.gossip_delay_ms;
        let mut node = if let Some(recovered) = recovered {
            Node::restart(now_ms, delay_ms, recovered, incarnation)
        } else {
            let founding = Founding {
                replica: self.me,
                ring: settings.ring.clone(),
                disk: if settings.durable { incarnation } else { 0 },
                replaces: false,
                incarnation,
            };
            Node::found(now_ms, delay_ms, founding, fresh)
        };
        node.checkpoint_every(settings.checkpoint_bytes);
        #[cfg(feature = "planted-bugs")]
        if let Some(bug) = settings.bug {
            node.core.plant(bug);
        }
        self.life = Some(Life {
            node,
            incarnation,
            store,
            stats: EngineStats::default(),
            in_flight: None,
        });
        self.last_incarnation = incarnation;
        Ok(())
    }

    /// The machine goes down: what was not synced is lost, kept or torn as chance has it.
    pub fn crash(&mut self, chance: &mut Chance) {
        self.doomed = None;
        if let Some(mut life) = self.life.take()
            && let Some(batch) = life.in_flight.take()
            && chance.percent(50)
        {
            // The batch was appended, but its sync had not ended.
            self.disk.files.plan(Fault {
                operation: Some(Operation::Sync),
                after: 0,
                lasting: true,
            });
            let failed = life.store.commit(&batch.changes);
            debug_assert!(failed.is_err(), "the sync of a crashing machine succeeded");
        }
        self.disk.crash(&mut |below| chance.below(below));
    }
}

impl Life {
    /// A batch of inputs.
    pub fn step(&mut self, now_ms: u64, input: Input, disk_ms: u64) -> Effects {
        self.node.step(now_ms, input);
        self.hand_over(now_ms, disk_ms)
    }

    fn hand_over(&mut self, now_ms: u64, disk_ms: u64) -> Effects {
        let mut started = false;
        if self.in_flight.is_none() {
            self.in_flight = self.node.hand_over(now_ms, self.stats);
            started = self.in_flight.is_some();
        }
        Effects {
            outputs: self.node.ready(),
            disk_ms: started.then_some(disk_ms),
        }
    }

    /// The disk is done with the batch: what it has released, and what is next.
    pub fn disk_done(
        &mut self,
        now_ms: u64,
        delay_ms: u64,
        disk_ms: u64,
    ) -> Result<Effects, EngineError> {
        let Some(batch) = self.in_flight.take() else {
            return Ok(Effects::default());
        };
        let committed = self.store.commit(&batch.changes);
        let saved = committed.and_then(|()| match batch.slice {
            Some(slice) => self.store.save(slice),
            None => Ok(()),
        });
        self.stats = self.store.stats();
        match saved {
            Ok(()) => self.node.committed(batch.changes),
            Err(error) => {
                let Some(recovered) = self.store.recover()? else {
                    return Err(error);
                };
                self.node = self.node.go_on(now_ms, delay_ms, recovered, &error);
            }
        }
        Ok(self.hand_over(now_ms, disk_ms))
    }

    /// Tries whether a full disk has room again.
    pub fn resume(&mut self, now_ms: u64) {
        if self.in_flight.is_none()
            && self.node.wants_to_resume(now_ms)
            && self.store.resume().is_ok()
        {
            self.node.resume(now_ms);
        }
    }
}
