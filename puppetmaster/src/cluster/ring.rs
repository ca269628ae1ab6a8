//! The set of storage nodes: sealed by the first command that uses the storage, and the certificates of their deaths.

use super::{CALL_MAX, Cluster, Node, POLL_INTERVAL, Phase};
use crate::language::Role;
use crate::outcome::Failure;
use common::client::StorageClient;
use common::fabric::Address;
use common::proto::{CertifyDeathRequest, SetRingRequest, scheduler, storage};
use common::status::Status;
use common::types::Ring;
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;

/// How long a living node may take to acknowledge that another is dead.
const CERTIFY_MAX: Duration = Duration::from_secs(5);

impl Cluster {
    /// The storage, for a command that uses it. The first such command seals the set of storage nodes: all of them
    /// and the scheduler are told the ring, in which replica ids follow the order of creation.
    pub async fn storage(&self) -> Result<StorageClient, Failure> {
        let (ring, client) = {
            let state = self.state();
            (state.ring.clone(), state.storage.clone())
        };
        match (ring, client) {
            (_, Some(client)) => Ok(client),
            (Some(ring), None) => Ok(self.keep_client(ring)),
            (None, None) => self.seal().await,
        }
    }

    async fn seal(&self) -> Result<StorageClient, Failure> {
        if self.connected {
            return self.ring_of_others().await;
        }
        self.role_settled(Role::Storage).await?;
        let settings = self.settings();
        let members: Vec<(String, Address)> = self
            .nodes()
            .into_iter()
            .filter(|(_, node)| {
                node.role == Role::Storage && !matches!(node.phase, Phase::Failed(_))
            })
            .map(|(name, node)| (name, node.address))
            .collect();
        if members.is_empty() {
            return Err(Failure::new("this needs a storage node, and there is none"));
        }
        let ring = Ring::new(
            members,
            settings.replication,
            settings.commit,
            settings.max_versions,
        );
        let ring = Arc::new(ring.map_err(|error| Failure::new(error.to_string()))?);
        // From here on a node that becomes ready is told by `introduce_ring`; the others are told below.
        let ready: Vec<(String, Node)> = self.change(|state| {
            state.ring = Some(Arc::clone(&ring));
            let ready = state.nodes.iter().filter(|(_, node)| node.is_ready());
            ready
                .map(|(name, node)| (name.clone(), node.clone()))
                .collect()
        });
        let request = SetRingRequest {
            ring: Some((&*ring).into()),
            fresh: true,
        };
        let told = join_all(
            ready
                .iter()
                .map(|(name, node)| self.set_ring(name, node, &request)),
        )
        .await;
        told.into_iter().collect::<Result<(), Failure>>()?;
        let dead = self
            .nodes()
            .into_iter()
            .filter(|(_, node)| matches!(node.phase, Phase::Down(_)));
        for (name, _) in dead {
            self.certify_death(&name).await;
        }
        Ok(self.keep_client(ring))
    }

    /// The ring of a cluster that was started by hand may have become known since.
    async fn ring_of_others(&self) -> Result<StorageClient, Failure> {
        self.refresh().await?;
        let ring = self.state().ring.clone();
        let ring = ring.ok_or_else(|| {
            Failure::new("the scheduler of this cluster knows no storage nodes yet")
        })?;
        Ok(self.keep_client(ring))
    }

    /// The client is kept, since it remembers which replicas failed lately.
    fn keep_client(&self, ring: Arc<Ring>) -> StorageClient {
        let rotation = usize::try_from(self.settings().seed).unwrap_or_default();
        let client = StorageClient::new(self.fabric.clone(), ring, rotation);
        self.change(|state| state.storage = Some(client.clone()));
        client
    }

    /// A new seed takes effect from the next storage command on.
    pub fn forget_client(&self) {
        self.change(|state| state.storage = None);
    }

