//! A file without a name, to which parts are appended; it vanishes when nobody uses it any more, or with the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

pub struct Spool {
    file: File,
    end: AtomicU64,
}

/// A piece of the file, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    start: u64,
    pub length: u64,
}

impl Region {
    /// From `offset` on, at most this long.
    pub fn part(self, offset: u64, bytes_max: usize) -> Self {
        let offset = offset.min(self.length);
        Self {
            start: self.start + offset,
            length: (self.length - offset).min(bytes_max as u64),
        }
    }
}

impl Spool {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile()?,
            end: AtomicU64::new(0),
        })
    }

    /// Writes the blocks one after another; where each one is.
    pub fn append(&self, blocks: &[Bytes]) -> io::Result<Vec<Region>> {
        let length: u64 = blocks.iter().map(|block| block.len() as u64).sum();
        let mut start = self.end.fetch_add(length, Ordering::Relaxed);
        let mut regions = Vec::with_capacity(blocks.len());
        for block in blocks {
            self.file.write_all_at(block, start)?;
            let length = block.len() as u64;
            regions.push(Region { start, length });
            start += length;
        }
        Ok(regions)
    }

    pub fn read(&self, Region { start, length }: Region) -> io::Result<Bytes> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut block = vec![0; length];
        self.file.read_exact_at(&mut block, start)?;
        Ok(block.into())
    }
}
