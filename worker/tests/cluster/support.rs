//! A cluster in this process, and a client of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::client::{Route, StorageClient};
use common::fabric::{Address, FabricHandle, LocalFabric, Task};
use common::proto::{
    AwaitRunRequest, CertifyDeathRequest, Empty, Level, RunReport, RunState, SubmitRequest,
    scheduler,
};
use common::status::Status;
use common::types::{CommitMode, Ring, UpdateId, Version, Wanted};
use tokio::sync::oneshot;

pub const PATIENCE: Duration = Duration::from_secs(30);

const SCHEDULER: &str = "127.0.0.1:4000";

/// A role that runs until it is killed.
struct Node {
    address: Address,
    kill: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
    _task: Task,
}

impl Node {
    async fn kill(self) {
        drop(self.kill);
        let _ = self.ended.await;
    }
}

pub struct Cluster {
    pub fabric: FabricHandle,
    ring: Ring,
    nodes: BTreeMap<String, Node>,
    storage: StorageClient,
    writes: u64,
}

/// Spawns a role and waits until it serves.
async fn launch<F>(
    fabric: &FabricHandle,
    role: impl FnOnce(oneshot::Receiver<()>, common::node::OnReady) -> F,
) -> Node
where
    F: Future<Output = ()> + Send + 'static,
{
    let (kill, killed) = oneshot::channel();
    let (ready, is_ready) = oneshot::channel();
    let (ending, ended) = oneshot::channel();
    let on_ready = Box::new(move |serving: &common::fabric::Serving| {
        let _ = ready.send(serving.address.clone());
    });
    let role = role(killed, on_ready);
    let task = fabric.spawn(Box::pin(async move {
        role.await;
        let _ = ending.send(());
    }));
    Node {
        address: is_ready.await.unwrap(),
        kill,
        ended,
        _task: task,
    }
}

async fn over(killed: oneshot::Receiver<()>) {
    let _ = killed.await;
}

impl Cluster {
    /// A scheduler and storage nodes which know each other.
    pub async fn start(storages: u16, gossip_delay_ms: u64) -> Self {
        let fabric: FabricHandle = Arc::new(LocalFabric::default());
        let named = |index: u16| {
            let address = Address::parse(&format!("127.0.0.1:{}", 3_000 + index)).unwrap();
            (format!("s{index}"), address)
        };
        let ring = Ring::new(
            (1..=storages).map(named).collect(),
            None,
            CommitMode::FailStop,
            10,
        )
        .unwrap();
        let storage = StorageClient::new(fabric.clone(), Arc::new(ring.clone()), 0);
        let mut cluster = Self {
            fabric,
            ring,
            nodes: BTreeMap::new(),
            storage,
            writes: 0,
        };
        for (name, address) in (1..=storages).map(named) {
            let (fabric, ring) = (cluster.fabric.clone(), Some(cluster.ring.clone()));
            let config = storage::Config {
                name: name.clone(),
                address,
                gossip_delay_ms,
                ring,
                data: None,
                limits: storage::Limits::default(),
                simulated: false,
            };
            let node = launch(&cluster.fabric, |killed, on_ready| async move {
                storage::run(config, fabric, over(killed), on_ready)
                    .await
                    .unwrap();
            });
            cluster.nodes.insert(name, node.await);
        }
        cluster.start_scheduler().await;
        cluster
    }

    pub async fn start_scheduler(&mut self) {
        let address = Address::parse(SCHEDULER).unwrap();
        let (fabric, ring) = (self.fabric.clone(), Some(self.ring.clone()));
        let config = ::scheduler::Config {
            name: "sc1".to_owned(),
            address,
            ring,
            warm_up: true,
            keep_runs: ::scheduler::KEEP_RUNS_DEFAULT,
            http: None,
        };
        let node = launch(&self.fabric, |killed, on_ready| async move {
            ::scheduler::run(config, fabric, over(killed), on_ready)
                .await
                .unwrap();
        });
        self.nodes.insert("sc1".to_owned(), node.await);
    }

    pub async fn stop_scheduler(&mut self) {
        self.kill("sc1").await;
    }

    /// Starts a worker and waits until it has registered.
    pub async fn worker(&mut self, name: &str, gossip_delay_ms: u64) {
        let known = self
            .scheduler()
            .cluster(&Empty {})
            .await
            .unwrap()
            .workers
            .len();
        self.worker_unregistered(name, gossip_delay_ms).await;
        self.until_registered(known + 1).await;
    }

