//! What every role is and does alike: its identity, its start, its debug lines.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::fabric::{Address, FabricHandle, Serving, encode};
use crate::proto::{self, DebugLine, SetDebugRequest, puppetmaster};
use crate::status::Status;

/// Tells a process which one started it and shall not outlive it. Set by a PCS for its nodes, and by a worker for its
/// children.
pub const PARENT_VARIABLE: &str = "MARIONETTE_PARENT_PID";

/// Longest debug line, in bytes; longer ones are cut.
const DEBUG_LINE_BYTES_MAX: usize = 4096;

/// Who a node is. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    pub name: String,
    /// scheduler, storage, worker.
    pub role: &'static str,
    pub address: Address,
    /// Tells a restarted node from its predecessor: higher with every start.
    pub incarnation: u64,
    started_ms: u64,
    fabric: FabricHandle,
    debug_to: Arc<Mutex<Option<Address>>>,
}

impl Identity {
    pub fn new(fabric: &FabricHandle, name: &str, role: &'static str, address: Address) -> Self {
        Self {
            name: name.to_owned(),
            role,
            address,
            incarnation: fabric.incarnation(),
            started_ms: fabric.now_ms(),
            fabric: fabric.clone(),
            debug_to: Arc::default(),
        }
    }

    /// The part of the answer to `Node.Status` that is alike in all roles.
    pub fn status(
        &self,
        details: Vec<(&str, String)>,
        peers: Vec<proto::PeerStatus>,
    ) -> proto::NodeStatus {
        let detail = |(name, value): (&str, String)| proto::Detail {
            name: name.to_owned(),
            value,
        };
        proto::NodeStatus {
            name: self.name.clone(),
            role: self.role.to_owned(),
            url: self.address.to_string(),
            incarnation: self.incarnation,
            uptime_ms: self.fabric.now_ms().saturating_sub(self.started_ms),
            details: details.into_iter().map(detail).collect(),
            peers,
        }
    }

    /// Answers `Node.SetDebug`: where debug lines go from now on.
    pub fn set_debug(&self, request: &SetDebugRequest) -> Result<(), Status> {
        let to = match request.url.as_str() {
            "" => None,
            url => Some(Address::parse(url).map_err(|error| Status::invalid(error.to_string()))?),
        };
        *self.debug_to.lock().unwrap_or_else(PoisonError::into_inner) = to;
        Ok(())
    }

    /// Sends a line to the puppetmaster, if it listens (`debug` in a script). The line is made only then.
    pub fn debug(&self, line: impl FnOnce() -> String) {
        let to = self
            .debug_to
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(to) = to else { return };
        let mut line = line();
        line.truncate(line.floor_char_boundary(DEBUG_LINE_BYTES_MAX));
        let message = encode(&DebugLine {
            node: self.name.clone(),
            line,
        });
        if let Err(lost) = self
            .fabric
            .send(&to, puppetmaster::DEBUG, message, Duration::ZERO)
        {
            tracing::warn!(%lost, "a debug line was lost");
        }
    }
}

/// Called by a role once it answers requests; `main` prints the readiness line for which a PCS waits.
pub type OnReady = Box<dyn FnOnce(&Serving) + Send>;

/// The readiness line of a node, as printed on standard output.
pub fn readiness_line(name: &str, address: &Address) -> String {
    format!("ready {name} {address}")
}
