//! The storage node's service: bad input is refused before it reaches the core.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use common::fabric::{Address, FabricHandle, Kind, LocalFabric};
use common::proto::{self, storage};
use common::types::{CommitMode, Ring};

#[tokio::test]
async fn a_write_above_an_impossible_version_is_refused_and_harms_no_record() {
    let fabric: FabricHandle = Arc::new(LocalFabric::default());
    let address = Address::parse("localhost:4000").unwrap();
    let nodes = vec![("s1".to_owned(), address.clone())];
    let config = ::storage::Config {
        name: "s1".to_owned(),
        address: address.clone(),
        gossip_delay_ms: 0,
        ring: Some(Ring::new(nodes, None, CommitMode::Majority, 10).unwrap()),
        data: None,
    };
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let node = ::storage::run(
        config,
        fabric.clone(),
        std::future::pending(),
        Box::new(move |_| ready.send(()).unwrap()),
    );
    let node = tokio::spawn(node);
    is_ready.await.unwrap();
    let client = storage::Client::new(fabric, address, Duration::from_secs(10));
    let mut request = proto::WriteRequest {
        id: Some(proto::UpdateId {
            origin: "test".to_owned(),
            sequence: 1,
        }),
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
    node.abort();
}
