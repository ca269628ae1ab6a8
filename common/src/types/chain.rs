//! The chain of a run as the scheduler and the workers both hold it.

use std::collections::BTreeMap;

use super::ComponentHash;
use crate::fabric::Address;
use crate::proto;

/// A worker, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerAddress {
    pub name: String,
    pub address: Address,
}

/// One stage of the chain and who is to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub class: String,
    /// The component that the run has pinned; absent: whatever the worker has under this class by itself.
    pub component: Option<ComponentHash>,
    /// Its number in the application file.
    pub order: u32,
    /// Absent when no worker was left for it: the scheduler is asked for one.
    pub worker: Option<WorkerAddress>,
    pub timeout_ms: Option<u64>,
    /// As the application file gives them, by name.
    pub options: BTreeMap<String, String>,
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
        Self {
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
