//! What an operator may call. There is nothing else: no files, no network, no clock.

use crate::error::{StorageError, UpdateError};
use crate::types::{Level, Record, Version};

/// The records of the cluster as this run sees them, and a log.
///
/// The first read of a record pins its version for the run; own writes move the pin; later reads, in any stage
/// and on any worker, see the pinned version. Ids are 1 to 1,024 bytes of UTF-8, values any bytes.
pub trait Host {
    /// The pinned version of the record, or its newest when the run has not touched it yet.
    fn read(&mut self, id: &str) -> Result<Record, StorageError>;

    /// Makes `value` the newest version of the record, which need not exist.
    fn write(&mut self, id: &str, value: &[u8]) -> Result<Version, StorageError>;

    /// Makes `new` the newest version if the newest value is `old`, in one step; `old` absent means "the
    /// record does not exist". A failed test returns the record found.
    fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<&[u8]>,
        new: &[u8],
    ) -> Result<Version, UpdateError>;

    /// Writes one line to the worker's log. Lines are cut at 4 KiB and dropped after 1,000 of one task.
    fn log(&mut self, level: Level, message: &str);
}
