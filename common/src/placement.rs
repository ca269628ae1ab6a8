//! Which storage nodes hold a record: consistent hashing over a fixed number of partitions (STORAGE.md §3).
//!
//! Deterministic: every node computes the same table from the same ring.

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::types::{PartitionId, ReplicaId, Ring};

/// Points of each node on the hash ring; more points spread the partitions more evenly.
const POINTS_PER_NODE: u32 = 512;

/// The replica set of every partition, computed once per ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// By partition: distinct replica ids in ring order; the first believed alive coordinates updates.
    replica_sets: Vec<Vec<ReplicaId>>,
}

impl Placement {
    pub fn new(ring: &Ring) -> Self {
        let mut points = HashRing::with_hasher(StableHasher);
        points.batch_add(
            ring.nodes
                .iter()
                .flat_map(|node| {
                    (0..POINTS_PER_NODE).map(|index| Point {
                        name_hash: xxh3_64(node.name.as_bytes()),
                        replica: node.replica,
                        index,
                    })
                })
                .collect(),
        );
        let replica_sets = (0..ring.partitions)
            .map(|partition| replica_set(&points, partition, ring.replication as usize))
            .collect();
        Self { replica_sets }
    }

    pub fn partition(&self, record: &str) -> PartitionId {
        let partitions = self.replica_sets.len().max(1) as u64;
        // Less than the number of partitions, which is a u32.
        #[allow(clippy::cast_possible_truncation)]
        let partition = (xxh3_64(record.as_bytes()) % partitions) as PartitionId;
        partition
    }

    /// Empty only for a partition that does not exist.
    pub fn replicas(&self, partition: PartitionId) -> &[ReplicaId] {
        self.replica_sets
            .get(partition as usize)
            .map_or(&[], Vec::as_slice)
    }

    pub fn replicas_of(&self, record: &str) -> &[ReplicaId] {
        self.replicas(self.partition(record))
    }

    /// All partitions which this replica holds.
    pub fn held_by(&self, replica: ReplicaId) -> impl Iterator<Item = PartitionId> {
        (0..)
            .zip(&self.replica_sets)
            .filter(move |(_, set)| set.contains(&replica))
            .map(|(partition, _)| partition)
    }
}

/// The crate returns points, not nodes, and repeats some: walk on until enough distinct nodes are found.
fn replica_set(
    points: &HashRing<Point, StableHasher>,
    partition: PartitionId,
    replication: usize,
) -> Vec<ReplicaId> {
    let mut set = Vec::with_capacity(replication);
    let walk = points
        .get_with_replicas(&partition, points.len())
        .unwrap_or_default();
    for point in walk {
        if set.len() == replication {
            break;
        }
        if !set.contains(&point.replica) {
            set.push(point.replica);
        }
    }
    set
}

/// One of a node's places on the ring. Hashed by the node's name, so that a node keeps its places whatever joins or
/// leaves before it.
#[derive(Debug, Clone, Copy)]
struct Point {
    name_hash: u64,
    replica: ReplicaId,
    index: u32,
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name_hash.hash(state);
        self.index.hash(state);
    }
}

/// The same on every machine and in every version of Rust, unlike the standard library's default.
#[derive(Clone, Copy)]
struct StableHasher;

impl BuildHasher for StableHasher {
    type Hasher = Xxh3;

    fn build_hasher(&self) -> Xxh3 {
        Xxh3::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Address;
    use crate::types::CommitMode;
    use std::collections::BTreeMap;

    fn ring(names: &[&str], replication: u32) -> Ring {
        let nodes = (1u16..).zip(names).map(|(port, name)| {
            (
                (*name).to_owned(),
                Address::parse(&format!("localhost:{port}")).unwrap(),
            )
        });
        Ring::new(nodes.collect(), Some(replication), CommitMode::FailStop, 10).unwrap()
    }

    #[test]
    fn every_partition_has_distinct_replicas() {
        let placement = Placement::new(&ring(&["s1", "s2", "s3", "s4", "s5"], 3));
        for partition in 0..Ring::PARTITIONS_DEFAULT {
            let mut set = placement.replicas(partition).to_vec();
            set.sort_unstable();
            set.dedup();
            assert_eq!(set.len(), 3);
        }
    }

    #[test]
    fn replication_by_all_nodes_places_every_record_on_all() {
        let placement = Placement::new(&ring(&["s1", "s2"], 2));
        assert_eq!(placement.held_by(1).count(), 256);
        assert_eq!(placement.held_by(2).count(), 256);
    }

    #[test]
    fn first_replicas_are_spread_evenly() {
        let placement = Placement::new(&ring(&["s1", "s2", "s3", "s4"], 2));
        let mut first = BTreeMap::new();
        for partition in 0..Ring::PARTITIONS_DEFAULT {
            *first.entry(placement.replicas(partition)[0]).or_insert(0) += 1;
        }
        // 64 each would be perfect.
        assert!(
            first.values().all(|count| (40..=90).contains(count)),
            "{first:?}"
        );
    }

    #[test]
    fn a_leaving_node_moves_only_its_own_share() {
        let before = Placement::new(&ring(&["s1", "s2", "s3", "s4"], 1));
        let mut smaller = ring(&["s1", "s2", "s3", "s4"], 1);
        smaller.nodes.retain(|node| node.replica != 3);
        let after = Placement::new(&smaller);
        for partition in 0..Ring::PARTITIONS_DEFAULT {
            if before.replicas(partition) != [3] {
                assert_eq!(before.replicas(partition), after.replicas(partition));
            }
        }
    }

    #[test]
    fn placement_never_changes_between_versions() {
        let placement = Placement::new(&ring(&["s1", "s2", "s3"], 2));
        let golden: Vec<_> = ["13", "14", "23", "24"]
            .map(|id| (placement.partition(id), placement.replicas_of(id)))
            .into();
        expect_test::expect![[r"
            [
                (
                    202,
                    [
                        3,
                        1,
                    ],
                ),
                (
                    6,
                    [
                        2,
                        3,
                    ],
                ),
                (
                    232,
                    [
                        1,
                        2,
                    ],
                ),
                (
                    132,
                    [
                        1,
                        3,
                    ],
                ),
            ]
        "]]
        .assert_debug_eq(&golden);
    }
}
