//! The words that begin in a range of a text, which comes in pieces.

use marionette_sdk::OperatorError;

use crate::counts::{Counts, WORD_BYTES_MAX};

/// Counts words as they come. A word that is cut between two pieces is put together; all others are counted where they are.
pub struct Words<'a> {
    counts: &'a mut Counts,
    /// Where the next piece begins, and where the range ends.
    at: u64,
    end: u64,
    /// Whether what comes next may belong to a word that begins before the range.
    is_before: bool,
    /// What there is of a word that may go on in the next piece.
    begun: Vec<u8>,
}

impl<'a> Words<'a> {
    /// The first piece begins one byte before the range, or at 0.
    pub fn new(counts: &'a mut Counts, range: std::ops::Range<u64>) -> Self {
        Self {
            counts,
            at: range.start.saturating_sub(1),
            end: range.end,
            is_before: range.start > 0,
            begun: Vec::new(),
        }
    }

    /// Whether the next piece may have a word of the range.
    pub fn wants_more(&self) -> bool {
        self.at < self.end || !self.begun.is_empty()
    }

    /// Counts the words of the next piece.
    pub fn take(&mut self, mut piece: &[u8]) -> Result<(), OperatorError> {
        if self.is_before {
            piece = self.skip(piece, word_end(piece, 0));
            self.is_before = piece.is_empty();
        }
        if !self.begun.is_empty() {
            let end = word_end(piece, 0);
            self.begun.extend_from_slice(&piece[..end]);
            piece = self.skip(piece, end);
            if !piece.is_empty() || self.begun.len() > WORD_BYTES_MAX {
                self.end()?;
            }
        }
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let begun = count(piece, piece.len().min(left), self.counts)?;
        self.begun.extend_from_slice(begun);
        self.skip(piece, piece.len());
        Ok(())
    }

    /// There is no further piece: what was begun is a word.
    pub fn end(&mut self) -> Result<(), OperatorError> {
        if !self.begun.is_empty() {
            self.counts.add(block(&self.begun, 0), &self.begun)?;
            self.begun.clear();
        }
        Ok(())
    }

    fn skip<'p>(&mut self, piece: &'p [u8], bytes: usize) -> &'p [u8] {
        self.at += bytes as u64;
        &piece[bytes..]
    }
}

/// Counts the words that begin before `last`; returns the one that the piece ends in the middle of, if it does.
fn count<'p>(piece: &'p [u8], last: usize, counts: &mut Counts) -> Result<&'p [u8], OperatorError> {
    let mut at = 0;
    while at < last {
        let next = block(piece, at);
        let (head, end) = match separators(next) {
            0 => (next, word_end(piece, at + 8)),
            found => {
                let length = found.trailing_zeros() / 8;
                (next & !(u64::MAX << (8 * length)), at + length as usize)
            }
        };
        if end == piece.len() {
            return Ok(&piece[at..]);
        }
        if end > at {
            counts.add(head, &piece[at..end])?;
        }
        at = end + 1;
    }
    Ok(&[])
}

/// The next eight bytes, the first one lowest, and 0 where there are none.
fn block(bytes: &[u8], at: usize) -> u64 {
    let rest = &bytes[at.min(bytes.len())..];
    match rest.first_chunk() {
        Some(block) => u64::from_le_bytes(*block),
        None => rest
            .iter()
            .rev()
            .fold(0, |block, byte| block << 8 | u64::from(*byte)),
    }
}

/// The highest bit of the first byte that is at most 32, and maybe of later ones; 0: there is no such byte.
fn separators(block: u64) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    block.wrapping_sub(33 * EACH) & !block & (128 * EACH)
}

/// The place of the next byte that is at most 32.
fn word_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match separators(block(bytes, at)) {
            0 => at += 8,
            found => {
                let end = at + found.trailing_zeros() as usize / 8;
                return end.min(bytes.len());
            }
        }
    }
    bytes.len()
}
