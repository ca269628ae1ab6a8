//! What can be wrong with a disk, as far as callers must tell it apart.

use std::fmt;
use std::io;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No room: the disk, a quota or the size of a file is exhausted. Reading goes on; writing works again when there
    /// is room.
    #[error("no space left for {path}: {message}")]
    Full { path: String, message: String },
    #[error("cannot {operation} {path}: {message}")]
    Io {
        operation: &'static str,
        path: String,
        message: String,
    },
    /// What was durable once is not there any more as it was written. Nothing is repaired: a person or a copy from
    /// another replica has to.
    #[error("{file} is corrupt at {place}: {reason}")]
    Corrupt {
        file: String,
        place: Place,
        reason: String,
    },
    #[error("{path} is in use by another process")]
    Locked { path: String },
    /// Written by another version of this program.
    #[error("{file} has format {found}, this program reads {expected}")]
    Format {
        file: String,
        found: String,
        expected: String,
    },
    /// More than a frame may hold; nothing was written.
    #[error("a batch of {bytes} bytes is longer than {bytes_max}")]
    TooLong { bytes: u64, bytes_max: u64 },
    /// An earlier failure left it open what is durable: refused until the log is reopened.
    #[error("the log takes nothing more until it is reopened: {cause}")]
    Poisoned { cause: Box<DiskError> },
}

/// Where in a file something is corrupt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Bytes from the start of the file.
    Offset(u64),
    Key(Vec<u8>),
    /// The reader could not tell.
    Unknown,
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Offset(offset) => write!(to, "offset {offset}"),
            Place::Key(key) => write!(to, "key \"{}\"", key.escape_ascii()),
            Place::Unknown => to.write_str("an unknown place"),
        }
    }
}

impl DiskError {
    /// Classifies an error of the operating system. `operation` is a verb: "sync", "append to".
    pub fn from_io(operation: &'static str, path: &Path, error: &io::Error) -> Self {
        let path = path.display().to_string();
        let message = error.to_string();
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => DiskError::Full { path, message },
            _ => DiskError::Io {
                operation,
                path,
                message,
            },
        }
    }
}
