//! The durable part of a partition's gossip: what was applied here, and the entries kept for peers that lack them.

use std::collections::VecDeque;

use super::message::{Entry, EntryKind};
use super::timestamp::Timestamp;

/// Entries kept for peers that lack them; a peer further behind copies the partition's state.
pub const LOG_ENTRIES_MAX: usize = 4_096;
/// Bytes of the entries kept.
pub const LOG_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Spread {
    /// What was applied here.
    pub timestamp: Timestamp,
    /// What is no longer (or never was) in the log.
    pub dropped: Timestamp,
    /// In the order of application, so causal.
    log: VecDeque<Entry>,
    log_bytes: usize,
    /// Entries ever dropped from the front: the index of the first one kept.
    first: u64,
}

impl Spread {
    /// As a checkpoint holds it; `log` begins at the index `first`.
    pub fn restore(
        timestamp: Timestamp,
        dropped: Timestamp,
        first: u64,
        log: VecDeque<Entry>,
    ) -> Self {
        Self {
            timestamp,
            dropped,
            log_bytes: log.iter().map(entry_bytes).sum(),
            log,
            first,
        }
    }

    /// Takes the next entry of its origin; the oldest give way to it.
    pub(super) fn push(&mut self, entry: Entry) {
        self.timestamp.advance(entry.origin, entry.sequence);
        self.log_bytes += entry_bytes(&entry);
        self.log.push_back(entry);
        while self.log.len() > LOG_ENTRIES_MAX
            || (self.log_bytes > LOG_BYTES_MAX && self.log.len() > 1)
        {
            self.pop();
        }
    }

    /// All that the timestamp covers has been copied from another replica.
    pub(super) fn catch_up(&mut self, timestamp: &Timestamp) {
        self.timestamp.merge(timestamp);
        self.dropped.merge(timestamp);
    }

    /// Drops entries from the front as long as all who need them have them.
    pub(super) fn truncate(&mut self, is_spread: impl Fn(&Entry) -> bool) {
        while self.log.front().is_some_and(&is_spread) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(entry) = self.log.pop_front() {
            self.dropped.advance(entry.origin, entry.sequence);
            self.log_bytes -= entry_bytes(&entry);
            self.first += 1;
        }
    }

    pub fn log(&self) -> &VecDeque<Entry> {
        &self.log
    }

    /// The index of the first entry kept; indices count from 0 for ever.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The index of the entry that comes next.
    pub fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    /// True when the entry is the next of its origin and what it builds on is here.
    pub fn is_next(&self, entry: &Entry) -> bool {
        entry.sequence == self.timestamp.get(entry.origin) + 1
            && self.timestamp.covers(&entry.previous)
    }

    pub(super) fn has(&self, entry: &Entry) -> bool {
        entry.sequence <= self.timestamp.get(entry.origin)
    }
}

pub fn entry_bytes(entry: &Entry) -> usize {
    let what = match &entry.what {
        EntryKind::Write { made, note, .. } => {
            let parts = made.value.iter().chain(note);
            parts.map(bytes::Bytes::len).sum()
        }
        EntryKind::Decided(decided) => decided.bytes() + 64 * decided.decisions.len(),
    };
    // The fixed part: ids, versions and timestamps.
    128 + entry.record.len() + what
}
