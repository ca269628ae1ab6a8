//! A [`Table`] in sled 0.34.7.
//!
//! What has to be known of it, from its source and from trials:
//! - It writes behind: its own threads write and call `sync_file_range`, which orders nothing for a disk with a volatile
//!   cache and leaves out the file's size. Hence [`flush`](Table::flush) lets sled write all and then fsyncs its files.
//! - `flush_async` deadlocks under concurrent callers and is never used; the flusher thread, which would make every
//!   batch's durability a matter of time, is off.
//! - A failed write stays: every later call fails until the database is opened again, and its iterator gives the error
//!   without end. Opening writes, so that it fails on a full disk.
//! - It may panic on damaged files. Panics are taken for corruption.
//! - It may take a damaged file for a torn one and silently leave out what follows, at times in the middle of a batch. So
//!   each batch also writes a digest of the whole table, which reading everything checks: the table is as a batch left
//!   it, or corrupt. That it is not an older one only its user can tell, by something that he writes with each batch.
//! - All pages that a batch touches stay in memory until its end, whatever the cache's size: batches of about a hundred
//!   records keep it in bounds, ten thousand take gigabytes.
//! - One process, and one handle in it, per path. Its lock outlives the handle until its threads have let go of the file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::error::{DiskError, Place};
use super::files::{create_directory, lock_directory, sync_path};
use super::table::{Table, Visit, Write};

const CHECKSUM_BYTES: usize = 4;
/// Keys of the table are stored after this byte,
const OURS: u8 = 1;
/// and the digest, before all of them, here.
const DIGEST_KEY: &[u8] = &[0];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SledSettings {
    /// Pages that sled keeps in memory, about. Recovery reads everything once and checkpoints mostly write, so little
    /// is gained by more.
    pub cache_bytes: u64,
}

impl Default for SledSettings {
    fn default() -> Self {
        Self {
            cache_bytes: 128 << 20,
        }
    }
}

/// After an error of `apply` or `flush` it fails with that error until it is opened anew; what sled shows then may be half
/// a batch.
#[derive(Debug)]
pub struct SledTable {
    db: sled::Db,
    path: PathBuf,
    digest: Digest,
    failed: Option<DiskError>,
    /// The last field: it ends after the database.
    _lock: File,
}

/// Of all records, in whichever order they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Digest {
    records: u64,
    /// Modulo 2^64.
    sum_of_checksums: u64,
}

impl Digest {
    fn add(&mut self, checksum: u32) {
        self.records = self.records.wrapping_add(1);
        self.sum_of_checksums = self.sum_of_checksums.wrapping_add(checksum.into());
    }

    fn subtract(&mut self, checksum: u32) {
        self.records = self.records.wrapping_sub(1);
        self.sum_of_checksums = self.sum_of_checksums.wrapping_sub(checksum.into());
    }

    fn encode(self) -> [u8; 16] {
        (u128::from(self.sum_of_checksums) << 64 | u128::from(self.records)).to_le_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (records, sum) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            records: u64::from_le_bytes(*records),
            sum_of_checksums: u64::from_le_bytes(sum.try_into().ok()?),
        })
    }
}

impl SledTable {
    /// Opens the table in the directory `path`, which it has for itself, or creates it. [`DiskError::Locked`] if someone
    /// else uses it.
    pub fn open(path: impl Into<PathBuf>, settings: SledSettings) -> Result<Self, DiskError> {
        let path = path.into();
        create_directory(&path)?;
        let lock = lock_directory(&path)?;
        await_predecessor(&path)?;
        let config = sled::Config::new()
            .path(&path)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(settings.cache_bytes)
            .flush_every_ms(None);
        let db = guarded("open", &path, || config.open())?;
        let stored = guarded("read", &path, || db.get(DIGEST_KEY))?;
        let mut table = Self {
            db,
            path,
            digest: Digest::default(),
            failed: None,
            _lock: lock,
        };
        if let Some(stored) = stored {
            table.digest = open_value(DIGEST_KEY, &stored)
                .and_then(|(digest, _)| Digest::decode(digest))
                .ok_or_else(|| table.damaged("its digest cannot be read"))?;
        }
        Ok(table)
    }

    /// The digest after these writes.
    fn digest_after(
        &self,
        writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    ) -> Result<Digest, DiskError> {
        let mut digest = self.digest;
        for (key, value) in writes {
            if let Some(old) = guarded("read", &self.path, || self.db.get(key))? {
                let (_, checksum) = open_value(key, &old)
                    .ok_or_else(|| self.corrupt(unprefixed(key), "the value's checksum"))?;
                digest.subtract(checksum);
            }
            if let Some((_, checksum)) = value.as_ref().and_then(|new| open_value(key, new)) {
                digest.add(checksum);
            }
        }
        Ok(digest)
    }

