//! Which outputs wait for which changes: nothing leaves before the state that it implies is durable (I11), and nothing
//! waits for more than that.
//!
//! What is about one record waits for the changes of that record which were ordered before it; everything else, for all
//! changes before it. So a coordinator's COMMIT does not wait for its own acceptance, and the answer of an update not
//! for the decision: both are ordered before them (see `core::coordinator`).

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::core::{Change, Output};

#[derive(Debug, Clone, Default)]
pub struct Hold {
    /// Of the last change that was ordered, and of the last that is durable; they count the changes.
    ordered: u64,
    durable: u64,
    /// The last change of the node itself, such as its new life: everything waits for it.
    own: u64,
    /// The last change of each record that is not durable yet, by the hash of its id: with equal hashes, records wait
    /// for one another.
    records: BTreeMap<u64, u64>,
    held: BTreeMap<u64, Vec<Output>>,
}

impl Hold {
    /// A change is ordered to be made durable.
    pub fn order(&mut self, change: &Change) {
        self.ordered += 1;
        match change.record() {
            Some(record) => drop(
                self.records
                    .insert(xxh3_64(record.as_bytes()), self.ordered),
            ),
            None => self.own = self.ordered,
        }
    }

    /// The output, if it may leave now; otherwise [`release`](Self::release) gives it.
    pub fn pass(&mut self, output: Output) -> Option<Output> {
        let after = match output.record() {
            Some(record) => {
                let of_record = self.records.get(&xxh3_64(record.as_bytes())).copied();
                of_record.unwrap_or_default().max(self.own)
            }
            None => self.ordered,
        };
        if after <= self.durable {
            return Some(output);
        }
        self.held.entry(after).or_default().push(output);
        None
    }

    /// The next changes are durable: what has waited for them only.
    pub fn release(&mut self, changes: usize) -> impl Iterator<Item = Output> + use<> {
        self.durable += changes as u64;
        let durable = self.durable;
        self.records.retain(|_, change| *change > durable);
        let held = self.held.split_off(&(durable + 1));
        std::mem::replace(&mut self.held, held)
            .into_values()
            .flatten()
    }

    /// True when something waits for a change.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// Outputs that wait.
    pub fn count(&self) -> usize {
        self.held.values().map(Vec::len).sum()
    }
}
