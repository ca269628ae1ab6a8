//! The file of a backup.
//!
//! Integers are little-endian, checksums CRC-32 (IEEE 802.3):
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `MRNT-BAK` |
//! | 8 | 4 | version of the format, 1; these 12 bytes are the same in every version |
//! | 12 | | frames without gaps |
//!
//! | offset | bytes | frame |
//! |---|---|---|
//! | 0 | 4 | bytes of the payload |
//! | 4 | 4 | checksum of: the frame's offset in the file (8 bytes), the payload's length (4), the payload |
//! | 8 | | payload: a `BackupFrame` of `common/proto/marionette/v1/backup.proto` |
//!
//! The first frame is the header, the last one, with nothing behind it, the trailer, which counts all others.
//!
//! Promises: a file has its name only when it is whole and on the disk; [`reader::check`] accepts no other.

pub mod reader;
pub mod writer;

pub use reader::{Contents, Reader, check};
pub use writer::Writer;

use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"MRNT-BAK";
const VERSION: u32 = 1;
/// Bytes of a frame's payload, at most: what one message carries.
const FRAME_BYTES_MAX: usize = common::fabric::MESSAGE_BYTES_MAX;

/// Why a file was not written or cannot be used; the place is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("cannot {operation} {}: {message}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        message: String,
    },
    #[error("{} is no backup", path.display())]
    NoBackup { path: PathBuf },
    #[error("{} is there already and is no backup: it is not overwritten", path.display())]
    NotOverwritten { path: PathBuf },
    #[error("{} has format {found}, this program reads {VERSION}", path.display())]
    Format { path: PathBuf, found: u32 },
    #[error("{} is damaged at offset {offset}: {reason}", path.display())]
    Damaged {
        path: PathBuf,
        offset: u64,
        reason: String,
    },
}

impl FileError {
    // By value, as `map_err` wants it.
    #[allow(clippy::needless_pass_by_value)]
    fn io(operation: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            message: error.to_string(),
        }
    }
}

fn checksum(offset: u64, length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
