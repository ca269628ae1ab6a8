//! A table of which a crash leaves a prefix of the batches, through the last flush at least.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Fault, Faults, Operation, SimCounters, full, io_error};
use crate::disk::error::{DiskError, Place};
use crate::disk::table::{Table, Visit, Write};

const NAME: &str = "the table";

/// The bound of a full disk counts keys and values of the newest state. A failed batch changes nothing.
#[derive(Debug, Clone, Default)]
pub struct SimTable(Arc<Mutex<State>>);

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Batch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug, Default)]
struct State {
    durable: Map,
    /// Applied since the last flush, oldest first.
    pending: Vec<Batch>,
    /// What readers see: the durable state and all batches.
    current: Map,
    bytes_max: Option<u64>,
    faults: Faults,
}

impl SimTable {
    /// None: without bound.
    pub fn set_bytes_max(&self, bytes_max: Option<u64>) {
        self.state().bytes_max = bytes_max;
    }

    /// Counts [`Operation::Apply`] and [`Operation::Flush`].
    pub fn plan(&self, fault: Fault) {
        self.state().faults.planned.push(fault);
    }

    pub fn clear_faults(&self) {
        self.state().faults.planned.clear();
    }

    pub fn counters(&self) -> SimCounters {
        self.state().faults.counters
    }

    /// The machine crashes and starts again without faults; see [`crate::disk::sim`] for `chance`.
    pub fn crash(&self, chance: &mut dyn FnMut(u64) -> u64) {
        let mut state = self.state();
        let pending = std::mem::take(&mut state.pending);
        let kept = usize::try_from(chance(pending.len() as u64 + 1)).unwrap_or(0);
        for batch in pending.into_iter().take(kept) {
            apply(&mut state.durable, batch);
        }
        state.current = state.durable.clone();
        state.faults.planned.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table for SimTable {
    fn for_each(&self, visit: &mut Visit) -> Result<(), DiskError> {
        // Visited without the lock: the visitor may use the same disk.
        let current = self.state().current.clone();
        for (key, value) in current {
            visit(&key, &value).map_err(|reason| DiskError::Corrupt {
                file: NAME.to_owned(),
                place: Place::Key(key.clone()),
                reason,
            })?;
        }
        Ok(())
    }

    fn apply(&mut self, batch: &[Write]) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.faults.strikes(Operation::Apply) {
            return Err(io_error("write a batch to", NAME));
        }
        let owned = |write: &Write| (write.key.to_vec(), write.value.map(<[u8]>::to_vec));
        let batch: Batch = batch.iter().map(owned).collect();
        let added: u64 = batch
            .iter()
            .map(|(key, value)| bytes_of(key, value.as_deref()))
            .sum();
        if state
            .bytes_max
            .is_some_and(|bytes_max| bytes(&state.current) + added > bytes_max)
        {
            return Err(full(NAME));
        }
        state.faults.counters.bytes += added;
        apply(&mut state.current, batch.clone());
        state.pending.push(batch);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.faults.strikes(Operation::Flush) {
            return Err(io_error("flush", NAME));
        }
        for batch in std::mem::take(&mut state.pending) {
            apply(&mut state.durable, batch);
        }
        Ok(())
    }

    fn size_on_disk_bytes(&self) -> Result<u64, DiskError> {
        Ok(bytes(&self.state().current))
    }
}

fn apply(map: &mut Map, batch: Batch) {
    for (key, value) in batch {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

fn bytes(map: &Map) -> u64 {
    map.iter()
        .map(|(key, value)| bytes_of(key, Some(value)))
        .sum()
}

/// A removal takes no room.
fn bytes_of(key: &[u8], value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| (key.len() + value.len()) as u64)
}
