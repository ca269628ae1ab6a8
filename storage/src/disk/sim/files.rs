//! A file system of which a crash leaves what it must, and of the rest what chance has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Fault, Faults, Operation, SimCounters, full, io_error};
use crate::disk::error::DiskError;
use crate::disk::files::Files;

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;

type Inode = u64;

/// The model: bytes are durable through the last successful sync of their file. After a failed sync no later one makes
/// durable what it was to make (see [`Files::sync`]), until it is cut off. Names are durable as of the last sync of the
/// directory. Truncating is durable at once. A failed append leaves half of its bytes, a full disk what has room.
#[derive(Debug, Clone, Default)]
pub struct SimFiles(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    contents: BTreeMap<Inode, Content>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    next_inode: Inode,
    bytes_max: Option<u64>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// Durable through here.
    synced: usize,
    /// A sync failed: from the durable part on nothing can become durable.
    doubtful: bool,
}

impl SimFiles {
    /// The disk has room for so many bytes in all files; None: without bound.
    pub fn set_bytes_max(&self, bytes_max: Option<u64>) {
        self.disk().bytes_max = bytes_max;
    }

    /// Of all files.
    pub fn bytes(&self) -> u64 {
        let disk = self.disk();
        let bytes = disk.contents.values().map(|content| content.bytes.len());
        bytes.sum::<usize>() as u64
    }

    pub fn plan(&self, fault: Fault) {
        self.disk().faults.planned.push(fault);
    }

    pub fn clear_faults(&self) {
        self.disk().faults.planned.clear();
    }

    pub fn counters(&self) -> SimCounters {
        self.disk().faults.counters
    }

    /// Inverts the bits of `mask` in a byte, as a failing disk may. False if there is no such byte.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) -> bool {
        let mut disk = self.disk();
        let byte = disk
            .content(name)
            .and_then(|content| content.bytes.get_mut(offset));
        byte.map(|byte| *byte ^= mask).is_some()
    }

    /// The machine crashes and starts again without faults. Of what is not durable each name is as before or after the
    /// last sync of the directory; each file ends in a prefix of its sectors, or has lost one in the middle, which then
    /// holds zeros or garbage, while each later one is there or is lost in the same way.
    pub fn crash(&self, chance: &mut dyn FnMut(u64) -> u64) {
        let mut disk = self.disk();
        let names: BTreeSet<String> = disk
            .names
            .keys()
            .chain(disk.durable_names.keys())
            .cloned()
            .collect();
        let mut survivors = BTreeMap::new();
        for name in names {
            let (before, after) = (disk.durable_names.get(&name), disk.names.get(&name));
            let survivor = if before != after && chance(2) == 0 {
                before
            } else {
                after
            };
            survivors.extend(survivor.map(|inode| (name, *inode)));
        }
        let alive: BTreeSet<Inode> = survivors.values().copied().collect();
        disk.contents.retain(|inode, _| alive.contains(inode));
        for content in disk.contents.values_mut() {
            content.crash(chance);
        }
        disk.durable_names.clone_from(&survivors);
        disk.names = survivors;
        disk.faults.planned.clear();
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn crash(&mut self, chance: &mut dyn FnMut(u64) -> u64) {
        let length = self.bytes.len();
        // The first sector may hold durable bytes too: those stay.
        let sectors: Vec<_> = (self.synced / SECTOR_BYTES..length.div_ceil(SECTOR_BYTES))
            .map(|n| (n * SECTOR_BYTES).max(self.synced)..((n + 1) * SECTOR_BYTES).min(length))
            .filter(|sector| !sector.is_empty())
            .collect();
        let kept = usize::try_from(chance(sectors.len() as u64 + 1)).unwrap_or(0);
        if let Some(lost) = sectors.get(kept) {
            let (ends, garbage) = match chance(3) {
                0 => (true, false),
                1 => (false, false),
                _ => (false, true),
            };
            for (n, sector) in sectors.iter().enumerate().skip(kept) {
                if n == kept || chance(2) == 0 {
                    for byte in self.bytes.get_mut(sector.clone()).into_iter().flatten() {
                        *byte = if garbage {
                            chance(256).to_le_bytes()[0]
                        } else {
                            0
                        };
                    }
                }
            }
            if ends {
                self.bytes.truncate(lost.start);
            }
        }
        self.synced = self.bytes.len();
        self.doubtful = false;
    }
}

