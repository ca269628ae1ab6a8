//! Reads a backup, and accepts nothing that is not as it was written.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use common::fabric::decode;
use common::proto::backup_frame::Part;
use common::proto::{BackupFrame, BackupTrailer, RecordCopy};
use common::types::Ring;

use super::{FRAME_BYTES_MAX, FileError, MAGIC, VERSION, checksum};

/// What a whole file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Of the cluster that was copied.
    pub ring: Ring,
    pub trailer: BackupTrailer,
}

/// Reads the whole file. Only then may any of it be used.
pub fn check(path: &Path) -> Result<Contents, FileError> {
    let mut reader = Reader::open(path)?;
    while reader.records()?.is_some() {}
    let damaged = |reason: &str| reader.damaged(reader.offset, reason);
    let trailer = reader.trailer.ok_or_else(|| damaged("it has no trailer"))?;
    let ring = reader.ring.clone();
    let ring = ring.ok_or_else(|| damaged("it has no header"))?;
    Ok(Contents { ring, trailer })
}

#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    frames: u64,
    partitions: u64,
    records: u64,
    ring: Option<Ring>,
    trailer: Option<BackupTrailer>,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).map_err(|error| FileError::io("open", path, error))?;
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            offset: 0,
            frames: 0,
            partitions: 0,
            records: 0,
            ring: None,
            trailer: None,
        };
        let no_backup = || FileError::NoBackup {
            path: path.to_owned(),
        };
        let start = reader.take::<12>()?.ok_or_else(no_backup)?;
        let version = start.strip_prefix(MAGIC).ok_or_else(no_backup)?;
        let version = version.try_into().map_or(0, u32::from_le_bytes);
        if version == VERSION {
            Ok(reader)
        } else {
            Err(FileError::Format {
                path: path.to_owned(),
                found: version,
            })
        }
    }

    /// The next records; none at the end, which is where it has to be.
    pub fn records(&mut self) -> Result<Option<Vec<RecordCopy>>, FileError> {
        loop {
            let offset = self.offset;
            let Some(part) = self.frame()? else {
                return match self.trailer {
                    Some(_) => Ok(None),
                    None => Err(self.damaged(offset, "it ends before its trailer")),
                };
            };
            if self.trailer.is_some() {
                return Err(self.damaged(offset, "something stands behind its trailer"));
            }
            if (self.frames == 0) != matches!(part, Part::Header(_)) {
                return Err(self.damaged(offset, "its header is not where it has to be"));
            }
            match part {
                Part::Header(header) => {
                    let ring = header.ring.map(Ring::try_from).and_then(Result::ok);
                    let wrong = || self.damaged(offset, "its header names no ring");
                    self.ring = Some(ring.ok_or_else(wrong)?);
                }
                Part::Partitions(of) => self.partitions += of.partitions.len() as u64,
                Part::Trailer(trailer) => {
                    let counted = (self.frames, self.partitions, self.records);
                    if counted != (trailer.frames, trailer.partitions, trailer.records) {
                        return Err(self.damaged(offset, "its trailer counts otherwise"));
                    }
                    self.trailer = Some(trailer);
                }
                Part::Records(records) => {
                    self.frames += 1;
                    self.records += records.records.len() as u64;
                    return Ok(Some(records.records));
                }
            }
            self.frames += 1;
        }
    }

    /// None: the file ends here.
    fn frame(&mut self) -> Result<Option<Part>, FileError> {
        let offset = self.offset;
        let Some(head) = self.take::<8>()? else {
            return Ok(None);
        };
        let number = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let (length, stored) = (number(head.first_chunk()), number(head.last_chunk()));
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes > FRAME_BYTES_MAX {
            return Err(self.damaged(offset, "a frame that is too long"));
        }
        let mut payload = vec![0; bytes];
        if !self.fill(&mut payload)? {
            return Err(self.damaged(offset, "the file ends within a frame"));
        }
        if checksum(offset, length, &payload) != stored {
            return Err(self.damaged(offset, "a frame's checksum"));
        }
        let frame = decode::<BackupFrame>(payload.into()).ok();
        let part = frame.and_then(|frame| frame.part);
        part.map(Some)
            .ok_or_else(|| self.damaged(offset, "a frame that says nothing"))
    }

    /// None: the file ends here.
    fn take<const N: usize>(&mut self) -> Result<Option<[u8; N]>, FileError> {
        let offset = self.offset;
        let mut bytes = [0; N];
        if self.fill(&mut bytes)? {
            return Ok(Some(bytes));
        }
        if self.offset == offset {
            return Ok(None);
        }
        Err(self.damaged(offset, "the file ends within a frame"))
    }

    /// False when the file ends before.
    fn fill(&mut self, mut bytes: &mut [u8]) -> Result<bool, FileError> {
        while !bytes.is_empty() {
            match self.file.read(bytes) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.offset += count as u64;
                    bytes = bytes.split_at_mut(count).1;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::io("read", &self.path, error)),
            }
        }
        Ok(true)
    }

    fn damaged(&self, offset: u64, reason: &str) -> FileError {
        FileError::Damaged {
            path: self.path.clone(),
            offset,
            reason: reason.to_owned(),
        }
    }
}
