//! The storage nodes as the scheduler names them, for the sessions that need them.

use std::sync::Arc;

use common::client::StorageClient;
use common::fabric::{Duration, FabricHandle, timeout};
use common::types::Ring;
use tokio::sync::{Notify, watch};
use xxhash_rust::xxh3::xxh3_64;

/// Where the ring is published. Cheap to clone.
#[derive(Clone)]
pub struct RingWatch {
    fabric: FabricHandle,
    client: watch::Sender<Option<StorageClient>>,
    wanted: Arc<Notify>,
    /// Spreads workers over replicas.
    rotation: usize,
}

impl RingWatch {
    pub fn new(fabric: FabricHandle, worker: &str) -> Self {
        // Any bits of the hash do.
        #[allow(clippy::cast_possible_truncation)]
        let rotation = xxh3_64(worker.as_bytes()) as usize;
        Self {
            fabric,
            client: watch::Sender::new(None),
            wanted: Arc::default(),
            rotation,
        }
    }

    /// Sessions begun from now on use this ring.
    pub fn publish(&self, ring: Ring) {
        self.client.send_if_modified(|client| {
            let news = client.as_ref().is_none_or(|client| *client.ring() != ring);
            if news {
                *client = Some(StorageClient::new(
                    self.fabric.clone(),
                    Arc::new(ring),
                    self.rotation,
                ));
            }
            news
        });
    }

    /// The client of the newest ring, waited for until `deadline_ms` on the fabric's clock.
    pub async fn client(&self, deadline_ms: u64) -> Option<StorageClient> {
        let mut published = self.client.subscribe();
        if published.borrow().is_none() {
            self.wanted.notify_one();
        }
        let left = Duration::from_millis(deadline_ms.saturating_sub(self.fabric.now_ms()));
        let found = timeout(
            self.fabric.as_ref(),
            left,
            published.wait_for(Option::is_some),
        )
        .await;
        found?.ok()?.clone()
    }

    /// The client of the newest ring, if there is one.
    pub fn known(&self) -> Option<StorageClient> {
        self.client.borrow().clone()
    }

    /// Ends when a session lacks the ring.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// For `status`.
    pub fn describe(&self) -> String {
        match self.client.borrow().as_ref() {
            Some(client) => format!(
                "epoch {} of {} storage node(s)",
                client.ring().epoch,
                client.ring().nodes.len()
            ),
            None => "not known yet".to_owned(),
        }
    }
}