    /// Tells a node that became ready after the sealing: it joins, and learns who is dead.
    pub(super) async fn introduce_ring(
        &self,
        name: &str,
        node: &Node,
        ring: &Ring,
    ) -> Result<(), Failure> {
        let request = SetRingRequest {
            ring: Some(ring.into()),
            fresh: false,
        };
        self.set_ring(name, node, &request).await?;
        let dead = self
            .nodes()
            .into_iter()
            .filter(|(_, node)| matches!(node.phase, Phase::Down(_)));
        for (dead_name, dead_node) in dead {
            let request = certificate(&dead_name, ring);
            self.tell_death(node, &dead_node, &request).await?;
        }
        Ok(())
    }

    async fn set_ring(
        &self,
        name: &str,
        node: &Node,
        request: &SetRingRequest,
    ) -> Result<(), Failure> {
        let (fabric, address) = (self.fabric.clone(), node.address.clone());
        let told = match node.role {
            Role::Scheduler => {
                scheduler::Client::new(fabric, address, CALL_MAX)
                    .set_ring(request)
                    .await
            }
            Role::Storage => {
                storage::Client::new(fabric, address, CALL_MAX)
                    .set_ring(request)
                    .await
            }
            // Workers learn it with the answer to their next heartbeat.
            Role::Worker => return Ok(()),
        };
        told.map_err(|status| {
            Failure::new(format!(
                "node `{name}` did not take the ring: {}",
                status.message
            ))
        })?;
        Ok(())
    }

    /// Tells the living that a node's process was reaped, so that nobody waits for it any longer. Returns when all
    /// have acknowledged, or have gone themselves, or [`CERTIFY_MAX`] has passed.
    pub(super) async fn certify_death(&self, name: &str) {
        let Some(dead) = self.node(name) else { return };
        let Some(ring) = self.state().ring.clone() else {
            return;
        };
        let request = certificate(name, &ring);
        let living = self
            .nodes()
            .into_iter()
            .filter(|(other, node)| other != name && node.is_ready());
        let telling = living.map(|(other, node)| {
            let (dead, request) = (&dead, &request);
            async move { self.insist_on_death(&other, &node, dead, request).await }
        });
        join_all(telling).await;
    }

    async fn insist_on_death(
        &self,
        name: &str,
        node: &Node,
        dead: &Node,
        request: &CertifyDeathRequest,
    ) {
        let until_ms =
            self.fabric.now_ms() + u64::try_from(CERTIFY_MAX.as_millis()).unwrap_or_default();
        loop {
            let Err(failure) = self.tell_death(node, dead, request).await else {
                return;
            };
            if !self.node(name).is_some_and(|node| node.is_ready()) {
                return;
            }
            if self.fabric.now_ms() >= until_ms {
                let why = failure.message();
                self.output.message(format!(
                    "node `{name}` was not told that `{}` is dead: {why}",
                    request.name
                ));
                return;
            }
            self.fabric.sleep(POLL_INTERVAL).await;
        }
    }

    /// Storage nodes are told of dead storage nodes, the scheduler of dead workers.
    async fn tell_death(
        &self,
        node: &Node,
        dead: &Node,
        request: &CertifyDeathRequest,
    ) -> Result<(), Failure> {
        let (fabric, address) = (self.fabric.clone(), node.address.clone());
        let told: Result<_, Status> = match (node.role, dead.role) {
            (Role::Storage, Role::Storage) => {
                storage::Client::new(fabric, address, CALL_MAX)
                    .certify_death(request)
                    .await
            }
            (Role::Scheduler, Role::Worker) => {
                scheduler::Client::new(fabric, address, CALL_MAX)
                    .certify_death(request)
                    .await
            }
            _ => return Ok(()),
        };
        told?;
        Ok(())
    }
}

/// The replica id is 0 for a node that is no storage node of the ring.
fn certificate(name: &str, ring: &Ring) -> CertifyDeathRequest {
    let replica = ring.node_named(name).map_or(0, |node| node.replica);
    CertifyDeathRequest {
        name: name.to_owned(),
        replica,
    }
}
