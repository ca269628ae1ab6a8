//! A cluster of real processes can be killed, frozen and restarted, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::path::Path;
use std::time::Duration;

use bench::binary;
use bench::cluster::{Cluster, PATIENCE, Settings};
use common::client::{Condition, Route};
use common::proto::HistoryRequest;
use common::types::UpdateId;

fn settings() -> Settings {
    Settings::new(binary::tested().unwrap())
}

async fn update(cluster: &Cluster, sequence: u64) {
    let id = UpdateId {
        origin: "test".to_owned(),
        sequence,
    };
    let limit_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
    let route = Route {
        only: None,
        deadline_ms: cluster.fabric().now_ms() + limit_ms,
    };
    let old = (sequence > 0).then(|| (sequence - 1).to_string().into());
    let new = Some(sequence.to_string().into());
    let client = cluster.client(0);
    let updated = client.update_if(id, "r", Condition::ValueIs(old), new, route);
    updated.await.unwrap();
}

#[tokio::test]
async fn killed_and_frozen_nodes_come_back_with_what_they_missed() {
    let mut cluster = Cluster::start(settings(), 3).await.unwrap();
    update(&cluster, 0).await;
    cluster.kill(1).unwrap();
    assert!(cluster.status(1).await.is_err(), "the dead speak");
    update(&cluster, 1).await;
    cluster.restart(1).await.unwrap();
    cluster.freeze(2).unwrap();
    update(&cluster, 2).await;
    cluster.unfreeze(2).unwrap();
    cluster.await_converged(PATIENCE).await.unwrap();
    for replica in cluster.replicas() {
        let client = cluster.raw(replica, Duration::from_secs(5)).unwrap();
        let record = "r".to_owned();
        let history = client.history(&HistoryRequest { record }).await.unwrap();
        assert_eq!(history.versions.len(), 3);
    }
}

#[tokio::test]
async fn a_dropped_cluster_leaves_no_process_and_no_data() {
    let cluster = Cluster::start(settings(), 2).await.unwrap();
    let directory = cluster.directory().to_owned();
    let pids = cluster.replicas().into_iter();
    let pids: Vec<_> = pids.map(|replica| cluster.pid(replica).unwrap()).collect();
    drop(cluster);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
    assert!(!directory.exists());
}
