//! What a run without a cluster gives to an operator and learns from it: blobs from memory, and the log's lines.
//!
//! - [`memory`]: records in memory, which fail where that is wanted.

mod memory;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use common::types::BlobUrl;
use marionette_sdk::Level;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::blob::BlobError;
pub use memory::{Call, Fault, MemoryStorage};

/// One attempt that is watched. Its log lines are kept here, at most as many as a task may write, and are not written
/// to the log; no blob is read from elsewhere.
#[derive(Debug, Default)]
pub struct Rehearsal {
    blobs: BTreeMap<String, Bytes>,
    lines: Mutex<Vec<(Level, String)>>,
}

impl Rehearsal {
    /// With these blobs, by URL in normal form. They need grants, as in a cluster.
    pub fn new(blobs: BTreeMap<String, Bytes>) -> Self {
        Self {
            blobs,
            lines: Mutex::default(),
        }
    }

    /// What was logged since this was asked last.
    pub fn take_lines(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn line(&self, level: Level, message: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((level, message.to_owned()));
    }

    /// A store with the blob of this URL, if there is one, at its place there.
    pub(super) async fn store(
        &self,
        url: &BlobUrl,
        path: &Path,
    ) -> Result<Arc<dyn ObjectStore>, BlobError> {
        let store = InMemory::new();
        if let Some(blob) = self.blobs.get(url.as_str()) {
            let put = store.put(path, blob.clone().into()).await;
            put.map_err(|error| BlobError::Other(error.to_string()))?;
        }
        Ok(Arc::new(store))
    }
}