impl Disk {
    fn content(&mut self, name: &str) -> Option<&mut Content> {
        let inode = self.names.get(name)?;
        self.contents.get_mut(inode)
    }

    /// For an operation that a fault prevents as a whole.
    fn begin(
        &mut self,
        operation: Operation,
        verb: &'static str,
        name: &str,
    ) -> Result<(), DiskError> {
        if self.faults.strikes(operation) {
            return Err(io_error(verb, name));
        }
        Ok(())
    }

    fn existing(&mut self, verb: &'static str, name: &str) -> Result<&mut Content, DiskError> {
        self.content(name).ok_or_else(|| DiskError::Io {
            operation: verb,
            path: name.to_owned(),
            message: "no such file".to_owned(),
        })
    }

    fn room(&self) -> usize {
        let used: usize = self
            .contents
            .values()
            .map(|content| content.bytes.len())
            .sum();
        let bytes_max = self.bytes_max.unwrap_or(u64::MAX);
        usize::try_from(bytes_max)
            .unwrap_or(usize::MAX)
            .saturating_sub(used)
    }

    /// A removed file takes room until its removal is durable.
    fn free_unnamed(&mut self) {
        let volatile = self.names.values();
        let alive: BTreeSet<Inode> = volatile
            .chain(self.durable_names.values())
            .copied()
            .collect();
        self.contents.retain(|inode, _| alive.contains(inode));
    }
}

impl Files for SimFiles {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.disk().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        let mut disk = self.disk();
        Ok(disk.existing("read", name)?.bytes.clone())
    }

    fn create(&mut self, name: &str) -> Result<(), DiskError> {
        let mut disk = self.disk();
        disk.begin(Operation::Create, "create", name)?;
        if let Some(content) = disk.content(name) {
            *content = Content::default();
            return Ok(());
        }
        let inode = disk.next_inode;
        disk.next_inode += 1;
        disk.contents.insert(inode, Content::default());
        disk.names.insert(name.to_owned(), inode);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let mut disk = self.disk();
        let error = if disk.faults.strikes(Operation::Append) {
            Some((bytes.len() / 2, io_error("append to", name)))
        } else {
            let room = disk.room();
            (bytes.len() > room).then(|| (room, full(name)))
        };
        let (written, failed) = match error {
            None => (bytes.len(), Ok(())),
            Some((written, error)) => (written.min(disk.room()), Err(error)),
        };
        let content = disk.existing("append to", name)?;
        content.bytes.extend(bytes.iter().take(written));
        disk.faults.counters.bytes += written as u64;
        failed
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let mut disk = self.disk();
        let failed = disk.begin(Operation::Sync, "sync", name);
        let content = disk.existing("sync", name)?;
        if failed.is_err() {
            content.doubtful = content.synced < content.bytes.len();
        } else if !content.doubtful {
            content.synced = content.bytes.len();
        }
        failed
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        let mut disk = self.disk();
        disk.begin(Operation::Truncate, "truncate", name)?;
        let content = disk.existing("truncate", name)?;
        content
            .bytes
            .truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        content.synced = content.synced.min(content.bytes.len());
        content.doubtful &= content.synced < content.bytes.len();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let mut disk = self.disk();
        disk.begin(Operation::Remove, "remove", name)?;
        disk.existing("remove", name)?;
        disk.names.remove(name);
        disk.free_unnamed();
        Ok(())
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        let mut disk = self.disk();
        disk.begin(Operation::SyncDirectory, "sync", "the directory")?;
        disk.durable_names = disk.names.clone();
        disk.free_unnamed();
        Ok(())
    }
}
