//! Vector timestamps of one partition: per replica, how many of its updates are known.

use common::types::ReplicaId;

/// By replica, in rising order: there are few of them, and many timestamps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Timestamp(Vec<(ReplicaId, u64)>);

impl Timestamp {
    pub fn get(&self, replica: ReplicaId) -> u64 {
        let known = self.0.iter().find(|(of, _)| *of == replica);
        known.map_or(0, |(_, count)| *count)
    }

    /// Never goes back.
    pub fn advance(&mut self, replica: ReplicaId, count: u64) {
        match self.0.iter_mut().find(|(of, _)| *of >= replica) {
            Some((of, known)) if *of == replica => *known = count.max(*known),
            _ => {
                let place = self.0.partition_point(|(of, _)| *of < replica);
                self.0.insert(place, (replica, count));
            }
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (replica, count) in other.iter() {
            self.advance(replica, count);
        }
    }

    /// True when everything in `other` is known here.
    pub fn covers(&self, other: &Self) -> bool {
        other
            .iter()
            .all(|(replica, count)| self.get(replica) >= count)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, u64)> {
        self.0.iter().copied()
    }
}

impl FromIterator<(ReplicaId, u64)> for Timestamp {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, u64)>>(counts: I) -> Self {
        let mut timestamp = Self::default();
        for (replica, count) in counts {
            timestamp.advance(replica, count);
        }
        timestamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_covers_what_it_has_merged_and_no_more() {
        let mut a: Timestamp = [(1, 3)].into_iter().collect();
        let b: Timestamp = [(1, 2), (2, 1)].into_iter().collect();
        assert!(!a.covers(&b));
        a.merge(&b);
        assert!(a.covers(&b) && !b.covers(&a));
        assert_eq!((a.get(1), a.get(2), a.get(3)), (3, 1, 0));
    }
}
