//! Which versions have become visible at this node, in this order: what watchers are told.
//!
//! In memory, of this life only, and bounded: who has fallen behind its beginning is told the newest version of every
//! record instead. A version counts once, by whichever way it came: from a client, by gossip, with a vote, in a copy of
//! state.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

use common::types::{PartitionId, RecordId, ReplicaId, Version};

/// Changes kept.
pub const CHANGES_MAX: usize = 65_536;
/// Bytes of their record ids; values are where the records are.
pub const CHANGES_BYTES_MAX: usize = 16 << 20;

/// A place in one partition's changes: everything before it has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Whose changes, and of which of its lives.
    pub replica: ReplicaId,
    pub incarnation: u64,
    /// Of the next change in its log.
    pub index: u64,
    /// Of what the replica held of the partition there: by it another replica, or life, finds the same place.
    pub hash: u64,
}

/// A version that became visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub partition: PartitionId,
    pub record: RecordId,
    pub version: Version,
    /// Of the partition, before this version was there.
    pub hash_before: u64,
}

/// The log of one life of one node.
#[derive(Debug, Clone)]
pub struct Changes {
    replica: ReplicaId,
    incarnation: u64,
    log: VecDeque<Made>,
    bytes: usize,
    /// Index of the first one kept.
    first: u64,
}

/// No node does anything to another because of them: nodes that differ only here behave alike.
impl Hash for Changes {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Changes {
    pub fn new(replica: ReplicaId, incarnation: u64) -> Self {
        Self {
            replica,
            incarnation,
            log: VecDeque::new(),
            bytes: 0,
            first: 0,
        }
    }

    /// The same life goes on, but some of what it had logged is gone: no index is used twice.
    pub fn begin_behind(&mut self, other: &Self) {
        self.first = self.first.max(other.end());
    }

    pub fn push(&mut self, made: Made) {
        self.bytes += made.record.len();
        self.log.push_back(made);
        while self.log.len() > CHANGES_MAX || self.bytes > CHANGES_BYTES_MAX {
            let Some(oldest) = self.log.pop_front() else {
                return;
            };
            self.bytes -= oldest.record.len();
            self.first += 1;
        }
    }

    /// The index that the next change will have.
    pub fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    /// The mark at an index of this log.
    pub fn mark(&self, index: u64, hash: u64) -> Mark {
        Mark {
            replica: self.replica,
            incarnation: self.incarnation,
            index,
            hash,
        }
    }

    /// True when everything behind the mark is in this log.
    pub fn reach_back_to(&self, mark: &Mark) -> bool {
        (mark.replica, mark.incarnation) == (self.replica, self.incarnation)
            && self.has_all_since(mark.index)
    }

    pub fn has_all_since(&self, index: u64) -> bool {
        (self.first..=self.end()).contains(&index)
    }

    /// The changes from this index on, with their indices.
    pub fn since(&self, index: u64) -> impl Iterator<Item = (u64, &Made)> {
        let skipped = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let kept = self.log.range(skipped.min(self.log.len())..);
        (index.max(self.first)..).zip(kept)
    }

    /// Where this node held of each partition exactly what hashes to this; absent: nowhere that is still logged.
    pub fn find(&self, hashes: &BTreeMap<PartitionId, u64>) -> BTreeMap<PartitionId, u64> {
        if hashes.is_empty() {
            return BTreeMap::new();
        }
        let is_sought =
            |(_, made): &(u64, &Made)| hashes.get(&made.partition) == Some(&made.hash_before);
        self.since(self.first)
            .filter(is_sought)
            .map(|(index, made)| (made.partition, index))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(partition: PartitionId, record: &str, hash_before: u64) -> Made {
        Made {
            partition,
            record: record.to_owned(),
            version: Version::write(0, 1),
            hash_before,
        }
    }

    fn records(changes: &Changes, index: u64) -> Vec<(u64, &str)> {
        let since = changes.since(index);
        since.map(|(at, made)| (at, &*made.record)).collect()
    }

    #[test]
    fn changes_are_told_from_an_index_on() {
        let mut changes = Changes::new(1, 7);
        assert_eq!(changes.end(), 0);
        changes.push(made(0, "a", 10));
        changes.push(made(1, "b", 20));
        assert_eq!(records(&changes, 0), [(0, "a"), (1, "b")]);
        assert_eq!(records(&changes, 1), [(1, "b")]);
        assert_eq!(records(&changes, 2), []);
        assert_eq!(changes.end(), 2);
    }

    #[test]
    fn only_a_mark_of_this_life_whose_successors_are_kept_is_reached_back_to() {
        let mut changes = Changes::new(1, 7);
        let start = changes.mark(0, 0);
        assert!(changes.reach_back_to(&start));
        assert!(!changes.reach_back_to(&Mark {
            replica: 2,
            ..start
        }));
        assert!(!changes.reach_back_to(&Mark {
            incarnation: 8,
            ..start
        }));
        assert!(!changes.reach_back_to(&Mark { index: 1, ..start }));
        for _ in 0..=CHANGES_MAX {
            changes.push(made(0, "k", 0));
        }
        assert!(!changes.reach_back_to(&start));
        assert!(changes.reach_back_to(&Mark { index: 1, ..start }));
        assert_eq!(changes.end(), CHANGES_MAX as u64 + 1);
        assert_eq!(changes.since(0).count(), CHANGES_MAX);
        assert_eq!(changes.since(0).next().unwrap().0, 1);
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let mut changes = Changes::new(1, 7);
        let long = "k".repeat(1 << 10);
        for _ in 0..2 * (CHANGES_BYTES_MAX >> 10) {
            changes.push(made(0, &long, 0));
        }
        assert_eq!(changes.since(0).count(), CHANGES_BYTES_MAX >> 10);
    }

    #[test]
    fn another_replica_finds_the_place_where_it_held_the_same() {
        let mut changes = Changes::new(1, 7);
        changes.push(made(0, "a", 10));
        changes.push(made(1, "b", 10));
        changes.push(made(0, "c", 11));
        let found = changes.find(&[(0, 11), (1, 12)].into());
        assert_eq!(found, [(0, 2)].into());
    }

    #[test]
    fn a_life_that_has_lost_its_log_uses_no_index_twice() {
        let mut before = Changes::new(1, 7);
        before.push(made(0, "a", 10));
        let mut after = Changes::new(1, 7);
        after.begin_behind(&before);
        assert!(!after.reach_back_to(&before.mark(0, 10)));
        assert_eq!((after.end(), after.since(0).count()), (1, 0));
    }
}
