//! Operators that were deployed: components by their hash, fetched when they are first needed.
//!
//! Promises: one component is fetched and compiled once, however many ask for it; what is not used makes room.
//!
//! Relies on: [`Components`] for bytes that have the hash asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use common::types::ComponentHash;
use tokio::sync::OnceCell;

use super::error::OperatorFailure;
use super::limits::DEPLOYED_MAX;
use super::registry::check_classes;
use super::wasm::{WasmEngine, WasmOperators};

/// Where deployed components are fetched from.
#[async_trait]
pub trait Components: Send + Sync {
    /// The bytes that have this hash; the error says why they cannot be had now.
    async fn fetch(&self, hash: ComponentHash) -> Result<Bytes, String>;
}

/// A component that is ready, or that somebody makes ready.
#[derive(Clone, Default)]
struct Place {
    /// The error is not kept: the next one tries again.
    loaded: Arc<OnceCell<Arc<WasmOperators>>>,
    used: u64,
}

pub(super) struct Deployed {
    source: Option<Arc<dyn Components>>,
    places: Mutex<(BTreeMap<ComponentHash, Place>, u64)>,
}

impl Deployed {
    pub(super) fn new(source: Option<Arc<dyn Components>>) -> Self {
        Self {
            source,
            places: Mutex::default(),
        }
    }

    /// The operators of a component; waits until they are ready.
    pub(super) async fn find(
        &self,
        engine: &WasmEngine,
        hash: ComponentHash,
    ) -> Result<Arc<WasmOperators>, OperatorFailure> {
        let place = self.place(hash);
        // Boxed: rare, and larger than all else that tasks wait for.
        let loaded = place.get_or_try_init(|| Box::pin(self.load(engine, hash)));
        let failed = |reason: String| OperatorFailure::Component { hash, reason };
        loaded.await.cloned().map_err(failed)
    }

    async fn load(
        &self,
        engine: &WasmEngine,
        hash: ComponentHash,
    ) -> Result<Arc<WasmOperators>, String> {
        let source = self.source.as_ref();
        let source = source.ok_or("this worker knows no storage")?;
        let bytes = source.fetch(hash).await?;
        let operators = engine.load(bytes.into()).await?;
        check_classes(operators.classes())?;
        Ok(Arc::new(operators))
    }

    fn place(&self, hash: ComponentHash) -> Arc<OnceCell<Arc<WasmOperators>>> {
        let mut guard = self.places();
        let (places, uses) = &mut *guard;
        *uses += 1;
        let place = places.entry(hash).or_default();
        place.used = *uses;
        let loaded = Arc::clone(&place.loaded);
        if places.len() > DEPLOYED_MAX {
            // Tasks that run it keep theirs.
            let oldest = places.iter().min_by_key(|(_, place)| place.used);
            if let Some(hash) = oldest.map(|(hash, _)| *hash) {
                places.remove(&hash);
            }
        }
        loaded
    }

    fn places(&self) -> MutexGuard<'_, (BTreeMap<ComponentHash, Place>, u64)> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
