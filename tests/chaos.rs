//! Runs finish and do everything once, while workers, storage nodes and schedulers are killed and started again, or frozen
//! for so long that another scheduler leads when they go on.
//!
//! `CHAOS_SEED` repeats the choices of a run, `CHAOS_RUNS` says how many runs there are.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::client::{Route, StorageClient};
use common::fabric::{Address, FabricHandle, GrpcFabric};
use common::proto::{
    AwaitRunRequest, Empty, NodeStatus, RunReport, RunState, SubmitRequest, node, scheduler,
};
use common::schedulers::Schedulers;
use common::status::{Kind, Status};
use common::types::{Ring, UpdateId};
use futures::StreamExt;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{Marionette, free_ports, send};

const RUNS: usize = 2_000;
const COUNTERS: usize = 40;
/// Runs at once.
const CLIENTS: usize = 16;
const WORKERS: usize = 3;
const STORAGES: usize = 3;
const SCHEDULERS: usize = 2;
/// For everything: a machine that also compiles is slow.
const LIMIT: Duration = Duration::from_mins(15);
const CALL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// How long a run may take, and how often its tasks may be tried.
const RUN_MS: u64 = 14 * 60_000;
const APPLICATION: &str = "operator Tally 0 retries=100\noperator Tally 1 retries=100\n";

/// A node that can be killed and started again.
struct Node {
    url: String,
    arguments: Vec<String>,
    process: Option<Marionette>,
}

impl Node {
    fn start(url: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        let mut node = Self {
            url: url.to_owned(),
            arguments,
            process: None,
        };
        node.begin();
        node
    }

    fn begin(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.process = Some(Marionette::start(&arguments));
    }

    /// At once, without a goodbye; it is gone when this returns.
    fn kill(&mut self) {
        drop(self.process.take());
    }

    fn signal(&self, signal: Signal) {
        send(self.process.as_ref().unwrap().pid(), signal);
    }
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Worker,
    Storage,
    Scheduler,
}

