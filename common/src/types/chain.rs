//! The chain of a run as the scheduler and the workers both hold it.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::ComponentHash;
use crate::fabric::Address;
use crate::proto;

/// A worker, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerAddress {
    pub name: String,
    pub address: Address,
}

/// How the items of the stage before are dealt to the tasks of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dealing {
    /// One task gets all.
    Whole,
    /// A task for each chunk of items.
    Chunks,
    /// So many tasks, at least 1: each gets one partition of the items' keys.
    Partitions(u32),
}

impl Dealing {
    /// Whether the stage has tasks of its own, which the scheduler deals.
    pub fn is_parallel(self) -> bool {
        self != Self::Whole
    }
}

/// The partition, from 0, of the items with this key. Equal everywhere and for ever.
pub fn partition_of_key(key: &str, partitions: u32) -> u32 {
    let place = xxh3_64(key.as_bytes()) % u64::from(partitions.max(1));
    // Smaller than a u32.
    u32::try_from(place).unwrap_or(0)
}

/// What one attempt at a task has left at its worker for the tasks of the `reduce` behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    pub task: u32,
    pub attempt: u32,
}

/// What tasks have left at one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub worker: WorkerAddress,
    /// In the order of their tasks.
    pub parts: Vec<Part>,
}

/// One stage of the chain and who is to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub class: String,
    /// The component that the run has pinned; absent: whatever the worker has under this class by itself.
    pub component: Option<ComponentHash>,
    /// Its number in the application file.
    pub order: u32,
    pub dealing: Dealing,
    /// Absent when no worker was left for it: the scheduler is asked for one.
    pub worker: Option<WorkerAddress>,
    pub timeout_ms: Option<u64>,
    /// As the application file gives them, by name.
    pub options: BTreeMap<String, String>,
}

impl Link {
    /// The number of partitions into which the items for this stage are divided where they are made; absent: they are
    /// not.
    pub fn partitions(&self) -> Option<u32> {
        match self.dealing {
            Dealing::Partitions(partitions) => Some(partitions),
            Dealing::Whole | Dealing::Chunks => None,
        }
    }
}

impl From<Part> for proto::Part {
    fn from(Part { task, attempt }: Part) -> Self {
        Self { task, attempt }
    }
}

impl From<proto::Part> for Part {
    fn from(proto::Part { task, attempt }: proto::Part) -> Self {
        Self { task, attempt }
    }
}

impl From<&Source> for proto::Source {
    fn from(source: &Source) -> Self {
        Self {
            worker: Some((&source.worker).into()),
            parts: source.parts.iter().copied().map(Into::into).collect(),
        }
    }
}

impl From<&WorkerAddress> for proto::WorkerAddress {
    fn from(worker: &WorkerAddress) -> Self {
        Self {
            name: worker.name.clone(),
            url: worker.address.to_string(),
        }
    }
}

/// Without output: that is what the stage will add.
impl From<&Link> for proto::Assignment {
    fn from(link: &Link) -> Self {
        let kind = match link.dealing {
            Dealing::Whole => proto::StageKind::Operator,
            Dealing::Chunks => proto::StageKind::Map,
            Dealing::Partitions(_) => proto::StageKind::Reduce,
        };
        Self {
            kind: kind.into(),
            partitions: link.partitions().unwrap_or(0),
            class: link.class.clone(),
            component: link.component.map(|hash| hash.bytes().to_vec().into()),
            order: link.order,
            worker: link.worker.as_ref().map(Into::into),
            output: Vec::new(),
            timeout_ms: link.timeout_ms,
            options: link.options.clone(),
        }
    }
}
