//! The set of storage nodes: sealed by the first command that uses the storage, and the certificates of their deaths.

use super::{CALL_MAX, Cluster, Node, POLL_INTERVAL, Phase};
use crate::language::Role;
use crate::outcome::Failure;
use common::client::StorageClient;
use common::fabric::Address;
use common::proto::{
    CertifyDeathRequest, CertifyReplicaDeathRequest, SetRingRequest, scheduler, storage,
};
use common::status::Status;
use common::types::{ReplicaId, Ring};
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;

/// How long a living node may take to acknowledge that another is dead.
const CERTIFY_MAX: Duration = Duration::from_secs(5);

impl Cluster {
    /// The storage, for a command that uses it. The first such command seals the set of storage nodes: all of them
    /// and the scheduler are told the ring, in which replica ids follow the order of creation.
    pub async fn storage(&self) -> Result<StorageClient, Failure> {
        let _sealing = self.sealing.lock().await;
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
        self.all_started_for_data()?;
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
        let fresh = !self.has_data(&ring).await?;
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
            fresh,
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
        for (name, node) in dead {
            self.certify_death(&name, &node).await;
        }
        if !fresh {
            self.all_members().await?;
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
        self.tell_deaths_to(node, ring).await
    }

    /// Tells a node that may have missed it who is dead.
    pub(super) async fn tell_deaths(&self, name: &str) -> Result<(), Failure> {
        let ring = self.state().ring.clone();
        match (self.node(name), ring) {
            (Some(node), Some(ring)) => self.tell_deaths_to(&node, &ring).await,
            _ => Ok(()),
        }
    }

    async fn tell_deaths_to(&self, node: &Node, ring: &Ring) -> Result<(), Failure> {
        let dead = self
            .nodes()
            .into_iter()
            .filter(|(_, node)| matches!(node.phase, Phase::Down(_)));
        for (dead_name, dead_node) in dead {
            let certificate = Certificate::new(&dead_name, &dead_node, ring);
            self.tell_death(node, &certificate).await?;
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
        let refused = |status: Status| {
            let why = status.message;
            Failure::new(format!("node `{name}` did not take the ring: {why}"))
        };
        match node.role {
            Role::Scheduler => {
                let client = scheduler::Client::new(fabric, address, CALL_MAX);
                client.set_ring(request).await.map_err(refused)?;
            }
            Role::Storage => {
                let client = storage::Client::new(fabric, address, CALL_MAX);
                let answer = client.set_ring(request).await.map_err(refused)?;
                self.note_incarnation(name, node, answer.incarnation);
            }
            // Workers learn it with the answer to their next heartbeat.
            Role::Worker => {}
        }
        Ok(())
    }

    /// Unless it was started again since `node` was looked at.
    fn note_incarnation(&self, name: &str, node: &Node, incarnation: u64) {
        self.change(|state| {
            let known = state.nodes.get_mut(name);
            if let Some(known) = known.filter(|known| known.previous_pid == node.previous_pid) {
                known.incarnation = incarnation;
            }
        });
    }

    /// Tells the living that a node's process was reaped, so that nobody waits for it any longer. Returns when all
    /// have acknowledged, or have gone themselves, or [`CERTIFY_MAX`] has passed. `dead` is the node as it was when it
    /// died: it may have been started again meanwhile.
    pub(super) async fn certify_death(&self, name: &str, dead: &Node) {
        let Some(ring) = self.state().ring.clone() else {
            return;
        };
        let certificate = Certificate::new(name, dead, &ring);
        let living = self
            .nodes()
            .into_iter()
            .filter(|(other, node)| other != name && node.is_awake());
        let telling = living.map(|(other, node)| {
            let certificate = &certificate;
            async move { self.insist_on_death(&other, &node, certificate).await }
        });
        join_all(telling).await;
    }

    async fn insist_on_death(&self, name: &str, node: &Node, certificate: &Certificate) {
        let until_ms =
            self.fabric.now_ms() + u64::try_from(CERTIFY_MAX.as_millis()).unwrap_or_default();
        loop {
            let Err(failure) = self.tell_death(node, certificate).await else {
                return;
            };
            if !self.node(name).is_some_and(|node| node.is_awake()) {
                return;
            }
            if self.fabric.now_ms() >= until_ms {
                let why = failure.message();
                self.output.message(format!(
                    "node `{name}` was not told that `{}` is dead: {why}",
                    certificate.name
                ));
                return;
            }
            self.fabric.sleep(POLL_INTERVAL).await;
        }
    }

    /// Storage nodes are told of dead storage nodes, the scheduler of dead workers.
    async fn tell_death(&self, node: &Node, dead: &Certificate) -> Result<(), Failure> {
        let (fabric, address) = (self.fabric.clone(), node.address.clone());
        match (node.role, dead.role) {
            (Role::Storage, Role::Storage) => {
                let request = CertifyReplicaDeathRequest {
                    replica: dead.replica,
                    incarnation: dead.incarnation,
                };
                storage::Client::new(fabric, address, CALL_MAX)
                    .certify_death(&request)
                    .await?;
            }
            (Role::Scheduler, Role::Worker) => {
                let request = CertifyDeathRequest {
                    name: dead.name.clone(),
                };
                scheduler::Client::new(fabric, address, CALL_MAX)
                    .certify_death(&request)
                    .await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// One life of a node has ended: its process was reaped.
struct Certificate {
    name: String,
    role: Role,
    /// 0 for a node that is no storage node of the ring.
    replica: ReplicaId,
    /// 0: unknown.
    incarnation: u64,
}

impl Certificate {
    fn new(name: &str, dead: &Node, ring: &Ring) -> Self {
        Self {
            name: name.to_owned(),
            role: dead.role,
            replica: ring.node_named(name).map_or(0, |node| node.replica),
            incarnation: dead.incarnation,
        }
    }
}
