//! An ordered map for checkpoints.

use super::error::DiskError;

/// One change of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    pub key: &'a [u8],
    /// None removes the key.
    pub value: Option<&'a [u8]>,
}

/// Keys in the order of their bytes.
///
/// Promises: a batch is applied as a whole, also across a crash; after a crash a prefix of the batches is there, at
/// least through the last successful [`flush`](Table::flush).
pub trait Table: Send {
    /// Every key with its value, in order. What `visit` refuses, with a reason, is reported as corrupt at that key, as is
    /// a value that is not the one which was applied.
    fn for_each(&self, visit: &mut Visit) -> Result<(), DiskError>;
    /// Of several writes of one key in a batch the last one holds. A batch is meant to be of about a hundred records:
    /// sled keeps all that it touches in memory.
    fn apply(&mut self, batch: &[Write]) -> Result<(), DiskError>;
    /// After an error nothing is known about the durability of any batch since the last success; the table has to be
    /// opened anew.
    fn flush(&mut self) -> Result<(), DiskError>;
    fn size_on_disk_bytes(&self) -> Result<u64, DiskError>;
}

/// Called with key and value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), String> + 'a;
