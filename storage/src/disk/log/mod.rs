//! A segmented write-ahead log of opaque entries.
//!
//! - [`mod@format`]: the bytes · [`recovery`]: what is left of them after a crash
//!
//! Each entry has a sequence number, from 1 on without gaps. A batch is one frame and one write(2). Promises:
//! - An entry through [`synced_sequence`](Log::synced_sequence) is recovered after any crash, unless the disk lost it;
//!   then opening fails and names segment and offset.
//! - Entries after it may be recovered or not, but always a prefix of them.
//! - After an error of `append` the log is as before it, or poisoned. After a failed sync it is poisoned: nobody can
//!   tell what of the unsynced entries is on the disk. [`reopen`](Log::reopen) cuts them off.
//!
//! It relies on what [`Files`] promises and on being the only writer in its directory. Whoever acts upon an entry before
//! it is synced must be able to lose it.

pub mod format;
pub mod recovery;

use std::collections::VecDeque;

use self::format::{FrameHeader, FramePlace, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES};
use super::error::DiskError;
use super::files::Files;

/// The buffer of the last batch is kept for the next unless it is larger than this.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// No segment, and of no meaning to whoever opens the log.
const PROBE: &str = "probe";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// A segment is not extended past this; a frame that is longer has a segment of its own.
    pub segment_bytes_max: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 << 20,
        }
    }
}

/// What was done since the log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounters {
    pub frames: u64,
    pub entries: u64,
    /// Appended, headers included.
    pub bytes: u64,
    /// Syncs of segments and of the directory.
    pub syncs: u64,
}

/// A segment that takes nothing more; all of it is synced.
#[derive(Debug, Clone, Copy)]
struct Finished {
    first: u64,
    bytes: u64,
}

/// The segment that is appended to.
#[derive(Debug, Clone, Copy)]
struct Active {
    first: u64,
    bytes: u64,
    /// How much of it is synced.
    synced_bytes: u64,
}

pub struct Log<F> {
    files: F,
    settings: LogSettings,
    /// Oldest first.
    finished: VecDeque<Finished>,
    /// Absent until there is something to append. A file of the next segment's name may exist then, without entries.
    active: Option<Active>,
    last: u64,
    synced: u64,
    poisoned: Option<DiskError>,
    buffer: Vec<u8>,
    counters: LogCounters,
}

impl<F: Files> Log<F> {
    /// Sequence of the newest entry; 0 if there never was one.
    pub fn last_sequence(&self) -> u64 {
        self.last
    }

    /// Entries through this one are durable.
    pub fn synced_sequence(&self) -> u64 {
        self.synced
    }

    pub fn counters(&self) -> LogCounters {
        self.counters
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        let finished: u64 = self.finished.iter().map(|segment| segment.bytes).sum();
        finished + self.active.map_or(0, |active| active.bytes)
    }

    /// The failure after which nothing is taken any more until [`reopen`](Self::reopen).
    pub fn poisoned(&self) -> Option<&DiskError> {
        self.poisoned.as_ref()
    }

    /// Appends a batch and returns the sequence of its last entry. It is durable after the next
    /// [`sync`](Self::sync), and recovered as a whole or not at all. On an error nothing of it is in the log.
    pub fn append<E: AsRef<[u8]>>(&mut self, entries: &[E]) -> Result<u64, DiskError> {
        self.check()?;
        if entries.is_empty() {
            return Ok(self.last);
        }
        let header = self.write_payload(entries)?;
        let frame_bytes = self.buffer.len() as u64;
        let mut active = self.segment_with_room(frame_bytes)?;
        let place = FramePlace {
            segment: active.first,
            offset: active.bytes,
        };
        for (to, from) in self.buffer.iter_mut().zip(header.encode(place)) {
            *to = from;
        }
        let name = format::segment_name(active.first);
        if let Err(error) = self.files.append(&name, &self.buffer) {
            return Err(self.cut_back(&name, active.bytes, error));
        }
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        active.bytes += frame_bytes;
        self.active = Some(active);
        self.last += u64::from(header.entries);
        self.counters.frames += 1;
        self.counters.entries += u64::from(header.entries);
        self.counters.bytes += frame_bytes;
        Ok(self.last)
    }

