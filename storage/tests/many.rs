//! Scans and watches of the storage client over whole nodes, of which each holds a part of the records.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::client::watch::{Change, From, Watch};
use common::client::{Route, StorageClient};
use common::fabric::{Address, FabricHandle, Kind, LocalFabric};
use common::proto::Level;
use common::types::{CommitMode, Ring, UpdateId, Version};
use tokio::task::JoinHandle;

const NODES: u32 = 4;
const RECORDS: u32 = 200;

struct Cluster {
    fabric: FabricHandle,
    ring: Arc<Ring>,
    nodes: Vec<JoinHandle<()>>,
    client: StorageClient,
    writes: u64,
}

impl Cluster {
    /// Each record on two of the nodes.
    async fn start() -> Self {
        let fabric: FabricHandle = Arc::new(LocalFabric::default());
        let address = |id: u32| Address::parse(&format!("localhost:{}", 4000 + id)).unwrap();
        let members = (1..=NODES).map(|id| (format!("s{id}"), address(id)));
        let ring = Ring::new(members.collect(), Some(2), CommitMode::Majority, 10).unwrap();
        let ring = Arc::new(ring);
        let mut nodes = Vec::new();
        for node in &ring.nodes {
            let config = storage::Config {
                name: node.name.clone(),
                address: node.address.clone(),
                gossip_delay_ms: 0,
                ring: Some((*ring).clone()),
                data: None,
                limits: storage::Limits::default(),
                simulated: false,
            };
            let (ready, is_ready) = tokio::sync::oneshot::channel();
            let running = storage::run(
                config,
                fabric.clone(),
                std::future::pending(),
                Box::new(move |_| ready.send(()).unwrap()),
            );
            nodes.push(tokio::spawn(async { running.await.unwrap() }));
            is_ready.await.unwrap();
        }
        Self {
            client: StorageClient::new(fabric.clone(), ring.clone(), 0),
            fabric,
            ring,
            nodes,
            writes: 0,
        }
    }

    fn route(&self) -> Route {
        Route {
            only: None,
            deadline_ms: self.deadline_ms(),
        }
    }

    fn deadline_ms(&self) -> u64 {
        self.fabric.now_ms() + 60_000
    }

    /// Absent: deletes.
    async fn write(&mut self, record: &str, value: Option<&str>, level: Level) {
        self.writes += 1;
        let id = UpdateId {
            origin: "test".to_owned(),
            sequence: self.writes,
        };
        let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let write = self
            .client
            .write(id, record, value, level, Version::NULL, self.route());
        write.await.unwrap();
    }

    async fn write_all(&mut self, value: &str, level: Level) {
        for number in 0..RECORDS {
            let record = format!("r/{number:03}");
            self.write(&record, Some(value), level).await;
        }
    }

    /// The keys below `r/`, page by page.
    async fn scan(&self, limit: u32) -> Vec<String> {
        let mut keys = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.client.scan("r/", &after, limit, self.route());
            let page = page.await.unwrap();
            assert!(page.records.len() <= limit as usize);
            keys.extend(page.records.into_iter().map(|(key, _)| key));
            match page.next {
                Some(next) => after = next,
                None => return keys,
            }
        }
    }

    /// Waits until the watcher was told this value of all records; what it was told.
    async fn told(&self, watch: &mut Watch, value: &str) -> Vec<Change> {
        let mut all = Vec::new();
        let mut newest = BTreeMap::new();
        let is_told = |found: &Option<Bytes>| found.as_deref() == Some(value.as_bytes());
        while newest.values().filter(|found| is_told(found)).count() < RECORDS as usize {
            let changes = watch.next().await.unwrap();
            for change in &changes {
                newest.insert(change.record.clone(), change.made.value.clone());
            }
            all.extend(changes);
        }
        all
    }
}

fn keys() -> Vec<String> {
    (0..RECORDS)
        .map(|number| format!("r/{number:03}"))
        .collect()
}

#[tokio::test]
async fn a_scan_of_all_nodes_is_in_key_order_however_small_its_pages_and_with_a_dead_node() {
    let mut cluster = Cluster::start().await;
    cluster.write_all("a", Level::All).await;
    cluster.write("other", Some("a"), Level::All).await;
    cluster.write("r/deleted", Some("a"), Level::All).await;
    cluster.write("r/deleted", None, Level::All).await;
    for limit in [7, 1_000] {
        assert_eq!(cluster.scan(limit).await, keys());
    }
    cluster.nodes.remove(1).abort();
    assert_eq!(cluster.scan(50).await, keys());
}

#[tokio::test]
async fn a_scan_of_records_without_a_living_replica_says_so() {
    let cluster = Cluster::start().await;
    cluster.nodes.iter().for_each(JoinHandle::abort);
    let route = Route {
        only: None,
        deadline_ms: cluster.fabric.now_ms() + 100,
    };
    let failed = cluster.client.scan("", "", 10, route).await.unwrap_err();
    assert_eq!(failed.kind, Kind::Unavailable);
    assert!(
        failed
            .message
            .starts_with("no replica of 256 partition(s) answered in time"),
        "{}",
        failed.message
    );
}

#[tokio::test]
async fn a_watch_goes_on_when_nodes_die_and_its_cursor_in_another_client() {
    let mut cluster = Cluster::start().await;
    cluster.write_all("before", Level::All).await;
    let mut watch = cluster.client.watch("r/", From::Now).unwrap();
    let deadline_ms = cluster.deadline_ms();
    let nothing = |change: Change| panic!("{change:?}");
    watch.catch_up(deadline_ms, nothing).await.unwrap();
    cluster.write("other", Some("x"), Level::All).await;
    cluster.write_all("first", Level::All).await;
    let told = cluster.told(&mut watch, "first").await;
    assert_eq!(told.len(), RECORDS as usize, "each once: {told:?}");

    cluster.nodes.remove(0).abort();
    cluster.write_all("second", Level::One).await;
    let told = cluster.told(&mut watch, "second").await;
    assert_eq!(told.len(), RECORDS as usize, "each once: {told:?}");

    let cursor = watch.cursor();
    drop(watch);
    cluster.write_all("third", Level::One).await;
    let another = StorageClient::new(cluster.fabric.clone(), cluster.ring.clone(), 1);
    let mut watch = another.watch("r/", From::Cursor(&cursor)).unwrap();
    cluster.told(&mut watch, "third").await;
    let wrong = another.watch("x/", From::Cursor(&cursor)).err().unwrap();
    assert_eq!(wrong.kind, Kind::InvalidArgument);
}

#[tokio::test]
async fn a_watch_from_the_beginning_is_told_all_that_is_there_and_catching_up_ends() {
    let mut cluster = Cluster::start().await;
    cluster.write_all("a", Level::All).await;
    let mut watch = cluster.client.watch("r/", From::Beginning).unwrap();
    let mut told = Vec::new();
    let deadline_ms = cluster.deadline_ms();
    let tell = |change: Change| told.push(change.record);
    watch.catch_up(deadline_ms, tell).await.unwrap();
    told.sort();
    assert_eq!(told, keys());
    cluster.nodes.iter().for_each(JoinHandle::abort);
    let deadline_ms = cluster.fabric.now_ms() + 100;
    let failed = watch.catch_up(deadline_ms, |_| {}).await.unwrap_err();
    assert_eq!(failed.kind, Kind::Unavailable);
}
