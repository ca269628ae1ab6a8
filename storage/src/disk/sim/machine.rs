//! What of a simulated machine survives its crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::chance::Chance;
use common::fabric::FabricHandle;

use super::{SimFiles, SimTable};
use crate::disk::DiskError;
use crate::engine::store::Medium;
use crate::engine::writer::DiskPace;

/// The log's files and the table; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    pub files: SimFiles,
    pub table: SimTable,
    slowest_ms: Arc<AtomicU64>,
}

impl SimDisk {
    /// A batch takes up to so long to become durable; by default it takes no time.
    pub fn set_slowest_ms(&self, slowest_ms: u64) {
        self.slowest_ms.store(slowest_ms, Ordering::Relaxed);
    }

    /// How long its orders take in virtual time.
    pub(crate) fn pace(&self, fabric: FabricHandle) -> DiskPace {
        let slowest_ms = self.slowest_ms.clone();
        Box::new(move || {
            let most = slowest_ms.load(Ordering::Relaxed);
            let ms = Chance::new(fabric.random()).between(0, most);
            fabric.sleep(Duration::from_millis(ms))
        })
    }

    /// The machine goes down: what was not synced is lost, kept or torn as `chance` has it.
    pub fn crash(&self, chance: &mut dyn FnMut(u64) -> u64) {
        self.files.crash(chance);
        self.table.crash(chance);
    }
}

impl Medium for SimDisk {
    type Files = SimFiles;
    type Table = SimTable;

    fn files(&self) -> Result<SimFiles, DiskError> {
        Ok(self.files.clone())
    }

    fn table(&self) -> Result<SimTable, DiskError> {
        Ok(self.table.clone())
    }
}