    /// One fdatasync, or none if all is synced. After an error [`reopen`](Self::reopen) at once: until then the unsynced
    /// entries can still be read, and a process that is started instead would take them for durable.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        self.check()?;
        let Some(mut active) = self.active.filter(|_| self.synced < self.last) else {
            return Ok(());
        };
        self.sync_segment(active.first)?;
        active.synced_bytes = active.bytes;
        self.active = Some(active);
        self.synced = self.last;
        Ok(())
    }

    /// Removes the segments which hold no entry after `sequence`, but never the newest: the log would forget its
    /// sequence. They stay removed after a crash.
    pub fn drop_through(&mut self, sequence: u64) -> Result<(), DiskError> {
        self.check()?;
        while let Some(oldest) = self.finished.front() {
            let next = self.finished.get(1).map(|segment| segment.first);
            let Some(next) = next.or(self.active.map(|active| active.first)) else {
                return Ok(());
            };
            if next > sequence.saturating_add(1) {
                return Ok(());
            }
            self.files.remove(&format::segment_name(oldest.first))?;
            self.finished.pop_front();
            // Each on its own, oldest first: if a later removal outlived an earlier one, there would be a gap.
            self.sync_directory()?;
        }
        Ok(())
    }

    /// After a failure: cuts off what is not synced, and takes entries again. On an error it stays as it was.
    /// `keeps_unsynced`: as long as no sync has failed, what was appended is not cut off.
    pub fn reopen(&mut self, keeps_unsynced: bool) -> Result<(), DiskError> {
        if keeps_unsynced && self.poisoned.is_none() {
            return Ok(());
        }
        if let Some(active) = &mut self.active {
            let name = format::segment_name(active.first);
            self.counters.syncs += 1;
            self.files.truncate(&name, active.synced_bytes)?;
            active.bytes = active.synced_bytes;
        }
        self.last = self.synced;
        // A segment whose start has failed: what a later sync says of its bytes would be worth nothing.
        let next = format::segment_name(self.last + 1);
        let is_active = self
            .active
            .is_some_and(|active| active.first == self.last + 1);
        if !is_active && self.files.list()?.contains(&next) {
            self.files.remove(&next)?;
        }
        self.counters.syncs += 1;
        self.files.sync_directory()?;
        self.poisoned = None;
        Ok(())
    }

    /// Fails unless there is room for so many bytes.
    pub fn probe(&mut self, bytes: usize) -> Result<(), DiskError> {
        self.files.create(PROBE)?;
        let filled = self.files.append(PROBE, &vec![0; bytes]);
        self.files.remove(PROBE)?;
        filled
    }

    /// For opening it again.
    pub fn into_files(self) -> F {
        self.files
    }

    fn check(&self) -> Result<(), DiskError> {
        match &self.poisoned {
            None => Ok(()),
            Some(cause) => Err(DiskError::Poisoned {
                cause: Box::new(cause.clone()),
            }),
        }
    }

    /// Fills the buffer with room for a header and the payload.
    fn write_payload<E: AsRef<[u8]>>(&mut self, entries: &[E]) -> Result<FrameHeader, DiskError> {
        let sizes = entries.iter().map(|entry| 4 + entry.as_ref().len() as u64);
        let bytes: u64 = sizes.sum();
        let too_long = DiskError::TooLong {
            bytes,
            bytes_max: PAYLOAD_BYTES_MAX,
        };
        let (Ok(payload_bytes), Ok(count)) = (u32::try_from(bytes), u32::try_from(entries.len()))
        else {
            return Err(too_long);
        };
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(too_long);
        }
        self.buffer.clear();
        self.buffer.resize(format::FRAME_HEADER_BYTES, 0);
        let mut payload = crc32fast::Hasher::new();
        for entry in entries {
            let entry = entry.as_ref();
            // It fits: the whole payload does.
            let length = u32::try_from(entry.len()).unwrap_or(u32::MAX).to_le_bytes();
            payload.update(&length);
            payload.update(entry);
            self.buffer.extend_from_slice(&length);
            self.buffer.extend_from_slice(entry);
        }
        Ok(FrameHeader {
            payload_bytes,
            first: self.last + 1,
            synced: self.synced,
            entries: count,
            payload_checksum: payload.finalize(),
        })
    }

    /// The active segment, or the next if the frame would make it too long.
    fn segment_with_room(&mut self, frame_bytes: u64) -> Result<Active, DiskError> {
        if let Some(active) = self.active {
            let is_empty = active.bytes <= SEGMENT_HEADER_BYTES as u64;
            if is_empty || active.bytes + frame_bytes <= self.settings.segment_bytes_max {
                return Ok(active);
            }
            // Recovery takes whatever is wrong in a segment that is not the last for corrupt: it must be durable
            // before there is a next one.
            self.sync()?;
            self.finished.push_back(Finished {
                first: active.first,
                bytes: active.bytes,
            });
            self.active = None;
        }
        self.start_segment()
    }

    /// After an error a file of that name may be left. There is no frame in it, it stays the last one, and the next
    /// attempt empties it.
    fn start_segment(&mut self) -> Result<Active, DiskError> {
        let first = self.last + 1;
        let name = format::segment_name(first);
        let header = format::encode_segment_header(first);
        let bytes = header.len() as u64;
        self.files.create(&name)?;
        self.files.append(&name, &header)?;
        self.counters.bytes += bytes;
        // Both, before a frame follows: its sync must not be void because the name or the header is lost.
        self.sync_segment(first)?;
        self.sync_directory()?;
        let active = Active {
            first,
            bytes,
            synced_bytes: bytes,
        };
        self.active = Some(active);
        Ok(active)
    }

    fn sync_segment(&mut self, first: u64) -> Result<(), DiskError> {
        self.counters.syncs += 1;
        let synced = self.files.sync(&format::segment_name(first));
        self.poison_if_failed(synced)
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        self.counters.syncs += 1;
        let synced = self.files.sync_directory();
        self.poison_if_failed(synced)
    }

    /// Removes what a failed append may have left, so that the next frame follows the last good one.
    fn cut_back(&mut self, name: &str, bytes: u64, error: DiskError) -> DiskError {
        self.counters.syncs += 1;
        if let Err(uncut) = self.files.truncate(name, bytes) {
            self.poisoned = Some(uncut);
        }
        error
    }

    fn poison_if_failed(&mut self, synced: Result<(), DiskError>) -> Result<(), DiskError> {
        if let Err(error) = &synced {
            self.poisoned = Some(error.clone());
        }
        synced
    }
}
