//! What tasks of this worker have left for the tasks of the `reduce` behind them: divided by the partition of their keys,
//! and given out in pages to whoever asks.
//!
//! Promises: at most [`MEMORY_BYTES_MAX`] are in memory, the rest is in files that nobody else sees and that vanish with
//! the process; what was left is kept until its run is over, at the latest until the run's deadline.
//!
//! Absent: the network. [`crate::service`] answers those who ask, [`crate::fetch`] asks others.

mod spool;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use common::proto;
use common::types::{Item, Part, partition_of_key};
use prost::Message;
use thiserror::Error;

use crate::core::RunKey;
use spool::{Region, Spool};

/// What is kept in memory, of all runs together; more is spilled to files.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// What is kept in files, of all runs together.
const DISK_BYTES_MAX: u64 = 64 << 30;

/// Names what one attempt at a task has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartKey {
    pub run: RunKey,
    /// Index into the chain of the stage that left it.
    pub stage: u32,
    pub part: Part,
}

#[derive(Debug, Error)]
pub enum PartError {
    #[error("an item has no key, but the next stage is a `reduce`, which groups by keys")]
    NoKey,
    #[error("what tasks have left here has {bytes_max} bytes already")]
    Full { bytes_max: u64 },
    #[error("cannot spill to disk: {0}")]
    Disk(#[from] io::Error),
    #[error("task {task} has left nothing here in attempt {attempt}")]
    Gone { task: u32, attempt: u32 },
    #[error("there is no partition {0}, or the offset is beyond its end")]
    NoSuchPlace(u32),
}

/// Some items of one partition.
pub struct Page {
    pub items: Vec<proto::Item>,
    /// Encoded.
    pub bytes: usize,
    /// Where the next page begins; absent: this was the last one.
    pub next: Option<u64>,
}

/// Shared between the tasks that leave something and those who fetch it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Parts(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    runs: BTreeMap<RunKey, OfRun>,
    memory_bytes: usize,
    disk_bytes: u64,
}

/// What tasks of one run have left.
struct OfRun {
    until_ms: u64,
    /// Once something did not fit into memory.
    spool: Option<Arc<Spool>>,
    /// By stage and attempt; of each, by partition.
    held: BTreeMap<(u32, Part), Vec<Kept>>,
}

/// Items, each behind its length.
#[derive(Clone)]
enum Kept {
    Memory(Bytes),
    Disk(Arc<Spool>, Region),
}

