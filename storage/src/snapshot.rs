//! Copies of partitions that were taken at one instant, held for whoever reads them page by page.
//!
//! There are at most [`SNAPSHOTS_MAX`]; one that nobody reads for [`LEASE_MS`] is dropped. Values are shared with the
//! records, so that a copy costs what has changed since, and its keys.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use common::fabric::FabricHandle;
use common::proto;
use common::status::{Kind, Status};
use common::types::RecordId;

use crate::codec;
use crate::core::message::RecordState;
use crate::core::retained::Retained;
use crate::core::snapshot::Snapshot;

/// Copies held at once.
pub const SNAPSHOTS_MAX: usize = 8;
/// How long a copy is held after it was read last.
pub const LEASE_MS: u64 = 30_000;
/// A page closes at this size.
const PAGE_BYTES_TARGET: usize = 1 << 20;

pub struct Snapshots {
    fabric: FabricHandle,
    held: Arc<Mutex<BTreeMap<u64, Held>>>,
}

struct Held {
    /// Records that were read and forgotten.
    read: u64,
    records: VecDeque<(RecordId, RecordState)>,
    until_ms: u64,
}

impl Snapshots {
    pub fn new(fabric: FabricHandle) -> Self {
        Self {
            fabric,
            held: Arc::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a copy under a new name.
    pub fn hold(&self, taken: Vec<Snapshot>) -> Result<proto::TakeSnapshotResponse, Status> {
        let mut held = self.held();
        if held.len() >= SNAPSHOTS_MAX {
            return Err(Status::overloaded(format!(
                "{SNAPSHOTS_MAX} copies are being read already: try again later"
            )));
        }
        let snapshot = self.fabric.random();
        let (mut partitions, mut records) = (Vec::new(), VecDeque::new());
        for copy in taken {
            let covered = (copy.partition, copy.timestamp);
            partitions.push(codec::encode_partition_timestamp(covered));
            records.extend(copy.records);
        }
        let until_ms = self.fabric.now_ms() + LEASE_MS;
        held.insert(
            snapshot,
            Held {
                read: 0,
                records,
                until_ms,
            },
        );
        let expiry = expire(self.fabric.clone(), Arc::downgrade(&self.held), snapshot);
        self.fabric.spawn(Box::pin(expiry)).detach();
        Ok(proto::TakeSnapshotResponse {
            snapshot,
            partitions,
        })
    }

    /// The page behind what was received. The same question has the same answer, but for the last one.
    pub fn read(
        &self,
        request: &proto::ReadSnapshotRequest,
    ) -> Result<proto::ReadSnapshotResponse, Status> {
        let mut all = self.held();
        let gone = || Status::new(Kind::NotFound, "this copy is held no longer: take it again");
        let held = all.get_mut(&request.snapshot).ok_or_else(gone)?;
        held.until_ms = self.fabric.now_ms() + LEASE_MS;
        while held.read < request.after && held.records.pop_front().is_some() {
            held.read += 1;
        }
        let mut response = proto::ReadSnapshotResponse::default();
        let mut bytes = 0;
        for (id, state) in &held.records {
            if bytes >= PAGE_BYTES_TARGET {
                break;
            }
            bytes += id.len() + size_bytes(state);
            let copy = codec::encode_copy((id.clone(), state.clone()));
            response.records.push(copy);
        }
        if response.records.is_empty() {
            all.remove(&request.snapshot);
        }
        Ok(response)
    }
}

/// Roughly what it takes to send it.
fn size_bytes(state: &RecordState) -> usize {
    let logged = state.log.iter().flat_map(|slot| &slot.decisions);
    let logged = logged.map(|decision| decision.outcome.newest());
    let values = state.versions.iter().chain(logged);
    let retained: usize = state.retained.iter().map(Retained::bytes).sum();
    let bytes: usize = values
        .map(|version| 64 + version.value.as_ref().map_or(0, Bytes::len))
        .sum();
    bytes + retained + 64 * (1 + state.remembered.len() + state.writes.len())
}

/// Drops a copy that nobody reads any more.
async fn expire(fabric: FabricHandle, all: Weak<Mutex<BTreeMap<u64, Held>>>, snapshot: u64) {
    loop {
        fabric.sleep(Duration::from_millis(LEASE_MS)).await;
        let Some(all) = all.upgrade() else { return };
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = fabric.now_ms();
        match all.get(&snapshot) {
            Some(held) if held.until_ms > now_ms => {}
            _ => {
                all.remove(&snapshot);
                return;
            }
        }
    }
}