    pub async fn worker_unregistered(&mut self, name: &str, gossip_delay_ms: u64) {
        self.launch_worker(name, gossip_delay_ms, None).await;
    }

    /// A worker that loads operators from a directory, too.
    pub async fn worker_with(&mut self, name: &str, operators: &Path) {
        self.launch_worker(name, 0, Some(operators.to_owned()))
            .await;
        self.until_registered(1).await;
    }

    async fn launch_worker(
        &mut self,
        name: &str,
        gossip_delay_ms: u64,
        operators: Option<PathBuf>,
    ) {
        let config = worker::Config {
            name: name.to_owned(),
            address: Address::parse("127.0.0.1:0").unwrap(),
            gossip_delay_ms,
            schedulers: vec![Address::parse(SCHEDULER).unwrap()],
            operators,
            slots: 4,
            allow_native: false,
            native_isolated: None,
            operator_cache: None,
            simulated: false,
        };
        let fabric = self.fabric.clone();
        let node = launch(&self.fabric, |killed, on_ready| async move {
            worker::run(config, fabric, over(killed), on_ready)
                .await
                .unwrap();
        });
        self.nodes.insert(name.to_owned(), node.await);
    }

    pub async fn until_registered(&self, workers: usize) {
        self.until("the workers have registered", async |cluster| {
            cluster
                .scheduler()
                .cluster(&Empty {})
                .await
                .unwrap()
                .workers
                .len()
                == workers
        })
        .await;
    }

    /// The node is gone at once, without a goodbye.
    pub async fn kill(&mut self, name: &str) {
        self.nodes.remove(name).unwrap().kill().await;
    }

    pub async fn certify_death(&self, name: &str) {
        let request = CertifyDeathRequest {
            name: name.to_owned(),
        };
        self.scheduler().certify_death(&request).await.unwrap();
    }

    pub fn address_of(&self, name: &str) -> Address {
        self.nodes[name].address.clone()
    }

    pub fn scheduler(&self) -> scheduler::Client {
        scheduler::Client::new(
            self.fabric.clone(),
            Address::parse(SCHEDULER).unwrap(),
            PATIENCE,
        )
    }

    pub async fn submit(&self, input: &str, application: &str) -> Result<u64, Status> {
        self.submit_within(input, application, 0).await
    }

    pub async fn submit_within(
        &self,
        input: &str,
        application: &str,
        timeout_ms: u64,
    ) -> Result<u64, Status> {
        let request = SubmitRequest {
            key: String::new(),
            seen: vec![],
            input: input.to_owned(),
            application: application.to_owned(),
            application_name: "app".to_owned(),
            timeout_ms,
        };
        self.scheduler()
            .submit(&request)
            .await
            .map(|response| response.run)
    }

    pub async fn report(&self, run: u64) -> RunReport {
        self.scheduler()
            .await_run(&AwaitRunRequest { run, wait_ms: 0 })
            .await
            .unwrap()
    }

    pub async fn outcome(&self, run: u64) -> RunReport {
        let wait_ms = u32::try_from(PATIENCE.as_millis()).unwrap() - 1_000;
        let report = self
            .scheduler()
            .await_run(&AwaitRunRequest { run, wait_ms })
            .await
            .unwrap();
        assert_ne!(
            report.state(),
            RunState::Running,
            "run {run} has no outcome"
        );
        report
    }

    pub async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let deadline_ms = self.fabric.now_ms() + 30_000;
        while !condition(self).await {
            assert!(
                self.fabric.now_ms() < deadline_ms,
                "waited in vain until {what}"
            );
            self.fabric.sleep(Duration::from_millis(5)).await;
        }
    }

    fn route(&self) -> Route {
        Route {
            only: None,
            deadline_ms: self.fabric.now_ms() + 30_000,
        }
    }

    pub async fn write(&mut self, record: &str, value: &str) {
        self.writes += 1;
        let id = UpdateId {
            origin: "test".to_owned(),
            sequence: self.writes,
        };
        let value = Some(value.to_owned().into());
        self.storage
            .write(id, record, value, Level::All, Version::NULL, self.route())
            .await
            .unwrap();
    }

    pub async fn read(&self, record: &str) -> String {
        let found = self
            .storage
            .read(record, Wanted::NEWEST, self.route())
            .await
            .unwrap();
        String::from_utf8(found.value.unwrap().to_vec()).unwrap()
    }
}

/// The values of what a run returned.
pub fn output(report: &RunReport) -> Vec<String> {
    report
        .output
        .iter()
        .map(|item| String::from_utf8(item.value.to_vec()).unwrap())
        .collect()
}