impl Parts {
    fn locked(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps items for the tasks of a `reduce` with so many partitions, until `until_ms` on the fabric's clock.
    pub async fn keep(
        &self,
        key: PartKey,
        items: Vec<Item>,
        partitions: u32,
        (now_ms, until_ms): (u64, u64),
    ) -> Result<(), PartError> {
        let encoded = encode(items, partitions)?;
        let bytes: usize = encoded.iter().map(Bytes::len).sum();
        let spool = {
            let mut parts = self.locked();
            parts.expire(now_ms);
            parts.make_room(key.run, bytes, until_ms)?
        };
        let partitions = match spool {
            None => encoded.into_iter().map(Kept::Memory).collect(),
            Some(spool) => {
                let writing = spool.clone();
                let write = move || writing.append(&encoded);
                let regions = tokio::task::spawn_blocking(write).await;
                let regions = regions.map_err(io::Error::other)??;
                let kept = |region| Kept::Disk(spool.clone(), region);
                regions.into_iter().map(kept).collect()
            }
        };
        self.locked().put(key, partitions, until_ms);
        Ok(())
    }

    /// Items of one partition from this offset on: about `bytes_max`, but at least one if there is any.
    pub async fn page(
        &self,
        key: PartKey,
        partition: u32,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Page, PartError> {
        let kept = self.locked().look_up(key, partition)?;
        let length = kept.length();
        if offset > length {
            return Err(PartError::NoSuchPlace(partition));
        }
        let mut wanted = bytes_max;
        loop {
            let read = kept.read(offset, wanted).await?;
            let is_all = offset + read.len() as u64 == length;
            let (items, bytes) = decode(read);
            if is_all || !items.is_empty() {
                let next = offset + bytes as u64;
                return Ok(Page {
                    items,
                    bytes,
                    next: (next < length).then_some(next),
                });
            }
            wanted *= 4;
        }
    }

    /// The run is over.
    pub fn forget(&self, run: RunKey) {
        self.locked().forget(run);
    }

    /// What is kept in memory and on disk, in bytes.
    pub fn bytes(&self) -> (usize, u64) {
        let held = self.locked();
        (held.memory_bytes, held.disk_bytes)
    }
}

impl Shelf {
    fn of_run(&mut self, run: RunKey, until_ms: u64) -> &mut OfRun {
        self.runs.entry(run).or_insert_with(|| OfRun {
            until_ms,
            spool: None,
            held: BTreeMap::new(),
        })
    }

    /// Where so many bytes go: nowhere means into memory.
    fn make_room(
        &mut self,
        run: RunKey,
        bytes: usize,
        until_ms: u64,
    ) -> Result<Option<Arc<Spool>>, PartError> {
        if self.memory_bytes + bytes <= MEMORY_BYTES_MAX {
            return Ok(None);
        }
        if self.disk_bytes + bytes as u64 > DISK_BYTES_MAX {
            let bytes_max = DISK_BYTES_MAX;
            return Err(PartError::Full { bytes_max });
        }
        let spool = &mut self.of_run(run, until_ms).spool;
        if spool.is_none() {
            *spool = Some(Arc::new(Spool::new()?));
        }
        Ok(spool.clone())
    }

    fn put(&mut self, key: PartKey, partitions: Vec<Kept>, until_ms: u64) {
        let (memory, disk) = bytes_of(&partitions);
        self.memory_bytes += memory;
        self.disk_bytes += disk;
        let held = &mut self.of_run(key.run, until_ms).held;
        if let Some(before) = held.insert((key.stage, key.part), partitions) {
            self.discount(&before);
        }
    }

    fn discount(&mut self, partitions: &[Kept]) {
        let (memory, disk) = bytes_of(partitions);
        self.memory_bytes -= memory;
        self.disk_bytes -= disk;
    }

    fn look_up(&self, key: PartKey, partition: u32) -> Result<Kept, PartError> {
        let Part { task, attempt } = key.part;
        let of_run = self.runs.get(&key.run);
        let held = of_run.and_then(|of_run| of_run.held.get(&(key.stage, key.part)));
        let held = held.ok_or(PartError::Gone { task, attempt })?;
        let kept = held.get(partition as usize);
        kept.cloned().ok_or(PartError::NoSuchPlace(partition))
    }

    /// Runs whose deadline has passed are over, whoever has not said so.
    fn expire(&mut self, now_ms: u64) {
        let over = self
            .runs
            .iter()
            .filter(|(_, of_run)| of_run.until_ms <= now_ms);
        for run in over.map(|(run, _)| *run).collect::<Vec<_>>() {
            self.forget(run);
        }
    }

    fn forget(&mut self, run: RunKey) {
        let held = self.runs.remove(&run).map(|of_run| of_run.held);
        for partitions in held.into_iter().flat_map(BTreeMap::into_values) {
            self.discount(&partitions);
        }
    }
}

/// In memory and on disk.
fn bytes_of(partitions: &[Kept]) -> (usize, u64) {
    let mut bytes = (0, 0);
    for kept in partitions {
        match kept {
            Kept::Memory(items) => bytes.0 += items.len(),
            Kept::Disk(_, region) => bytes.1 += region.length,
        }
    }
    bytes
}

impl Kept {
    fn length(&self) -> u64 {
        match self {
            Self::Memory(items) => items.len() as u64,
            Self::Disk(_, region) => region.length,
        }
    }

    async fn read(&self, offset: u64, bytes_max: usize) -> Result<Bytes, PartError> {
        match self {
            Self::Memory(items) => {
                let from = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(items.len());
                Ok(items.slice(from..items.len().min(from.saturating_add(bytes_max))))
            }
            Self::Disk(spool, region) => {
                let (spool, region) = (spool.clone(), region.part(offset, bytes_max));
                let read = tokio::task::spawn_blocking(move || spool.read(region)).await;
                Ok(read.map_err(io::Error::other)??)
            }
        }
    }
}

fn encode(items: Vec<Item>, partitions: u32) -> Result<Vec<Bytes>, PartError> {
    let mut encoded = vec![BytesMut::new(); partitions as usize];
    for item in items {
        let key = item.key.as_deref().ok_or(PartError::NoKey)?;
        if let Some(partition) = encoded.get_mut(partition_of_key(key, partitions) as usize) {
            // A growing buffer has room.
            let _ = proto::Item::from(item).encode_length_delimited(partition);
        }
    }
    Ok(encoded.into_iter().map(BytesMut::freeze).collect())
}

/// The whole items at the beginning, and how many bytes they are.
fn decode(mut encoded: Bytes) -> (Vec<proto::Item>, usize) {
    let (mut items, length) = (Vec::new(), encoded.len());
    loop {
        let mut ahead = encoded.clone();
        let whole = prost::decode_length_delimiter(&mut ahead)
            .ok()
            .filter(|bytes| ahead.remaining() >= *bytes)
            .and_then(|bytes| proto::Item::decode(ahead.split_to(bytes)).ok());
        let Some(item) = whole else {
            return (items, length - encoded.len());
        };
        items.push(item);
        encoded = ahead;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(task: u32) -> PartKey {
        let run = RunKey {
            scheduler_incarnation: 1,
            number: 7,
        };
        let part = Part { task, attempt: 1 };
        PartKey {
            run,
            stage: 1,
            part,
        }
    }

    fn items(task: u32, count: usize, bytes: usize) -> Vec<Item> {
        let item = |number| Item {
            key: Some(format!("k{}", number % 50)),
            value: format!("{task}/{number}/{}", "x".repeat(bytes)).into(),
        };
        (0..count).map(item).collect()
    }

    async fn all(parts: &Parts, key: PartKey, partition: u32) -> Vec<Item> {
        let (mut found, mut next) = (Vec::new(), Some(0));
        while let Some(offset) = next {
            let page = parts.page(key, partition, offset, 1_000).await.unwrap();
            found.extend(page.items.into_iter().map(Item::from));
            next = page.next;
        }
        found
    }

    #[tokio::test]
    async fn items_come_back_by_partition_and_in_order() {
        let parts = Parts::default();
        let whole = items(0, 500, 30);
        parts.keep(key(0), whole.clone(), 3, (0, 10)).await.unwrap();
        for partition in 0..3 {
            let expected = whole
                .iter()
                .filter(|item| partition_of_key(item.key.as_deref().unwrap(), 3) == partition);
            let expected: Vec<Item> = expected.cloned().collect();
            assert!(!expected.is_empty());
            assert_eq!(all(&parts, key(0), partition).await, expected);
        }
        assert!(matches!(
            parts.page(key(0), 3, 0, 1).await,
            Err(PartError::NoSuchPlace(3))
        ));
        assert!(matches!(
            parts.page(key(1), 0, 0, 1).await,
            Err(PartError::Gone { task: 1, .. })
        ));
    }

    #[tokio::test]
    async fn what_does_not_fit_into_memory_is_spilled_and_forgotten_with_its_run() {
        let parts = Parts::default();
        let whole = items(0, 100, 300 << 10);
        for task in 0..3 {
            parts
                .keep(key(task), whole.clone(), 2, (0, 10))
                .await
                .unwrap();
        }
        let (memory, disk) = parts.bytes();
        assert!(memory <= MEMORY_BYTES_MAX && disk > 0, "{memory} {disk}");
        let found = all(&parts, key(2), 0).await.len() + all(&parts, key(2), 1).await.len();
        assert_eq!(found, whole.len());
        parts.forget(key(0).run);
        assert_eq!(parts.bytes(), (0, 0));
        assert!(parts.locked().runs.is_empty());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_makes_room() {
        let parts = Parts::default();
        parts
            .keep(key(0), items(0, 10, 10), 1, (0, 10))
            .await
            .unwrap();
        parts
            .keep(key(1), items(1, 10, 10), 1, (10, 20))
            .await
            .unwrap();
        assert!(matches!(
            parts.page(key(0), 0, 0, 1).await,
            Err(PartError::Gone { .. })
        ));
        assert_eq!(all(&parts, key(1), 0).await.len(), 10);
    }

    #[tokio::test]
    async fn an_item_without_a_key_is_refused() {
        let parts = Parts::default();
        let kept = parts.keep(key(0), vec![Item::plain("x")], 2, (0, 10)).await;
        assert!(matches!(kept, Err(PartError::NoKey)));
    }
}
