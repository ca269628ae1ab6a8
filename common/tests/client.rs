//! The storage client against nodes that refuse.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::client::{Route, StorageClient};
use common::fabric::{
    Address, BoxFuture, Detail, FabricHandle, Handler, LocalFabric, Router, Status, encode,
};
use common::proto;
use common::types::{CommitMode, Ring, Wanted};

const RETRY_AFTER_MS: u64 = 100;

/// Has room for the second request, not for the first one.
struct Full {
    fabric: FabricHandle,
    asked_at_ms: Arc<Mutex<Vec<u64>>>,
}

impl Handler for Full {
    fn service(&self) -> &'static str {
        ""
    }

    fn handle(&self, _: &str, _: Bytes) -> BoxFuture<'static, Result<Bytes, Status>> {
        let mut asked = self.asked_at_ms.lock().unwrap();
        asked.push(self.fabric.now_ms());
        let answer = if asked.len() == 1 {
            let full = Status::overloaded("the queue of reads is full");
            Err(full.with(Detail::RetryAfterMs(RETRY_AFTER_MS)))
        } else {
            let found = Some(proto::RecordVersion::default());
            Ok(encode(&proto::ReadResponse { found }))
        };
        Box::pin(std::future::ready(answer))
    }
}

#[tokio::test]
async fn a_client_comes_again_when_it_was_told_to() {
    let fabric: FabricHandle = Arc::new(LocalFabric::default());
    let asked_at_ms = Arc::<Mutex<Vec<u64>>>::default();
    let address = Address::parse("127.0.0.1:0").unwrap();
    let router = Router::default().with(Full {
        fabric: fabric.clone(),
        asked_at_ms: asked_at_ms.clone(),
    });
    let serving = fabric.serve(&address, router).await.unwrap();
    let nodes = vec![("s1".to_owned(), serving.address.clone())];
    let ring = Ring::new(nodes, None, CommitMode::Majority, 10).unwrap();
    let client = StorageClient::new(fabric.clone(), Arc::new(ring), 0);
    let patient = Route {
        only: None,
        deadline_ms: fabric.now_ms() + 30_000,
    };
    client.read("k", Wanted::NEWEST, patient).await.unwrap();
    let asked = asked_at_ms.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    assert!(asked[1] >= asked[0] + RETRY_AFTER_MS, "{asked:?}");
    let impatient = Route {
        only: None,
        deadline_ms: fabric.now_ms() + RETRY_AFTER_MS / 2,
    };
    asked_at_ms.lock().unwrap().clear();
    let refused = client.read("k", Wanted::NEWEST, impatient).await;
    let refused = refused.unwrap_err();
    assert!(refused.message.contains("is full"), "{refused}");
    assert_eq!(asked_at_ms.lock().unwrap().len(), 1);
}
