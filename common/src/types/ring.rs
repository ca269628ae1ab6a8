//! The membership and the settings on which all nodes of a cluster must agree.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

use xxhash_rust::xxh3::Xxh3;

use super::ReplicaId;
use crate::fabric::Address;
use crate::proto;

/// Which replicas must agree to an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitMode {
    /// A majority of the record's replicas, crashed ones counted.
    Majority,
    /// Every replica that is not certified dead.
    FailStop,
}

impl FromStr for CommitMode {
    type Err = RingError;

    fn from_str(text: &str) -> Result<Self, RingError> {
        match text {
            "majority" => Ok(Self::Majority),
            "fail-stop" => Ok(Self::FailStop),
            _ => Err(RingError(format!(
                "`{text}` is not a commit mode: expected majority or fail-stop"
            ))),
        }
    }
}

impl fmt::Display for CommitMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Majority => "majority",
            Self::FailStop => "fail-stop",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingNode {
    pub name: String,
    pub replica: ReplicaId,
    pub address: Address,
}

/// Members in order of replica id, and the cluster's settings. Invariant: made only by [`Ring::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    pub epoch: u64,
    pub nodes: Vec<RingNode>,
    /// Distinct nodes that hold a record: 1 ..= nodes.
    pub replication: u32,
    pub partitions: u32,
    pub commit: CommitMode,
    /// Versions kept per record, at least 1.
    pub max_versions: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RingError(pub String);

impl Ring {
    pub const PARTITIONS_DEFAULT: u32 = 256;
    pub const MAX_VERSIONS_DEFAULT: u32 = 10;
    pub const REPLICATION_DEFAULT: u32 = 3;
    /// The masks of the update protocol and the points of the hash ring are sized for this many.
    pub const NODES_MAX: usize = 64;

    /// `nodes` as `(name, address)` in order of replica id from 1; `replication` absent: all nodes up to 3.
    pub fn new(
        nodes: Vec<(String, Address)>,
        replication: Option<u32>,
        commit: CommitMode,
        max_versions: u32,
    ) -> Result<Self, RingError> {
        let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let nodes = (1..)
            .zip(nodes)
            .map(|(replica, (name, address))| RingNode {
                name,
                replica,
                address,
            })
            .collect();
        Self {
            epoch: 1,
            nodes,
            replication: replication.unwrap_or(count.min(Self::REPLICATION_DEFAULT)),
            partitions: Self::PARTITIONS_DEFAULT,
            commit,
            max_versions,
        }
        .validated()
    }

    /// Parses `ID=URL,ID=URL`, the form of `--ring`; replica ids are the positions, from 1.
    pub fn parse_nodes(text: &str) -> Result<Vec<(String, Address)>, RingError> {
        text.split(',')
            .map(|entry| {
                let (name, url) = entry
                    .trim()
                    .split_once('=')
                    .ok_or_else(|| RingError(format!("`{entry}` in the ring is not ID=URL")))?;
                let address = Address::parse(url)
                    .map_err(|error| RingError(format!("`{entry}` in the ring: {error}")))?;
                Ok((name.to_owned(), address))
            })
            .collect()
    }

    fn validated(self) -> Result<Self, RingError> {
        let wrong = |message: String| Err(RingError(message));
        let count = self.nodes.len();
        if count == 0 || count > Self::NODES_MAX {
            return wrong(format!(
                "a ring has 1 to {} storage nodes, not {count}",
                Self::NODES_MAX
            ));
        }
        if self.replication == 0 || self.replication as usize > count {
            return wrong(format!(
                "replication is {}, but the ring has {count} storage node(s)",
                self.replication
            ));
        }
        if self.max_versions == 0 || self.partitions == 0 || self.epoch == 0 {
            return wrong(
                "max_versions, partitions and the ring's epoch are at least 1".to_owned(),
            );
        }
        let names: BTreeSet<_> = self.nodes.iter().map(|node| &node.name).collect();
        let replicas: BTreeSet<_> = self.nodes.iter().map(|node| node.replica).collect();
        let addresses: BTreeSet<_> = self.nodes.iter().map(|node| &node.address).collect();
        if names.len() < count
            || replicas.len() < count
            || addresses.len() < count
            || replicas.contains(&0)
        {
            return wrong(
                "two storage nodes of the ring share a name, a replica id or a URL".to_owned(),
            );
        }
        Ok(self)
    }

    pub fn node(&self, replica: ReplicaId) -> Option<&RingNode> {
        self.nodes.iter().find(|node| node.replica == replica)
    }

    pub fn node_named(&self, name: &str) -> Option<&RingNode> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// What another ring says otherwise, for people: `replication 2 instead of 3`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let members = |ring: &Self| {
            let members = ring.nodes.iter();
            let texts = members.map(|node| format!("{}={}", node.name, node.address));
            texts.collect::<Vec<_>>().join(",")
        };
        let settings = |ring: &Self| {
            [
                ("storage nodes", members(ring)),
                ("replication", ring.replication.to_string()),
                ("commit", ring.commit.to_string()),
                ("max_versions", ring.max_versions.to_string()),
                ("partitions", ring.partitions.to_string()),
                ("epoch", ring.epoch.to_string()),
            ]
        };
        let pairs = settings(self).into_iter().zip(settings(other));
        pairs
            .filter(|((_, own), (_, others))| own != others)
            .map(|((name, own), (_, others))| format!("{name} {own} instead of {others}"))
            .collect()
    }

    /// Equal exactly when all settings and members are: peers of different settings refuse one another.
    pub fn settings_hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        hasher.update(&prost::Message::encode_to_vec(&proto::Ring::from(self)));
        hasher.finish()
    }
}

impl From<&Ring> for proto::Ring {
    fn from(ring: &Ring) -> Self {
        Self {
            epoch: ring.epoch,
            nodes: ring
                .nodes
                .iter()
                .map(|node| proto::RingNode {
                    name: node.name.clone(),
                    replica: node.replica,
                    url: node.address.to_string(),
                })
                .collect(),
            replication: ring.replication,
            partitions: ring.partitions,
            commit: match ring.commit {
                CommitMode::Majority => proto::CommitMode::Majority,
                CommitMode::FailStop => proto::CommitMode::FailStop,
            } as i32,
            max_versions: ring.max_versions,
        }
    }
}

impl TryFrom<proto::Ring> for Ring {
    type Error = RingError;

    fn try_from(ring: proto::Ring) -> Result<Self, RingError> {
        let commit = match ring.commit() {
            proto::CommitMode::Majority => CommitMode::Majority,
            proto::CommitMode::FailStop => CommitMode::FailStop,
            proto::CommitMode::Unspecified => {
                return Err(RingError("the ring names no commit mode".to_owned()));
            }
        };
        let nodes = ring
            .nodes
            .into_iter()
            .map(|node| {
                let address =
                    Address::parse(&node.url).map_err(|error| RingError(error.to_string()))?;
                Ok(RingNode {
                    name: node.name,
                    replica: node.replica,
                    address,
                })
            })
            .collect::<Result<_, RingError>>()?;
        Self {
            epoch: ring.epoch,
            nodes,
            replication: ring.replication,
            partitions: ring.partitions,
            commit,
            max_versions: ring.max_versions,
        }
        .validated()
    }
}
