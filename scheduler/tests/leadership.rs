//! Several schedulers of one storage, over the local fabric, in virtual time: one leads, whatever becomes of it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::fabric::{
    Address, BoxFuture, Fabric, FabricHandle, LocalFabric, Router, Serving, Task,
};
use common::proto::{self, Empty, RunState, scheduler, worker};
use common::status::{Kind, Status};
use common::types::{CommitMode, ComponentHash, Ring};
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);
/// A cluster is without a leader for at most so long, and a bit for the looks of this test.
const LEASE: Duration = Duration::from_millis(5_100);

/// A fabric that reaches nobody while it is cut, and to which one node says nothing.
struct Flaky {
    inner: LocalFabric,
    is_cut: Arc<AtomicBool>,
    /// Comparisons do not reach the storage.
    loses_updates: Arc<AtomicBool>,
    /// Comparisons are made, and nobody tells.
    loses_outcomes: Arc<AtomicBool>,
    silent: Option<Address>,
}

impl Fabric for Flaky {
    fn call(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Status>> {
        if self.is_cut.load(Ordering::Relaxed) {
            return Box::pin(async { Err(Status::unavailable("cut off")) });
        }
        if self.silent.as_ref() == Some(to) {
            return Box::pin(async move {
                tokio::time::sleep(timeout).await;
                Err(Status::timeout("it says nothing"))
            });
        }
        let answer = self.inner.call(to, method, body, timeout);
        if !method.ends_with("UpdateIf") {
            return answer;
        }
        if self.loses_updates.load(Ordering::Relaxed) {
            return Box::pin(async { Err(Status::unavailable("lost")) });
        }
        if self.loses_outcomes.load(Ordering::Relaxed) {
            return Box::pin(async {
                drop(answer.await);
                Err(Status::timeout("lost"))
            });
        }
        answer
    }

    fn send(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        delay: Duration,
    ) -> Result<(), Status> {
        self.inner.send(to, method, body, delay)
    }

    fn serve(&self, at: &Address, router: Router) -> BoxFuture<'static, Result<Serving, Status>> {
        self.inner.serve(at, router)
    }
}

fn address(port: u16) -> Address {
    Address::parse(&format!("127.0.0.1:{port}")).unwrap()
}

fn component(text: &str) -> Bytes {
    ComponentHash::of(text.as_bytes()).bytes().to_vec().into()
}

fn ring() -> Ring {
    let nodes = (1..=3).map(|number| (format!("s{number}"), address(3000 + number)));
    Ring::new(nodes.collect(), None, CommitMode::Majority, 10).unwrap()
}

/// A worker that finds the class Mine in every component.
struct Played;

impl worker::Service for Played {
    async fn execute(&self, _: proto::Task) -> Result<Empty, Status> {
        Ok(Empty {})
    }

    async fn cancel_run(&self, _: proto::CancelRunRequest) -> Result<Empty, Status> {
        Ok(Empty {})
    }

    async fn stop_task(&self, _: proto::TaskName) -> Result<Empty, Status> {
        Ok(Empty {})
    }

    async fn fetch(&self, _: proto::FetchRequest) -> Result<proto::FetchResponse, Status> {
        Err(Status::not_found("it holds nothing for others"))
    }

    async fn prepare(&self, _: proto::PrepareRequest) -> Result<proto::PrepareResponse, Status> {
        Ok(proto::PrepareResponse {
            classes: vec!["Mine".to_owned()],
            component_bytes: 3,
            language: "Rust".to_owned(),
        })
    }
}

struct Cluster {
    fabric: LocalFabric,
    _storages: Vec<Task>,
}

/// A scheduler, at a port of its own.
struct Scheduler {
    client: scheduler::Client,
    is_cut: Arc<AtomicBool>,
    loses_updates: Arc<AtomicBool>,
    loses_outcomes: Arc<AtomicBool>,
    /// Sent: it ends by itself.
    end: Option<oneshot::Sender<()>>,
    task: Task,
}

