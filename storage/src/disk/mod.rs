//! What a node keeps on its disk, whatever it means: a write-ahead log and a table for checkpoints, of opaque bytes.
//!
//! - [`error`]: what can be wrong with a disk
//! - [`files`]: the file system as the log needs it · [`log`]: the write-ahead log
//! - [`table`]: a checkpoint's ordered map · [`sled_table`]: it, in sled
//! - [`read_only`]: files and table of a directory that is only looked at
//! - [`sim`]: both in memory, with crashes and faults, for tests and simulation
//!
//! # What survives what
//!
//! | | the process dies | the machine dies |
//! |---|---|---|
//! | entry, appended | yes | perhaps; what survives is a prefix |
//! | entry, synced | yes | yes |
//! | table's batch, applied | perhaps; what survives is a prefix of the batches | as before |
//! | table's batch, flushed | yes | yes |
//!
//! Durability rests on the log alone. A node relies on four rules of order:
//! 1. An entry is synced before anything that implies it leaves the node, and before it is applied to the table: a table
//!    must never know more than the log.
//! 2. A checkpoint applies, with its last batch, the sequence that it covers; then flushes; only then does it
//!    [`drop_through`](log::Log::drop_through) that sequence.
//! 3. At start the table is read first; the log is then opened after the table's sequence. Entries at and below it may
//!    have been applied already or partly, so applying must be idempotent.
//! 4. An error of `sync` or `flush` leaves open what is durable: the outcome is unknown, not failed.
//!
//! A full disk or an I/O error never harms what is synced, and reading needs neither. [`error::DiskError::Corrupt`]
//! means that something durable is lost; nothing here repairs or skips it.
//!
//! # The log's format
//!
//! Integers are little-endian; checksums are CRC-32 (IEEE 802.3). A segment is a file `FIRST.log`, FIRST being the
//! sequence of its first entry in 20 decimal digits:
//!
//! | offset | bytes | segment header |
//! |---|---|---|
//! | 0 | 8 | `MRNT-LOG` |
//! | 8 | 4 | version of the format, 2; these 24 bytes are the same in every version |
//! | 12 | 8 | sequence of its first entry |
//! | 20 | 4 | checksum of bytes 0 to 19 |
//!
//! Frames follow without gaps, one for each batch:
//!
//! | offset | bytes | frame |
//! |---|---|---|
//! | 0 | 4 | `F5 66 72 6D` |
//! | 4 | 4 | bytes of the payload |
//! | 8 | 8 | sequence of its first entry |
//! | 16 | 8 | sequence through which the log was synced when the frame was written |
//! | 24 | 4 | number of entries |
//! | 28 | 4 | checksum of the payload |
//! | 32 | 4 | checksum of: the segment's first sequence (8 bytes), the frame's offset in the segment (8), bytes 0 to 31 |
//! | 36 | | payload: for each entry its length (4 bytes) and its bytes |
//!
//! [`log::recovery`] says how a torn tail is told from damage, and why a frame says what was synced.
//!
//! # The table's format
//!
//! sled's directory. A key is stored after a byte 1, its value before 4 bytes: the checksum of the stored key's length (8
//! bytes), the stored key and the value. Under the key of one byte 0, with a checksum alike, is the digest that every batch
//! renews: the number of records (8 bytes) and the sum of their checksums modulo 2^64 (8).

pub mod error;
pub mod files;
pub mod log;
pub mod read_only;
pub mod sim;
pub mod sled_table;
pub mod table;

pub use self::error::{DiskError, Place};
pub use self::files::{Files, RealFiles};
pub use self::log::recovery::{Recovered, Torn};
pub use self::log::{Log, LogCounters, LogSettings};
pub use self::sled_table::{SledSettings, SledTable};
pub use self::table::{Table, Write};