    fn damaged(&self, reason: &str) -> DiskError {
        DiskError::Corrupt {
            file: self.path.display().to_string(),
            place: Place::Unknown,
            reason: reason.to_owned(),
        }
    }

    fn check(&self) -> Result<(), DiskError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Does what cannot be repeated if it fails.
    fn once<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        self.check()?;
        let done = work(self);
        self.failed = done.as_ref().err().cloned();
        done
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
        self.check()?;
        let mut found = Digest::default();
        let mut iter = self.db.range([OURS]..);
        while let Some((stored_key, stored)) =
            guarded("read", &self.path, || iter.next().transpose())?
        {
            let key = unprefixed(&stored_key);
            let (value, checksum) = open_value(&stored_key, &stored)
                .ok_or_else(|| self.corrupt(key, "the value's checksum"))?;
            found.add(checksum);
            visit(key, value).map_err(|reason| self.corrupt(key, &reason))?;
        }
        if found != self.digest {
            let (found, written) = (found.records, self.digest.records);
            let reason = format!("it holds {found} records and not the {written} that it should");
            return Err(self.damaged(&reason));
        }
        Ok(())
    }

    fn apply(&mut self, batch: &[Write]) -> Result<(), DiskError> {
        let writes: BTreeMap<Vec<u8>, Option<Vec<u8>>> = batch
            .iter()
            .map(|write| {
                let key = prefixed(write.key);
                let value = write.value.map(|value| seal_value(&key, value));
                (key, value)
            })
            .collect();
        self.once(|table| {
            let digest = table.digest_after(&writes)?;
            let mut stored = sled::Batch::default();
            stored.insert(DIGEST_KEY, seal_value(DIGEST_KEY, &digest.encode()));
            for (key, value) in writes {
                match value {
                    Some(value) => stored.insert(key, value),
                    None => stored.remove(key),
                }
            }
            guarded("write a batch to", &table.path, || {
                table.db.apply_batch(stored)
            })?;
            table.digest = digest;
            Ok(())
        })
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.once(|table| {
            guarded("flush", &table.path, || table.db.flush())?;
            sync_tree(&table.path)
        })
    }

    fn size_on_disk_bytes(&self) -> Result<u64, DiskError> {
        guarded("measure", &self.path, || self.db.size_on_disk())
    }
}

/// Waits until the threads of an instance in this process that was dropped have let go of sled's own lock. Nobody else
/// has it, since we have the directory's.
fn await_predecessor(path: &Path) -> Result<(), DiskError> {
    let path = path.join("db");
    let locked = File::open(&path).and_then(|file| file.lock());
    match locked {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::from_io("lock", &path, &error))
        }
        _ => Ok(()),
    }
}

fn prefixed(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(OURS);
    stored.extend_from_slice(key);
    stored
}

fn unprefixed(stored: &[u8]) -> &[u8] {
    stored.strip_prefix(&[OURS]).unwrap_or(stored)
}

fn seal_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(value.len() + CHECKSUM_BYTES);
    stored.extend_from_slice(value);
    stored.extend_from_slice(&checksum(key, value).to_le_bytes());
    stored
}

/// The value and its checksum, if that is right.
fn open_value<'a>(key: &[u8], stored: &'a [u8]) -> Option<(&'a [u8], u32)> {
    let (value, found) = stored.split_last_chunk::<CHECKSUM_BYTES>()?;
    let checksum = checksum(key, value);
    (checksum == u32::from_le_bytes(*found)).then_some((value, checksum))
}

/// Covers the key, so that a value that turns up under another one is found out.
fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

/// Calls sled. It unwraps in places where a damaged file makes it panic.
fn guarded<T>(
    operation: &'static str,
    path: &Path,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, DiskError> {
    // What a panic may leave half done in sled is not used: opening, iteration and table all end with the error.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(|error| from_sled(operation, path, error)),
        Err(_) => Err(DiskError::Corrupt {
            file: path.display().to_string(),
            place: Place::Unknown,
            reason: format!("sled has panicked, asked to {operation} it"),
        }),
    }
}

fn from_sled(operation: &'static str, path: &Path, error: sled::Error) -> DiskError {
    let file = path.display().to_string();
    match error {
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
