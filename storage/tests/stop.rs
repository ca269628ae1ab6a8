//! A node that is stopped in good order makes durable also what nobody waits for.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use common::client::{Condition, Route, StorageClient};
use common::fabric::{Address, FabricHandle, LocalFabric};
use common::types::{CommitMode, Ring, SyncMode, UpdateId};
use storage::disk::LogSettings;
use storage::engine::Engine;
use storage::engine::directory::Directory;
use storage::engine::store::Store;
use tokio::sync::oneshot;

#[tokio::test]
async fn the_last_decision_is_durable_when_the_node_has_stopped() {
    let fabric: FabricHandle = Arc::new(LocalFabric::default());
    let address = Address::parse("localhost:4000").unwrap();
    let nodes = vec![("s1".to_owned(), address.clone())];
    let ring = Ring::new(nodes, None, CommitMode::Majority, 10).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = storage::Config {
        name: "s1".to_owned(),
        address,
        gossip_delay_ms: 0,
        ring: Some(ring.clone()),
        data: Some(storage::Data {
            medium: storage::Medium::Directory(directory.path().to_owned()),
            sync: SyncMode::Always,
            replaces: false,
        }),
        limits: storage::Limits::default(),
        simulated: false,
    };
    let (stop, shutdown) = oneshot::channel::<()>();
    let (ready, is_ready) = oneshot::channel();
    let node = tokio::spawn(storage::run(
        config,
        fabric.clone(),
        async { drop(shutdown.await) },
        Box::new(move |_| ready.send(()).unwrap()),
    ));
    is_ready.await.unwrap();

    let id = UpdateId {
        origin: "test".to_owned(),
        sequence: 1,
    };
    let route = Route {
        only: None,
        deadline_ms: fabric.now_ms() + 60_000,
    };
    let client = StorageClient::new(fabric, Arc::new(ring), 0);
    let version = client
        .update_if(id, "k", Condition::ValueIs(None), Some("1".into()), route)
        .await
        .unwrap();
    stop.send(()).unwrap();
    node.await.unwrap().unwrap();

    let data = Directory(directory.path().to_owned());
    let mut store = Store::new(data, SyncMode::Always, LogSettings::default());
    let durable = store.recover().unwrap().unwrap().durable;
    assert_eq!(durable.undecided().len(), 0);
    assert_eq!(durable.record("k").unwrap().newest().version, version);
}
