//! Deployed components, as the host gets them: from the storage.

use async_trait::async_trait;
use bytes::Bytes;
use common::client::Route;
use common::client::components::Origin;
use common::fabric::FabricHandle;
use common::types::ComponentHash;

use crate::host::Components;
use crate::ring::RingWatch;

/// A component is fetched in this time, or the next task tries again.
const FETCH_MS: u64 = 60_000;

/// The components in the storage.
pub struct StoredComponents {
    pub fabric: FabricHandle,
    pub ring: RingWatch,
    /// The worker's.
    pub name: String,
}

#[async_trait]
impl Components for StoredComponents {
    async fn fetch(&self, hash: ComponentHash) -> Result<Bytes, String> {
        let deadline_ms = self.fabric.now_ms() + FETCH_MS;
        let client = self.ring.client(deadline_ms).await;
        let client = client.ok_or("the storage nodes are not known yet")?;
        let route = Route {
            only: None,
            deadline_ms,
        };
        let who = format!("fetch/{}/{:016x}", self.name, self.fabric.incarnation());
        let mut origin = Origin::new(who);
        let found = client.get_component(hash, &mut origin, route);
        let found = found.await.map_err(|status| status.message)?;
        found.ok_or_else(|| "it is not in the storage".to_owned())
    }
}
