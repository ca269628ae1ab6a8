//! A [`Table`] in sled 0.34.7.
//!
//! What has to be known of it, from its source and from trials:
//! - It writes behind: its own threads write and call `sync_file_range`, which orders nothing for a disk with a volatile
//!   cache and leaves out the file's size. Hence [`flush`](Table::flush) lets sled write all and then fsyncs its files.
//! - `flush_async` deadlocks under concurrent callers and is never used; the flusher thread, which would make every
//!   batch's durability a matter of time, is off.
//! - A failed write stays: every later call fails until the database is opened again.
//! - It may panic on damaged files. Panics are taken for corruption where damaged files are read: at opening and in
//!   iteration.
//! - One process, and one handle in it, per path. It is fast at opening only what it has written a snapshot for, which it
//!   does at opening: a first opening after much writing costs more than the next.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::error::{DiskError, Place};
use super::files::{create_directory, sync_path};
use super::table::{Table, Visit, Write};

const CHECKSUM_BYTES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SledSettings {
    /// Pages that sled keeps in memory, about. Recovery reads everything once and checkpoints mostly write, so little
    /// is gained by more.
    pub cache_bytes: u64,
}

impl Default for SledSettings {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
        }
    }
}

#[derive(Debug)]
pub struct SledTable {
    db: sled::Db,
    path: PathBuf,
}

impl SledTable {
    /// Opens the table in the directory `path`, which it has for itself, or creates it.
    pub fn open(path: impl Into<PathBuf>, settings: SledSettings) -> Result<Self, DiskError> {
        let path = path.into();
        create_directory(&path)?;
        let config = sled::Config::new()
            .path(&path)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(settings.cache_bytes)
            .flush_every_ms(None);
        let db = guarded(&path, || config.open())?;
        Ok(Self { db, path })
    }

    fn failed(&self, operation: &'static str) -> impl Fn(sled::Error) -> DiskError {
        move |error| from_sled(operation, &self.path, error)
    }

    fn corrupt(&self, key: &[u8], reason: &str) -> DiskError {
        DiskError::Corrupt {
            file: self.path.display().to_string(),
            place: Place::Key(key.to_vec()),
            reason: reason.to_owned(),
        }
    }
}

impl Table for SledTable {
    fn for_each(&self, visit: &mut Visit) -> Result<(), DiskError> {
        let mut iter = self.db.iter();
        while let Some(item) = guarded(&self.path, || iter.next().transpose())? {
            let (key, stored) = item;
            let value = open_value(&key, &stored)
                .ok_or_else(|| self.corrupt(&key, "the value's checksum"))?;
            visit(&key, value).map_err(|reason| self.corrupt(&key, &reason))?;
        }
        Ok(())
    }

    fn apply(&mut self, batch: &[Write]) -> Result<(), DiskError> {
        let mut writes = sled::Batch::default();
        for write in batch {
            match write.value {
                Some(value) => writes.insert(write.key, seal_value(write.key, value)),
                None => writes.remove(write.key),
            }
        }
        self.db
            .apply_batch(writes)
            .map_err(self.failed("write a batch to"))
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.db.flush().map_err(self.failed("flush"))?;
        sync_tree(&self.path)
    }

    fn size_on_disk_bytes(&self) -> Result<u64, DiskError> {
        self.db.size_on_disk().map_err(self.failed("measure"))
    }
}

fn seal_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(value.len() + CHECKSUM_BYTES);
    stored.extend_from_slice(value);
    stored.extend_from_slice(&checksum(key, value).to_le_bytes());
    stored
}

fn open_value<'a>(key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (value, found) = stored.split_last_chunk::<CHECKSUM_BYTES>()?;
    (checksum(key, value) == u32::from_le_bytes(*found)).then_some(value)
}

/// Covers the key, so that a value that turns up under another one is found out.
fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

/// Reads of sled's files; it unwraps in places where a damaged file makes it panic.
fn guarded<T>(path: &Path, read: impl FnOnce() -> sled::Result<T>) -> Result<T, DiskError> {
    // What sled holds afterwards is not used: the error ends the opening or the iteration, and the node with it.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| from_sled("read", path, error)),
        Err(_) => Err(DiskError::Corrupt {
            file: path.display().to_string(),
            place: Place::Unknown,
            reason: "sled has panicked while reading it".to_owned(),
        }),
    }
}

fn from_sled(operation: &'static str, path: &Path, error: sled::Error) -> DiskError {
    let file = path.display().to_string();
    match error {
        // sled gives this error no kind of its own.
        sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock") => {
            DiskError::Locked { path: file }
        }
        sled::Error::Io(error) => DiskError::from_io(operation, path, &error),
        sled::Error::Corruption { at, .. } => DiskError::Corrupt {
            file,
            place: at.map_or(Place::Unknown, |at| Place::Offset(at.lid())),
            reason: "found by sled".to_owned(),
        },
        sled::Error::Unsupported(found) => DiskError::Format {
            file,
            found,
            expected: "sled 0.34".to_owned(),
        },
        error => DiskError::Io {
            operation,
            path: file,
            message: error.to_string(),
        },
    }
}

/// fsync of all files and directories in and below `directory`, and of itself.
fn sync_tree(directory: &Path) -> Result<(), DiskError> {
    let failed = |error: io::Error| DiskError::from_io("list", directory, &error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            sync_path(&entry.path())?;
        }
    }
    sync_path(directory)
}
