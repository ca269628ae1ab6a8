//! The storage node's service: bad input is refused before it reaches the core, and what has no room with a hint.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use ::storage::{Config, Limits, QueueBounds};
use common::fabric::{Address, Detail, FabricHandle, GrpcFabric, Kind, LocalFabric};
use common::proto::{self, storage};
use common::types::{CommitMode, Ring};

const PATIENCE: Duration = Duration::from_secs(30);

/// A node that is told its ring later, or at once if it is alone. It lives as long as the test.
async fn start(fabric: &FabricHandle, limits: Limits, ring: Option<Ring>) -> Address {
    let address = match &ring {
        Some(ring) => ring.nodes[0].address.clone(),
        None => Address::parse("127.0.0.1:0").unwrap(),
    };
    let config = Config {
        name: "s1".to_owned(),
        address,
        gossip_delay_ms: 0,
        ring,
        data: None,
        limits,
        simulated: false,
    };
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let on_ready = move |serving: &common::fabric::Serving| {
        ready.send(serving.address.clone()).unwrap();
    };
    let fabric = fabric.clone();
    let forever = std::future::pending();
    tokio::spawn(::storage::run(config, fabric, forever, Box::new(on_ready)));
    is_ready.await.unwrap()
}

fn alone() -> Ring {
    let nodes = Ring::parse_nodes("s1=localhost:4000").unwrap();
    Ring::new(nodes, None, CommitMode::Majority, 10).unwrap()
}

fn update_id(sequence: u64) -> proto::UpdateId {
    let origin = "test".to_owned();
    proto::UpdateId { origin, sequence }
}

#[tokio::test]
async fn a_write_above_an_impossible_version_is_refused_and_harms_no_record() {
    let fabric: FabricHandle = Arc::new(LocalFabric::default());
    let address = start(&fabric, Limits::default(), Some(alone())).await;
    let client = storage::Client::new(fabric, address, PATIENCE);
    let mut request = proto::WriteRequest {
        id: Some(update_id(1)),
        record: "k".to_owned(),
        above: Some(proto::Version {
            number: u64::MAX,
            ..proto::Version::default()
        }),
        ..proto::WriteRequest::default()
    };
    let refused = client.write(&request).await.unwrap_err();
    assert_eq!(refused.kind, Kind::InvalidArgument, "{}", refused.message);
    request.above = None;
    let written = client.write(&request).await.unwrap();
    assert_eq!(written.version.unwrap().number, 1);
}

#[tokio::test]
async fn what_is_longer_than_the_node_was_told_is_refused() {
    let fabric: FabricHandle = Arc::new(LocalFabric::default());
    let limits = Limits {
        record_id_bytes: 2,
        value_bytes: 3,
        ..Limits::default()
    };
    let address = start(&fabric, limits, Some(alone())).await;
    let client = storage::Client::new(fabric, address, PATIENCE);
    let write = |record: &str, value: &'static str| proto::WriteRequest {
        id: Some(update_id(1)),
        record: record.to_owned(),
        value: Some(value.into()),
        ..proto::WriteRequest::default()
    };
    client.write(&write("id", "abc")).await.unwrap();
    let long = client.write(&write("id", "abcd")).await.unwrap_err();
    assert_eq!(long.detail, Some(Detail::ValueBytesMax(3)), "{long}");
    let long = client.write(&write("long", "abc")).await.unwrap_err();
    assert!(long.message.contains("record_id_bytes_max"), "{long}");
    let update = proto::UpdateIfRequest {
        id: Some(update_id(2)),
        record: "id".to_owned(),
        new: Some("abcd".into()),
        ..proto::UpdateIfRequest::default()
    };
    let long = client.update_if(&update).await.unwrap_err();
    assert_eq!(long.detail, Some(Detail::ValueBytesMax(3)), "{long}");
}

#[tokio::test]
async fn a_full_queue_says_over_the_network_when_to_come_again() {
    let fabric: FabricHandle = Arc::new(GrpcFabric::default());
    let queues = QueueBounds { record: 1, node: 9 };
    let limits = Limits {
        queues,
        ..Limits::default()
    };
    let address = start(&fabric, limits, None).await;
    // Updates wait for the second node, which never comes.
    let nodes = format!("s1={address},s2=http://127.0.0.1:1");
    let nodes = Ring::parse_nodes(&nodes).unwrap();
    let ring = Ring::new(nodes, None, CommitMode::FailStop, 10).unwrap();
    let client = storage::Client::new(fabric, address, PATIENCE);
    let set_ring = proto::SetRingRequest {
        ring: Some((&ring).into()),
        fresh: true,
    };
    client.set_ring(&set_ring).await.unwrap();
    let update = |sequence| proto::UpdateIfRequest {
        id: Some(update_id(sequence)),
        record: "k".to_owned(),
        ..proto::UpdateIfRequest::default()
    };
    let (first, second) = (update(1), update(2));
    let refused = tokio::select! {
        refused = client.update_if(&first) => refused,
        refused = client.update_if(&second) => refused,
    };
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, Kind::Overloaded, "{refused}");
    assert_eq!(refused.retry_after_ms(), Some(250), "{refused}");
    assert_eq!(
        refused.message,
        "the queue of updates of one record is full (1): try again in 250 ms"
    );
}
