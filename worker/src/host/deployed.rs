//! Operators that were deployed: components by their hash, fetched when they are first needed.
//!
//! Promises: one component is fetched and compiled once, however many ask for it, and whoever of them gives up meanwhile;
//! what is not used makes room.
//!
//! Relies on: [`Components`] for bytes that have the hash asked for.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::types::ComponentHash;

use super::error::OperatorFailure;
use super::limits::DEPLOYED_MAX;
use super::recent::Recent;
use super::registry::check_classes;
use super::wasm::{WasmEngine, WasmOperators};

/// Where deployed components are fetched from.
#[async_trait]
pub trait Components: Send + Sync {
    /// The bytes that have this hash; the error says why they cannot be had now.
    async fn fetch(&self, hash: ComponentHash) -> Result<Bytes, String>;
}

pub(super) struct Deployed {
    source: Option<Arc<dyn Components>>,
    recent: Recent<ComponentHash, Arc<WasmOperators>>,
}

impl Deployed {
    pub(super) fn new(source: Option<Arc<dyn Components>>) -> Self {
        Self {
            source,
            recent: Recent::new(DEPLOYED_MAX),
        }
    }

    /// The operators of a component; waits until they are ready.
    pub(super) async fn find(
        &self,
        engine: &WasmEngine,
        hash: ComponentHash,
    ) -> Result<Arc<WasmOperators>, OperatorFailure> {
        let place = self.recent.place(&hash);
        if let Some(ready) = place.get() {
            return Ok(ready.clone());
        }
        // A task of its own: what is begun is of use to the next one, also when this one gives up.
        let loading = load(self.source.clone(), engine.clone(), hash);
        let load = async move { place.get_or_try_init(|| loading).await.cloned() };
        let loaded = tokio::spawn(load).await;
        let failed = |reason: String| OperatorFailure::Component { hash, reason };
        loaded
            .unwrap_or_else(|lost| Err(lost.to_string()))
            .map_err(failed)
    }
}

async fn load(
    source: Option<Arc<dyn Components>>,
    engine: WasmEngine,
    hash: ComponentHash,
) -> Result<Arc<WasmOperators>, String> {
    let source = source.ok_or("this worker knows no storage")?;
    let bytes = source.fetch(hash).await?;
    let operators = engine.load(bytes.into()).await?;
    check_classes(operators.classes())?;
    Ok(Arc::new(operators))
}

#[cfg(test)]
mod tests {
    use tokio::sync::{Semaphore, mpsc};

    use super::*;
    use crate::host::HostConfig;

    const STANDARD: &[u8] = include_bytes!("../../../operators/std/std.wasm");

    /// Says when it is asked, and answers when it is let.
    struct Slow {
        asked: mpsc::UnboundedSender<()>,
        may_answer: Semaphore,
    }

    #[async_trait]
    impl Components for Slow {
        async fn fetch(&self, _: ComponentHash) -> Result<Bytes, String> {
            self.asked.send(()).unwrap();
            let _permit = self.may_answer.acquire().await.unwrap();
            Ok(Bytes::from_static(STANDARD))
        }
    }

    #[tokio::test]
    async fn what_one_has_begun_to_fetch_the_next_one_gets() {
        let (asked_in, mut asked) = mpsc::unbounded_channel();
        let may_answer = Semaphore::new(0);
        let slow = Arc::new(Slow {
            asked: asked_in,
            may_answer,
        });
        let deployed = Deployed::new(Some(slow.clone()));
        let engine = WasmEngine::start(&HostConfig::default()).unwrap();
        let hash = ComponentHash::of(STANDARD);
        tokio::select! {
            _ = deployed.find(&engine, hash) => panic!("it was not let"),
            _ = asked.recv() => {}
        }
        slow.may_answer.add_permits(1);
        let found = deployed.find(&engine, hash).await.unwrap();
        assert!(!found.classes().is_empty());
        assert!(asked.try_recv().is_err(), "it was fetched again");
    }
}
