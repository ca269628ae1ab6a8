//! Opening a log: what is left of it after a crash, and whether that is all that must be left.
//!
//! A crash may lose any part of what was not synced: also an earlier frame of several, or a sector in the middle of
//! one, while later ones reach the disk. What was synced no crash can lose; if it cannot be read, the disk or somebody
//! has damaged it, and going on without it would silently forget acknowledged entries. They are told apart so:
//!
//! - Every segment but the last was synced before the next was created. Whatever is wrong in it, or missing between two
//!   segments, is damage.
//! - In the last segment, let the first frame that cannot be read be the one whose first entry is s. Each frame says
//!   through which sequence the log was synced when it was written. If the header of any later frame says s or more,
//!   then s was durable once: damage. Otherwise nothing shows that s was ever synced: the frame is torn, and the log is
//!   cut there. What follows it was not synced either, since a sync covers all that was appended before it.
//! - A frame's header has its own checksum, so it is a witness also when its payload is torn. Later frames are searched
//!   for at every offset, since the length of the bad one cannot be trusted.
//!
//! The limit: what only the very last sync covered has no witness until a frame or segment follows. Damage to it is
//! taken for torn.

use super::format::{self, FrameHeader, FramePlace, SEGMENT_HEADER_BYTES, VERSION};
use super::{Active, Finished, Log, LogCounters, LogSettings};
use crate::disk::error::{DiskError, Place};
use crate::disk::files::Files;

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Entries given to the visitor.
    pub entries: u64,
    /// Read from segments.
    pub bytes: u64,
    pub torn: Option<Torn>,
}

/// A tail that was never synced and was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub file: String,
    /// Where it was cut.
    pub offset: u64,
    /// How much was cut off.
    pub bytes: u64,
}

/// Called with sequence and bytes of an entry.
type Visit<'a> = dyn FnMut(u64, &[u8]) -> Result<(), String> + 'a;

impl<F: Files> Log<F> {
    /// Opens the log, an empty one if there is none, and calls `visit` with sequence and bytes of every entry after
    /// `after`, in order. `after` is the last that a checkpoint covers, 0 without one: the log must hold that entry or
    /// have dropped it, and every later one. What `visit` refuses, with a reason, is reported as corrupt.
    ///
    /// All that was visited is durable when this returns. After an error the visited entries mean nothing.
    pub fn open(
        files: F,
        settings: LogSettings,
        after: u64,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<(Self, Recovered), DiskError> {
        let mut log = Self {
            files,
            settings,
            finished: std::collections::VecDeque::new(),
            active: None,
            last: 0,
            synced: 0,
            poisoned: None,
            buffer: Vec::new(),
            counters: LogCounters::default(),
        };
        let mut recovered = Recovered::default();
        let mut visit = |sequence, entry: &[u8]| {
            if sequence <= after {
                return Ok(());
            }
            recovered.entries += 1;
            visit(sequence, entry)
        };
        let names = log.files.list()?;
        let mut firsts = names
            .iter()
            .filter_map(|name| format::segment_first(name))
            .peekable();
        let oldest = firsts.peek().copied();
        if let Some(first) = oldest {
            log.last = first.saturating_sub(1);
        }
        while let Some(first) = firsts.next() {
            let bytes = log.files.read(&format::segment_name(first))?;
            recovered.bytes += bytes.len() as u64;
            let segment = Segment {
                first,
                is_last: firsts.peek().is_none(),
                bytes: &bytes,
            };
            recovered.torn = log.recover(&segment, &mut visit)?;
        }
        log.check_covers(oldest, after)?;
        log.make_durable()?;
        Ok((log, recovered))
    }

    /// Takes over what a segment holds.
    fn recover(&mut self, segment: &Segment, visit: &mut Visit) -> Result<Option<Torn>, DiskError> {
        if segment.first != self.last + 1 {
            let reason = format!("the segment before it ends with entry {}", self.last);
            return Err(segment.corrupt(0, reason));
        }
        if !segment.check_header()? {
            return Ok(None);
        }
        let mut offset = SEGMENT_HEADER_BYTES;
        while offset < segment.bytes.len() {
            let Some(frame) = segment.frame(offset, self.last + 1)? else {
                break;
            };
            for entry in frame.entries {
                self.last += 1;
                visit(self.last, entry).map_err(|reason| segment.corrupt(offset, reason))?;
            }
            offset += format::FRAME_HEADER_BYTES + frame.payload_bytes;
        }
        if segment.is_last {
            self.active = Some(Active {
                first: segment.first,
                bytes: segment.bytes.len() as u64,
                synced_bytes: offset as u64,
            });
        } else {
            self.finished.push_back(Finished {
                first: segment.first,
                bytes: offset as u64,
            });
        }
        let cut = segment.bytes.len().saturating_sub(offset);
        Ok((cut > 0).then(|| Torn {
            file: format::segment_name(segment.first),
            offset: offset as u64,
            bytes: cut as u64,
        }))
    }

    /// The checkpoint and the log must meet.
    fn check_covers(&self, oldest: Option<u64>, after: u64) -> Result<(), DiskError> {
        let reason = match oldest {
            Some(oldest) if oldest > after.saturating_add(1) => {
                format!(
                    "entries {} to {} before it are missing",
                    after + 1,
                    oldest - 1
                )
            }
            _ if self.last < after => format!(
                "the log ends with entry {}, but a checkpoint covers {after}",
                self.last
            ),
            _ => return Ok(()),
        };
        Err(DiskError::Corrupt {
            file: format::segment_name(oldest.unwrap_or(1)),
            place: Place::Unknown,
            reason,
        })
    }

    /// Cuts off a torn tail. What was read may still be in the system's memory only, if it was the process that crashed
    /// and not the machine; so may be the newest segment's name.
    fn make_durable(&mut self) -> Result<(), DiskError> {
        if let Some(active) = &mut self.active {
            let name = format::segment_name(active.first);
            if active.synced_bytes < active.bytes {
                self.files.truncate(&name, active.synced_bytes)?;
                active.bytes = active.synced_bytes;
            }
            self.files.sync(&name)?;
        }
        self.files.sync_directory()?;
        self.synced = self.last;
        Ok(())
    }
}

struct Frame<'a> {
    payload_bytes: usize,
    entries: Vec<&'a [u8]>,
}