struct Cluster {
    fabric: FabricHandle,
    storage: StorageClient,
    schedulers: Schedulers,
    nodes: BTreeMap<Role, Vec<Node>>,
    _data: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let url = || {
            let [port] = free_ports();
            format!("http://127.0.0.1:{port}")
        };
        let storages: Vec<String> = (0..STORAGES).map(|_| url()).collect();
        let ring: Vec<String> = (1..)
            .zip(&storages)
            .map(|(number, url)| format!("s{number}={url}"))
            .collect();
        // A run reads again what it has read: that must not have been discarded for all the others since.
        let ring = ["--ring", &ring.join(","), "--max-versions", "1000"];
        let schedulers: Vec<String> = (0..SCHEDULERS).map(|_| url()).collect();
        let storages = (1..).zip(&storages).map(|(number, url)| {
            let name = format!("s{number}");
            let directory = data.path().join(&name);
            let directory = directory.to_str().unwrap();
            let own = ["storage", &name, url, "0", "--data", directory];
            Node::start(url, &[&own[..], &ring].concat())
        });
        let storages: Vec<Node> = storages.collect();
        let of_runs = (1..).zip(&schedulers).map(|(number, url)| {
            let name = format!("sc{number}");
            Node::start(url, &[&["scheduler", &name, url][..], &ring].concat())
        });
        let of_runs = of_runs.collect();
        let workers = (1..=WORKERS).map(|number| {
            let (name, url) = (format!("w{number}"), url());
            // One names the others.
            let own = ["worker", &name, &url, "0", "--scheduler", &schedulers[0]];
            Node::start(&url, &own)
        });
        let workers = workers.collect();
        let fabric: FabricHandle = Arc::new(GrpcFabric::default());
        let nodes = Ring::parse_nodes(ring[1]).unwrap();
        let ring = Ring::new(nodes, None, common::types::CommitMode::Majority, 1000).unwrap();
        let schedulers = schedulers.iter().map(|url| Address::parse(url).unwrap());
        let cluster = Self {
            storage: StorageClient::new(fabric.clone(), Arc::new(ring), 0),
            schedulers: Schedulers::new(fabric.clone(), schedulers.collect()),
            fabric,
            nodes: [
                (Role::Worker, workers),
                (Role::Storage, storages),
                (Role::Scheduler, of_runs),
            ]
            .into(),
            _data: data,
        };
        cluster.until_ready().await;
        cluster
    }

    async fn status(&self, url: &str) -> Option<NodeStatus> {
        let at = Address::parse(url).unwrap();
        let client = node::Client::new(self.fabric.clone(), at, CALL);
        client.status(&Empty {}).await.ok()
    }

    /// All storage nodes are members, and all workers are known to the scheduler that leads.
    async fn until_ready(&self) {
        self.until_members().await;
        let started = Instant::now();
        let look = |scheduler: scheduler::Client| async move {
            let known = scheduler.cluster(&Empty {}).await?;
            let is_ready = known.leads && known.workers.len() == WORKERS;
            is_ready.then_some(()).ok_or(Status::unavailable("not yet"))
        };
        loop {
            if self.schedulers.ask(CALL, look).await.is_ok() {
                return;
            }
            assert!(started.elapsed() < LIMIT, "the workers do not register");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn until_members(&self) {
        let started = Instant::now();
        for node in &self.nodes[&Role::Storage] {
            while !self.status(&node.url).await.is_some_and(is_member) {
                assert!(started.elapsed() < LIMIT, "{} does not join", node.url);
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Kills one node, and starts it again after a while. Storage nodes are killed one at a time: the one before is a
    /// member again.
    async fn strike(&mut self, random: &mut StdRng) -> Role {
        let role = match random.random_range(0..10) {
            0..5 => Role::Worker,
            5..8 => Role::Storage,
            _ => Role::Scheduler,
        };
        if role == Role::Storage {
            self.until_members().await;
        }
        let nodes = self.nodes.get_mut(&role).unwrap();
        let place = random.random_range(0..nodes.len());
        if role == Role::Scheduler && random.random_bool(0.5) {
            // Longer than its lease.
            let frozen = Duration::from_millis(random.random_range(5_000..7_000));
            nodes[place].signal(Signal::SIGSTOP);
            tokio::time::sleep(frozen).await;
            nodes[place].signal(Signal::SIGCONT);
            return role;
        }
        let down = Duration::from_millis(random.random_range(0..800));
        nodes[place].kill();
        tokio::time::sleep(down).await;
        nodes[place].begin();
        role
    }
}

fn is_member(status: NodeStatus) -> bool {
    let mut details = status.details.into_iter();
    details.any(|detail| detail.name == "state" && detail.value == "member")
}

/// Submits a run and waits for its outcome, whoever is away meanwhile.
async fn run(schedulers: Schedulers, number: usize) -> (u64, RunReport) {
    let request = &SubmitRequest {
        input: counter(number),
        application: APPLICATION.to_owned(),
        application_name: "chaos.app".to_owned(),
        timeout_ms: RUN_MS,
        key: format!("chaos-{number}"),
        ..SubmitRequest::default()
    };
    let submit = |scheduler: scheduler::Client| async move { scheduler.submit(request).await };
    let run = loop {
        match schedulers.ask(CALL, submit).await {
            Ok(response) => break response.run,
            Err(status) => assert!(is_passing(status.kind), "{status:?}"),
        }
        tokio::time::sleep(POLL).await;
    };
    let wait_ms = 5_000;
    let request = &AwaitRunRequest { run, wait_ms };
    let wait = |scheduler: scheduler::Client| async move { scheduler.await_run(request).await };
    loop {
        match schedulers.ask(CALL, wait).await {
            Ok(report) if report.state() != RunState::Running => return (run, report),
            Ok(_) => {}
            Err(status) => {
                assert!(is_passing(status.kind), "run {run}: {status:?}");
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

fn is_passing(kind: Kind) -> bool {
    matches!(kind, Kind::Unavailable | Kind::Timeout | Kind::Overloaded)
}

fn counter(number: usize) -> String {
    format!("counter-{}", number % COUNTERS)
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_run_completes_and_does_everything_once_whoever_is_killed() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(chaos());
}

async fn chaos() {
    let seed = from_environment("CHAOS_SEED").unwrap_or_else(rand::random::<u64>);
    let runs: usize = from_environment("CHAOS_RUNS").unwrap_or(RUNS);
    println!("CHAOS_SEED={seed} CHAOS_RUNS={runs}");
    let mut cluster = Cluster::start().await;
    let ended = Arc::new(AtomicUsize::new(0));
    let clients = tokio::spawn(clients(cluster.schedulers.clone(), runs, ended.clone()));
    let mut random = StdRng::seed_from_u64(seed);
    let mut strikes: BTreeMap<Role, u32> = BTreeMap::new();
    let started = Instant::now();
    while ended.load(Ordering::Relaxed) < runs && !clients.is_finished() {
        assert!(
            started.elapsed() < LIMIT,
            "only {ended:?} of {runs} runs ended"
        );
        let role = cluster.strike(&mut random).await;
        *strikes.entry(role).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
    }
    let outcomes = clients.await.unwrap();
    let took = started.elapsed();
    println!("{runs} runs in {took:?}, killed: {strikes:?}");
    cluster.until_ready().await;
    check(&cluster, outcomes).await;
}

/// The outcomes of all runs, by their numbers.
async fn clients(
    schedulers: Schedulers,
    runs: usize,
    ended: Arc<AtomicUsize>,
) -> Vec<(u64, RunReport)> {
    let runs = futures::stream::iter((0..runs).map(|number| {
        let (schedulers, ended) = (schedulers.clone(), ended.clone());
        async move {
            let outcome = run(schedulers, number).await;
            ended.fetch_add(1, Ordering::Relaxed);
            outcome
        }
    }));
    runs.buffer_unordered(CLIENTS).collect().await
}

async fn check(cluster: &Cluster, outcomes: Vec<(u64, RunReport)>) {
    let mut of_counter: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (run, report) in outcomes {
        assert_eq!(report.state(), RunState::Completed, "{report:?}");
        of_counter.entry(report.input).or_default().push(run);
    }
    for (sequence, (counter, mut runs)) in (0..).zip(of_counter) {
        let count = read(cluster, &counter, 2 * sequence).await;
        let log = read(cluster, &format!("{counter}/log"), 2 * sequence + 1).await;
        let mut entries: Vec<&str> = log.split_whitespace().collect();
        entries.sort_unstable();
        runs.sort_unstable();
        let stages = runs
            .iter()
            .flat_map(|run| [0, 1].map(|stage| format!("{run}/{stage}")));
        let mut expected: Vec<String> = stages.collect();
        expected.sort_unstable();
        assert_eq!(entries, expected, "the log of {counter}");
        assert_eq!(count, expected.len().to_string(), "{counter}");
    }
}

async fn read(cluster: &Cluster, record: &str, sequence: u64) -> String {
    let route = Route {
        only: None,
        deadline_ms: cluster.fabric.now_ms() + 60_000,
    };
    let id = UpdateId {
        origin: "chaos".to_owned(),
        sequence,
    };
    let found = cluster.storage.read_linearizable(id, record, route).await;
    let value = found.unwrap().existing().unwrap().value;
    String::from_utf8(value.to_vec()).unwrap()
}
