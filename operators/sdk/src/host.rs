//! What an operator may call. There is nothing else: no files, no network, no other clock.

use crate::error::{BlobError, StorageError, UpdateError};
use crate::types::{Level, Record, Version};

/// The records of the cluster as this run sees them, blobs that the application grants, time and chance that a repeat
/// of the run finds again, and a log.
///
/// The first read of a record pins its version for the run; own writes move the pin; later reads, in any stage and on
/// any worker, see the pinned version. Ids are 1 to 1,024 bytes of UTF-8, values any bytes.
pub trait Host {
    /// The pinned version of the record, or its newest when the run has not touched it yet.
    fn read(&mut self, id: &str) -> Result<Record, StorageError>;

    /// Makes `value` the newest version of the record, which need not exist.
    fn write(&mut self, id: &str, value: &[u8]) -> Result<Version, StorageError>;

    /// Makes `new` the newest version if the newest value is `old`, in one step; `old` absent means "the record does
    /// not exist". A failed test returns the record found.
    fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<&[u8]>,
        new: &[u8],
    ) -> Result<Version, UpdateError>;

    /// The same with a test of the version, which never comes again: a value may. `old` absent means "the record was
    /// never written".
    fn update_if_version_is(
        &mut self,
        id: &str,
        old: Option<Version>,
        new: &[u8],
    ) -> Result<Version, UpdateError>;

    /// How many bytes a blob has.
    fn blob_size(&mut self, url: &str) -> Result<u64, BlobError>;

    /// Opens `length` bytes of a blob from `offset` on, fewer where it ends; `length` absent: all. At most 16 are open
    /// in one task.
    fn open_blob(
        &mut self,
        url: &str,
        offset: u64,
        length: Option<u64>,
    ) -> Result<BlobReader, BlobError>;

    /// The next bytes, at least one and at most `bytes_max` (itself at most 1 MiB); none at the end of the range.
    fn read_blob(&mut self, reader: &BlobReader, bytes_max: u32) -> Result<Vec<u8>, BlobError>;

    /// What the reader holds is free again.
    fn close_blob(&mut self, reader: BlobReader);

    /// When the run was submitted, in milliseconds since 1970-01-01T00:00:00Z.
    fn now(&mut self) -> u64;

    /// The next number of the task's own sequence, which every attempt at it begins anew. Not for secrets.
    fn random(&mut self) -> u64;

    /// The next bytes of that sequence, at most 65,536 at once.
    fn random_bytes(&mut self, count: u32) -> Vec<u8>;

    /// Writes one line to the worker's log. Lines are cut at 4 KiB and dropped after 1,000 of one task.
    fn log(&mut self, level: Level, message: &str);
}

/// What is left of a range of a blob: made by [`Host::open_blob`], used up by [`Host::close_blob`].
#[derive(Debug)]
pub struct BlobReader {
    id: u64,
    url: String,
}

impl BlobReader {
    /// For hosts: `id` names it among the readers of the task.
    pub fn new(id: u64, url: &str) -> Self {
        let url = url.to_owned();
        Self { id, url }
    }

    /// For hosts: its name among the readers of the task.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What it reads.
    pub fn url(&self) -> &str {
        &self.url
    }
}