impl Cluster {
    fn start(gossip_delay_ms: u64) -> Self {
        let fabric = LocalFabric::default();
        let storages = ring().nodes.into_iter().map(|node| {
            let config = storage::Config {
                name: node.name,
                address: node.address,
                gossip_delay_ms,
                ring: Some(ring()),
                data: None,
                limits: storage::Limits::default(),
                simulated: false,
            };
            let network: FabricHandle = Arc::new(fabric.another_end("node"));
            fabric.spawn(Box::pin(async move {
                let run = storage::run(config, network, std::future::pending(), Box::new(|_| {}));
                run.await.unwrap();
            }))
        });
        let storages = storages.collect();
        Self {
            fabric,
            _storages: storages,
        }
    }

    /// A worker, where those that register say that they are.
    async fn worker(&self) -> Serving {
        let router = Router::default().with(worker::Server(Arc::new(Played)));
        self.fabric.serve(&address(5000), router).await.unwrap()
    }

    fn scheduler(&self, port: u16) -> Scheduler {
        self.scheduler_deaf_to(port, None)
    }

    fn scheduler_deaf_to(&self, port: u16, silent: Option<Address>) -> Scheduler {
        let [is_cut, loses_updates, loses_outcomes] =
            std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
        let network: FabricHandle = Arc::new(Flaky {
            inner: self.fabric.another_end("node"),
            is_cut: is_cut.clone(),
            loses_updates: loses_updates.clone(),
            loses_outcomes: loses_outcomes.clone(),
            silent,
        });
        let config = ::scheduler::Config {
            name: format!("sc{port}"),
            address: address(port),
            ring: Some(ring()),
            warm_up: false,
            keep_runs: 100,
            http: None,
        };
        let (end, ended) = oneshot::channel::<()>();
        let shutdown = async {
            // Dropped with the test's own end.
            drop(ended.await);
        };
        let task = self.fabric.spawn(Box::pin(async move {
            let run = ::scheduler::run(config, network, shutdown, Box::new(|_| {}));
            run.await.unwrap();
        }));
        let fabric: FabricHandle = Arc::new(self.fabric.another_end("node"));
        Scheduler {
            client: scheduler::Client::new(fabric, address(port), PATIENCE),
            is_cut,
            loses_updates,
            loses_outcomes,
            end: Some(end),
            task,
        }
    }
}

impl Scheduler {
    async fn cluster(&self) -> Option<proto::ClusterResponse> {
        self.client.cluster(&Empty {}).await.ok()
    }

    /// How long it takes until it leads; at the end of the patience it panics.
    async fn leads(&self) -> Duration {
        let started = tokio::time::Instant::now();
        while !self.cluster().await.is_some_and(|known| known.leads) {
            assert!(started.elapsed() < PATIENCE, "it does not lead");
            tokio::time::sleep(POLL).await;
        }
        started.elapsed()
    }

    async fn stands_by_for(&self, leader: u16) {
        let (started, leader) = (tokio::time::Instant::now(), address(leader).to_string());
        while self
            .cluster()
            .await
            .is_none_or(|known| known.leader != leader)
        {
            assert!(started.elapsed() < PATIENCE, "it does not stand by");
            tokio::time::sleep(POLL).await;
        }
    }

    /// A worker with the operator A registers.
    async fn beat(&self) -> proto::HeartbeatResponse {
        let request = proto::HeartbeatRequest {
            worker: Some(proto::WorkerAddress {
                name: "w1".to_owned(),
                url: "http://127.0.0.1:5000".to_owned(),
            }),
            incarnation: 7,
            classes: vec!["A".to_owned()],
            slots: 4,
        };
        self.client.heartbeat(&request).await.unwrap()
    }

