//! The durable engine: a write-ahead log and a table that holds its checkpoints (STORAGE.md §6).
//!
//! A batch of changes is one frame of the log and, with `sync always`, one fdatasync. A checkpoint saves what was
//! changed into the table, slice by slice, then flushes it and drops the segments of the log that it covers. Recovery
//! reads the table and applies the log's changes to all parts that were saved before them.
//!
//! It relies on what [`crate::disk`] promises, and never releases a batch before it is as durable as the mode says.

use bytes::Bytes;
pub use common::types::SyncMode;

use super::checkpoint::{Slice, key};
use super::recovery::Recovery;
use super::{Engine, EngineError, EngineStats, Recovered};
use crate::codec::disk::encode_change;
use crate::core::Change;
use crate::disk::{DiskError, Files, Log, LogSettings, Table, Write};

/// A frame of the log closes at this size.
const FRAME_BYTES_TARGET: usize = 64 << 20;
/// After a full disk there must be room for this much before writing goes on.
const ROOM_BYTES_MIN: usize = 4 << 20;

/// Opens the two parts of a data directory; again after a failure.
pub trait Medium: Send + 'static {
    type Files: Files + Send;
    type Table: Table + Send;

    fn files(&self) -> Result<Self::Files, DiskError>;
    fn table(&self) -> Result<Self::Table, DiskError>;
}

pub struct Store<M: Medium> {
    medium: M,
    sync: SyncMode,
    settings: LogSettings,
    open: Option<Open<M>>,
    synced_ms: u64,
}

struct Open<M: Medium> {
    log: Log<M::Files>,
    table: M::Table,
    /// Bytes of the log when the last checkpoint was complete.
    covered_bytes: u64,
    /// It has to be opened anew.
    is_table_broken: bool,
}

impl From<DiskError> for EngineError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full { .. } => Self::Full(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl<M: Medium> Store<M> {
    pub fn new(medium: M, sync: SyncMode, settings: LogSettings) -> Self {
        Self {
            medium,
            sync,
            settings,
            open: None,
            synced_ms: 0,
        }
    }

    /// Both parts: anew, or after a failure as far as they can still be used. What was not synced is cut off the log.
    fn take_or_open(&mut self) -> Result<(M::Files, M::Table), EngineError> {
        // The files first: they hold the lock.
        let Some(mut open) = self.open.take() else {
            let files = self.medium.files()?;
            return Ok((files, self.medium.table()?));
        };
        // What was appended was acknowledged, unless each batch waits for its sync.
        open.log.reopen(self.sync != SyncMode::Always)?;
        let files = open.log.into_files();
        if open.is_table_broken {
            drop(open.table);
            return Ok((files, self.medium.table()?));
        }
        Ok((files, open.table))
    }

    fn opened(&mut self) -> Result<&mut Open<M>, EngineError> {
        let closed = || EngineError::Failed("the data is not open".to_owned());
        self.open.as_mut().ok_or_else(closed)
    }
}

impl<M: Medium> Engine for Store<M> {
    fn recover(&mut self) -> Result<Option<Recovered>, EngineError> {
        let (files, table) = self.take_or_open()?;
        let mut recovery = Recovery::default();
        table.for_each(&mut |key, value| recovery.restore(key, value))?;
        let covers = recovery.covers();
        let (log, found) = Log::open(files, self.settings, covers, |sequence, entry| {
            recovery.replay(sequence, entry)
        })?;
        if let Some(torn) = found.torn {
            tracing::info!(
                file = torn.file,
                offset = torn.offset,
                bytes = torn.bytes,
                "cut off the end of the log that was never synced"
            );
        }
        self.open = Some(Open {
            covered_bytes: 0,
            log,
            table,
            is_table_broken: false,
        });
        Ok(recovery.done())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), EngineError> {
        let always = self.sync == SyncMode::Always;
        let open = self.opened()?;
        let entries: Vec<Bytes> = changes.iter().map(encode_change).collect();
        for frame in frames(&entries) {
            open.log.append(frame)?;
        }
        if always {
            open.log.sync()?;
        }
        Ok(())
    }

    fn save(&mut self, slice: Slice) -> Result<(), EngineError> {
        let open = self.opened()?;
        // The table must never know more than the log.
        open.log.sync()?;
        let covers = slice.covers.map(u64::to_be_bytes);
        let mut writes: Vec<Write> = slice
            .writes
            .iter()
            .map(|(key, value)| Write {
                key,
                value: value.as_deref(),
            })
            .collect();
        if let Some(covers) = &covers {
            writes.push(Write {
                key: key::COVERS,
                value: Some(covers),
            });
        }
        open.is_table_broken = true;
        open.table.apply(&writes)?;
        if slice.covers.is_some() {
            open.table.flush()?;
        }
        open.is_table_broken = false;
        if let Some(covers) = slice.covers {
            open.log.drop_through(covers)?;
            open.covered_bytes = open.log.counters().bytes;
        }
        Ok(())
    }

    fn tick(&mut self, now_ms: u64) -> Result<(), EngineError> {
        let SyncMode::Interval(ms) = self.sync else {
            return Ok(());
        };
        if now_ms >= self.synced_ms + ms {
            self.synced_ms = now_ms;
            self.opened()?.log.sync()?;
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), EngineError> {
        Ok(self.opened()?.log.probe(ROOM_BYTES_MIN)?)
    }

    fn stats(&self) -> EngineStats {
        let Some(open) = &self.open else {
            return EngineStats::default();
        };
        let counters = open.log.counters();
        EngineStats {
            log_bytes: counters.bytes - open.covered_bytes,
            changes: counters.entries,
            syncs: counters.syncs,
            unsynced: matches!(self.sync, SyncMode::Interval(_))
                && open.log.synced_sequence() < open.log.last_sequence(),
        }
    }
}

/// Entries that go into one frame: many, but not too many bytes.
fn frames(entries: &[Bytes]) -> impl Iterator<Item = &[Bytes]> {
    let mut bytes = 0;
    entries.chunk_by(move |entry, _| {
        bytes += entry.len();
        let fits = bytes < FRAME_BYTES_TARGET;
        if !fits {
            bytes = 0;
        }
        fits
    })
}
