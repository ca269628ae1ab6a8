//! A log and a table that are only looked at: nothing is written into their directories.
//!
//! sled cannot be opened without being written to, so that its directory is copied first: the table is that of the copy.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::DiskError;
use super::files::{Files, list_names, lock_existing, read_named};
use super::{SledSettings, SledTable};

/// The log's directory. What opening a log would cut off stays; nothing can be appended.
#[derive(Debug)]
pub struct ReadOnlyFiles {
    directory: PathBuf,
    _lock: Option<File>,
}

impl ReadOnlyFiles {
    /// [`DiskError::Locked`] if a process uses the directory; none can while this lives.
    pub fn open(directory: PathBuf) -> Result<Self, DiskError> {
        let lock = lock_existing(&directory)?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    fn refused<T>(&self, operation: &'static str, name: &str) -> Result<T, DiskError> {
        Err(DiskError::Io {
            operation,
            path: self.directory.join(name).display().to_string(),
            message: "it is only looked at".to_owned(),
        })
    }
}

impl Files for ReadOnlyFiles {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        list_names(&self.directory)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        read_named(&self.directory, name)
    }

    fn create(&mut self, name: &str) -> Result<(), DiskError> {
        self.refused("create", name)
    }

    fn append(&mut self, name: &str, _: &[u8]) -> Result<(), DiskError> {
        self.refused("append to", name)
    }

    fn sync(&mut self, _: &str) -> Result<(), DiskError> {
        Ok(())
    }

    fn truncate(&mut self, _: &str, _: u64) -> Result<(), DiskError> {
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.refused("remove", name)
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A copy of a table, in the system's directory for temporary files; gone when this is dropped.
#[derive(Debug)]
pub struct TableCopy {
    pub table: SledTable,
    original: PathBuf,
    /// The last field: it is removed after the table was closed.
    _copy: Scratch,
}

impl TableCopy {
    /// An absent directory is an empty table.
    pub fn open(original: &Path) -> Result<Self, DiskError> {
        let copy = Scratch::new()?;
        if original.is_dir() {
            copy_tree(original, &copy.0)?;
        }
        let table = SledTable::open(&copy.0, SledSettings::default());
        Ok(Self {
            table: table.map_err(|error| rename(error, original))?,
            original: original.to_owned(),
            _copy: copy,
        })
    }

    /// An error of the table, with the name of the original.
    pub fn named(&self, error: DiskError) -> DiskError {
        rename(error, &self.original)
    }
}

fn rename(error: DiskError, original: &Path) -> DiskError {
    let path = original.display().to_string();
    match error {
        DiskError::Corrupt { place, reason, .. } => DiskError::Corrupt {
            file: path,
            place,
            reason,
        },
        DiskError::Format {
            found, expected, ..
        } => DiskError::Format {
            file: path,
            found,
            expected,
        },
        // What is wrong with the disk is wrong with the copy's.
        other => other,
    }
}

#[derive(Debug)]
struct Scratch(PathBuf);

static COPIES: AtomicU64 = AtomicU64::new(0);

impl Scratch {
    fn new() -> Result<Self, DiskError> {
        let parent = std::env::temp_dir();
        loop {
            let count = COPIES.fetch_add(1, Ordering::Relaxed);
            let name = format!("marionette-verify-{}-{count}", std::process::id());
            let path = parent.join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by a process that had the same id, and was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(DiskError::from_io("create", &path, &error)),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a copy was left behind");
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), DiskError> {
    let failed = |error: io::Error| DiskError::from_io("copy", from, &error);
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            fs::create_dir(&target).map_err(failed)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(failed)?;
        }
    }
    Ok(())
}
