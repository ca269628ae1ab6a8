//! The little of a file system that the log needs, and its implementation by the operating system's.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::DiskError;

/// Plain files in one directory, addressed by name.
///
/// Promises: what was appended before a successful [`sync`](Files::sync) survives a crash if the file's name does; a
/// name survives (or a removed one stays away) after a successful [`sync_directory`](Files::sync_directory).
/// Of everything else any part may survive. Appends to one file reach it in order.
pub trait Files: Send {
    /// In ascending order.
    fn list(&self) -> Result<Vec<String>, DiskError>;
    /// The whole file.
    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError>;
    /// An empty file; one of this name that exists is emptied.
    fn create(&mut self, name: &str) -> Result<(), DiskError>;
    /// On an error any prefix of `bytes` may have been appended.
    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError>;
    /// After an error nothing is known about any byte appended since the last success, whatever a repetition says:
    /// Linux reports a failed write-back once and then forgets it (fsync(2); Rebello et al., "Can Applications Recover
    /// from fsync Failures?", ATC 2020).
    fn sync(&mut self, name: &str) -> Result<(), DiskError>;
    /// Durable when it returns. It says nothing about the durability of the bytes that remain.
    fn truncate(&mut self, name: &str, bytes: u64) -> Result<(), DiskError>;
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;
    fn sync_directory(&mut self) -> Result<(), DiskError>;
}

/// Held by the process that uses the directory, for as long as it lives.
const LOCK: &str = "lock";
/// How often it is tried, and the pause between two tries: a second in all.
const LOCK_TRIES: u32 = 100;
const LOCK_POLL: Duration = Duration::from_millis(10);

/// One directory of the operating system. An advisory lock on it keeps other processes (and other instances in this
/// one) out until it is dropped.
#[derive(Debug)]
pub struct RealFiles {
    directory: PathBuf,
    /// Files that were written to; their handles are kept because opening costs more than a small append.
    open: BTreeMap<String, File>,
    /// The lock ends with this handle.
    _lock: File,
}

impl RealFiles {
    /// Creates the directory if it is absent. [`DiskError::Locked`] if someone else uses it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let directory = directory.into();
        create_directory(&directory)?;
        let lock = lock_directory(&directory)?;
        Ok(Self {
            directory,
            open: BTreeMap::new(),
            _lock: lock,
        })
    }

    /// Does `work` with the open file; its errors carry the path.
    fn with(
        &mut self,
        operation: &'static str,
        name: &str,
        work: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        let path = self.directory.join(name);
        let worked = match self.open.get_mut(name) {
            Some(file) => work(file),
            None => OpenOptions::new()
                .append(true)
                .open(&path)
                .and_then(|file| work(self.open.entry(name.to_owned()).or_insert(file))),
        };
        worked.map_err(|error| DiskError::from_io(operation, &path, &error))
    }
}

impl Files for RealFiles {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        list_names(&self.directory)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        read_named(&self.directory, name)
    }

    fn create(&mut self, name: &str) -> Result<(), DiskError> {
        let path = self.directory.join(name);
        // Its handle cannot append: such a one is opened with the first append.
        File::create(&path).map_err(|error| DiskError::from_io("create", &path, &error))?;
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.with("append to", name, |file| file.write_all(bytes))
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.with("sync", name, |file| file.sync_data())
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        self.with("truncate", name, |file| {
            file.set_len(bytes)?;
            file.sync_all()
        })
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.open.remove(name);
        let path = self.directory.join(name);
        fs::remove_file(&path).map_err(|error| DiskError::from_io("remove", &path, &error))
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        sync_path(&self.directory)
    }
}

pub(super) fn read_named(directory: &Path, name: &str) -> Result<Vec<u8>, DiskError> {
    let path = directory.join(name);
    fs::read(&path).map_err(|error| DiskError::from_io("read", &path, &error))
}

/// The files of a directory but the lock, in ascending order.
pub(super) fn list_names(directory: &Path) -> Result<Vec<String>, DiskError> {
    let names = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // Names that are not UTF-8 are not ours.
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    };
    names().map_err(|error| DiskError::from_io("list", directory, &error))
}

/// Creates the directory and those above it that are absent, each durably.
pub(super) fn create_directory(path: &Path) -> Result<(), DiskError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    create_directory(above)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(DiskError::from_io("create", path, &error))
        }
        _ => sync_path(above),
    }
}

/// Whoever holds the returned file is the only user of the directory. A predecessor that was just killed, or is a task of
/// this process that was dropped, lets go of it a moment later.
pub(super) fn lock_directory(directory: &Path) -> Result<File, DiskError> {
    let path = directory.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| DiskError::from_io("open", &path, &error))?;
    for _ in 1..LOCK_TRIES {
        match hold(&lock, directory) {
            Err(DiskError::Locked { .. }) => std::thread::sleep(LOCK_POLL),
            held => return held.map(|()| lock),
        }
    }
    hold(&lock, directory).map(|()| lock)
}

/// As [`lock_directory`], but creates nothing: without a lock nobody has ever used the directory.
pub(super) fn lock_existing(directory: &Path) -> Result<Option<File>, DiskError> {
    let path = directory.join(LOCK);
    match File::open(&path) {
        Ok(lock) => hold(&lock, directory).map(|()| Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::from_io("open", &path, &error)),
    }
}

fn hold(lock: &File, directory: &Path) -> Result<(), DiskError> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(DiskError::Locked {
            path: directory.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => {
            Err(DiskError::from_io("lock", &directory.join(LOCK), &error))
        }
    }
}

/// fsync of a file or directory.
pub(super) fn sync_path(path: &Path) -> Result<(), DiskError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| DiskError::from_io("sync", path, &error))
}

/// A log may be opened over any files.
impl Files for Box<dyn Files> {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        (**self).list()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        (**self).read(name)
    }

    fn create(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).create(name)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        (**self).append(name, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).sync(name)
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        (**self).truncate(name, bytes)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        (**self).remove(name)
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        (**self).sync_directory()
    }
}