struct Segment<'a> {
    /// As its name says.
    first: u64,
    is_last: bool,
    bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    fn corrupt(&self, offset: usize, reason: String) -> DiskError {
        DiskError::Corrupt {
            file: format::segment_name(self.first),
            place: Place::Offset(offset as u64),
            reason,
        }
    }

    /// False if the crash came before the header was durable: there never was a frame.
    fn check_header(&self) -> Result<bool, DiskError> {
        match format::decode_segment_header(self.bytes) {
            Some((VERSION, first)) if first == self.first => Ok(true),
            Some((VERSION, first)) => Err(self.corrupt(
                0,
                format!("its header says that it begins with entry {first}"),
            )),
            Some((version, _)) => Err(DiskError::Format {
                file: format::segment_name(self.first),
                found: version.to_string(),
                expected: VERSION.to_string(),
            }),
            None if self.is_last && self.bytes.len() <= SEGMENT_HEADER_BYTES => Ok(false),
            None => Err(self.corrupt(0, "the segment's header".to_owned())),
        }
    }

    /// Bytes of the payload and entries of the frame at `offset`; none if it is torn.
    fn frame(&self, offset: usize, sequence: u64) -> Result<Option<Frame<'a>>, DiskError> {
        let Some(header) = self.frame_header(offset) else {
            return self.torn(offset, sequence, "the frame's header");
        };
        if header.first != sequence {
            let reason = format!("entry {} where {sequence} has to be", header.first);
            return Err(self.corrupt(offset, reason));
        }
        let payload = self.payload(offset, &header);
        let Some(payload) =
            payload.filter(|payload| crc32fast::hash(payload) == header.payload_checksum)
        else {
            return self.torn(offset, sequence, "the frame's payload");
        };
        match format::split_payload(payload, header.entries) {
            Some(entries) => Ok(Some(Frame {
                payload_bytes: payload.len(),
                entries,
            })),
            None => Err(self.corrupt(offset, "a payload of other lengths than it says".to_owned())),
        }
    }

    fn frame_header(&self, offset: usize) -> Option<FrameHeader> {
        let place = FramePlace {
            segment: self.first,
            offset: offset as u64,
        };
        FrameHeader::decode(self.bytes.get(offset..)?, place)
    }

    fn payload(&self, offset: usize, header: &FrameHeader) -> Option<&'a [u8]> {
        let from = offset.checked_add(format::FRAME_HEADER_BYTES)?;
        let to = from.checked_add(usize::try_from(header.payload_bytes).ok()?)?;
        self.bytes.get(from..to)
    }

    /// None if the frame may be torn, an error if it was durable once.
    fn torn<T>(&self, offset: usize, sequence: u64, what: &str) -> Result<Option<T>, DiskError> {
        if !self.is_last {
            return Err(self.corrupt(offset, what.to_owned()));
        }
        let mut later = (offset + 1..self.bytes.len()).filter_map(|at| self.frame_header(at));
        match later.find(|header| header.synced >= sequence) {
            None => Ok(None),
            Some(witness) => Err(self.corrupt(
                offset,
                format!("{what}; entry {} says that it was synced", witness.first),
            )),
        }
    }
}