    async fn submit(&self, key: &str) -> Result<u64, Status> {
        let request = proto::SubmitRequest {
            input: "13".to_owned(),
            application: "operator A 0".to_owned(),
            application_name: "app".to_owned(),
            key: key.to_owned(),
            ..proto::SubmitRequest::default()
        };
        let response = self.client.submit(&request).await?;
        Ok(response.run)
    }

    async fn deploy(&self, text: &str) -> Result<proto::DeployResponse, Status> {
        let component = component(text);
        self.client
            .deploy(&proto::DeployRequest { component })
            .await
    }

    /// What was deployed of the class Mine, in its order; the last one is used.
    async fn deployed(&self) -> Vec<Bytes> {
        let catalog = self.client.operators(&Empty {}).await.unwrap().catalog;
        let classes = catalog.unwrap().classes.into_iter();
        let deployments = classes.flat_map(|class| class.deployments);
        deployments.map(|deployment| deployment.component).collect()
    }

    async fn cancel(&self, run: u64) -> Result<Empty, Status> {
        self.client.cancel(&proto::CancelRequest { run }).await
    }

    async fn state(&self, run: u64) -> Result<RunState, Status> {
        let request = proto::AwaitRunRequest { run, wait_ms: 0 };
        Ok(self.client.await_run(&request).await?.state())
    }
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_within_the_lease_time_and_knows_all_runs() {
    for gossip_delay_ms in [0, 2_000] {
        let cluster = Cluster::start(gossip_delay_ms);
        let first = cluster.scheduler(4001);
        first.leads().await;
        first.beat().await;
        let runs = [
            first.submit("a").await.unwrap(),
            first.submit("b").await.unwrap(),
        ];
        assert_eq!(runs, [1, 2]);
        // Its worker cannot be told: the outcome stands all the same.
        first.cancel(1).await.unwrap_err();
        let second = cluster.scheduler(4002);
        second.stands_by_for(4001).await;
        let refused = second.submit("c").await.unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
        assert!(refused.message.contains("sc4001 at"), "{refused}");
        assert_eq!(second.beat().await.leader, address(4001).to_string());

        drop(first.task);
        let without = second.leads().await;
        // The last beats are still under way.
        let limit = LEASE + 2 * Duration::from_millis(gossip_delay_ms);
        assert!(without < limit, "{without:?} with {gossip_delay_ms} ms");
        assert_eq!(second.beat().await.leader, "");
        assert_eq!(second.state(1).await.unwrap(), RunState::Cancelled);
        assert_eq!(second.state(2).await.unwrap(), RunState::Running);
        assert_eq!(second.submit("b").await.unwrap(), 2);
        assert_eq!(second.submit("c").await.unwrap(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_by_itself_leaves_the_lease_at_once() {
    let cluster = Cluster::start(0);
    let mut first = cluster.scheduler(4001);
    first.leads().await;
    let second = cluster.scheduler(4002);
    second.stands_by_for(4001).await;
    first.end.take().unwrap().send(()).unwrap();
    assert!(second.leads().await < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_started_again_leads_at_once() {
    let cluster = Cluster::start(0);
    let first = cluster.scheduler(4001);
    first.leads().await;
    drop(first.task);
    let again = cluster.scheduler(4001);
    assert!(again.leads().await < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn who_was_cut_off_tells_nothing_and_stands_by_afterwards() {
    let cluster = Cluster::start(0);
    let first = cluster.scheduler(4001);
    first.leads().await;
    first.beat().await;
    first.submit("a").await.unwrap();
    let second = cluster.scheduler(4002);
    second.stands_by_for(4001).await;
    first.is_cut.store(true, Ordering::Relaxed);
    let (submitted, cancelled, _) =
        tokio::join!(first.submit("b"), first.cancel(1), second.leads());
    assert_eq!(submitted.unwrap_err().kind, Kind::Timeout);
    assert_eq!(cancelled.unwrap_err().kind, Kind::Timeout);
    assert_eq!(first.state(1).await.unwrap(), RunState::Running);
    assert!(!first.cluster().await.unwrap().leads, "it is not sure");
    assert!(!first.beat().await.leads, "workers ask the others, too");
    second.beat().await;
    assert_eq!(second.state(1).await.unwrap(), RunState::Running);
    assert_eq!(second.submit("c").await.unwrap(), 2);
    first.is_cut.store(false, Ordering::Relaxed);
    first.stands_by_for(4002).await;
    assert_eq!(first.state(1).await.unwrap_err().kind, Kind::Unavailable);
    // What it wanted to keep is not there.
    assert_eq!(second.state(1).await.unwrap(), RunState::Running);
    assert_eq!(second.submit("b").await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_leader_does_not_change_the_catalog() {
    let cluster = Cluster::start(0);
    let _worker = cluster.worker().await;
    let first = cluster.scheduler(4001);
    first.leads().await;
    first.beat().await;
    first.deploy("one").await.unwrap();
    let second = cluster.scheduler(4002);
    second.stands_by_for(4001).await;
    first.loses_updates.store(true, Ordering::Relaxed);
    let meanwhile = async {
        second.leads().await;
        first.loses_updates.store(false, Ordering::Relaxed);
    };
    let (deployed, ()) = tokio::join!(first.deploy("two"), meanwhile);
    let unsure = deployed.unwrap_err();
    assert_eq!(unsure.kind, Kind::Timeout, "{unsure}");
    assert_eq!(second.deployed().await, [component("one")]);
    // It has learned who leads from that, too.
    first.stands_by_for(4002).await;
    let elsewhere = first.deploy("two").await.unwrap_err();
    assert_eq!(elsewhere.kind, Kind::Unavailable, "{elsewhere}");
    second.beat().await;
    second.deploy("two").await.unwrap();
    assert_eq!(
        second.deployed().await,
        [component("one"), component("two")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_nobody_answers_may_be_made_and_is_made_once() {
    let cluster = Cluster::start(0);
    let _worker = cluster.worker().await;
    let first = cluster.scheduler(4001);
    first.leads().await;
    first.beat().await;
    let second = cluster.scheduler(4002);
    second.stands_by_for(4001).await;
    first.loses_outcomes.store(true, Ordering::Relaxed);
    let (deployed, _) = tokio::join!(first.deploy("one"), second.leads());
    let unsure = deployed.unwrap_err();
    assert_eq!(unsure.kind, Kind::Timeout, "{unsure}");
    assert!(unsure.message.contains("or not"), "{unsure}");
    assert_eq!(second.deployed().await, [component("one")]);
    second.beat().await;
    let again = second.deploy("one").await.unwrap();
    assert_eq!(again.classes[0].deployments.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_storage_node_that_says_nothing_leaves_them_a_leader() {
    for node in ring().nodes {
        let cluster = Cluster::start(0);
        let deaf = |port| cluster.scheduler_deaf_to(port, Some(node.address.clone()));
        let all = [deaf(4001), deaf(4002)];
        let mut has_led = 0;
        for second in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for scheduler in &all {
                if !scheduler.cluster().await.is_some_and(|known| known.leads) {
                    continue;
                }
                scheduler.beat().await;
                if second >= 20 && scheduler.submit(&format!("{second}")).await.is_ok() {
                    has_led += 1;
                }
            }
        }
        assert!(has_led >= 36, "{has_led} of 40 with {} silent", node.name);
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_that_start_at_once_one_leads() {
    let cluster = Cluster::start(0);
    let all: Vec<Scheduler> = (4001..=4005).map(|port| cluster.scheduler(port)).collect();
    let started = tokio::time::Instant::now();
    loop {
        let known = futures::future::join_all(all.iter().map(Scheduler::cluster)).await;
        let leading = known.iter().flatten().filter(|known| known.leads).count();
        let behind = known
            .iter()
            .flatten()
            .filter(|known| !known.leader.is_empty());
        if leading == 1 && behind.count() == all.len() - 1 {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{known:?}");
        tokio::time::sleep(POLL).await;
    }
}
