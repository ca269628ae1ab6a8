//! The whole role on the local fabric, with a worker and a puppetmaster played by the test.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use common::fabric::{Address, FabricHandle, LocalFabric, Router, Serving, Task};
use common::proto::{self, Empty, RunState, node, puppetmaster, scheduler, stage_report, worker};
use common::status::{Kind, Status};
use common::types::{CommitMode, ComponentHash, Ring};
use tokio::sync::{Semaphore, mpsc};

const PATIENCE: Duration = Duration::from_secs(30);

/// A worker that shows the test what it is told; and a puppetmaster.
struct Played {
    tasks: mpsc::UnboundedSender<proto::Task>,
    cancelled: mpsc::UnboundedSender<proto::CancelRunRequest>,
    lines: mpsc::UnboundedSender<String>,
}

impl worker::Service for Played {
    async fn execute(&self, request: proto::Task) -> Result<Empty, Status> {
        self.tasks.send(request).unwrap();
        Ok(Empty {})
    }

    async fn cancel_run(&self, request: proto::CancelRunRequest) -> Result<Empty, Status> {
        self.cancelled.send(request).unwrap();
        Ok(Empty {})
    }

    async fn stop_task(&self, _: proto::TaskName) -> Result<Empty, Status> {
        Ok(Empty {})
    }

    async fn fetch(&self, _: proto::FetchRequest) -> Result<proto::FetchResponse, Status> {
        Err(Status::not_found("it holds nothing for others"))
    }

    /// Every component holds the class Mine.
    async fn prepare(
        &self,
        request: proto::PrepareRequest,
    ) -> Result<proto::PrepareResponse, Status> {
        if request.component == bad_component() {
            return Err(Status::refused("it is no operator component"));
        }
        Ok(proto::PrepareResponse {
            classes: vec!["Mine".to_owned()],
            component_bytes: 3,
            language: "Rust".to_owned(),
        })
    }
}

impl puppetmaster::Service for Played {
    async fn debug(&self, request: proto::DebugLine) -> Result<Empty, Status> {
        self.lines.send(request.line).unwrap();
        Ok(Empty {})
    }
}

/// A second worker, w2, which gets ready for a component when it is let, and says when it is asked.
struct Slow {
    asked: mpsc::UnboundedSender<bytes::Bytes>,
    may_answer: Arc<Semaphore>,
}

impl Slow {
    /// Registers it; what it is asked for, how it is let, and what keeps it there.
    async fn join(
        stage: &Stage,
    ) -> (
        mpsc::UnboundedReceiver<bytes::Bytes>,
        Arc<Semaphore>,
        Serving,
    ) {
        let (asked_in, asked) = mpsc::unbounded_channel();
        let may_answer = Arc::new(Semaphore::new(0));
        let slow = Self {
            asked: asked_in,
            may_answer: may_answer.clone(),
        };
        let router = Router::default().with(worker::Server(Arc::new(slow)));
        let serving = stage.fabric.serve(&address(0), router).await.unwrap();
        let at = proto::WorkerAddress {
            name: "w2".to_owned(),
            url: serving.address.to_string(),
        };
        stage.beat_of(at).await;
        (asked, may_answer, serving)
    }
}

impl worker::Service for Slow {
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

    async fn prepare(
        &self,
        request: proto::PrepareRequest,
    ) -> Result<proto::PrepareResponse, Status> {
        self.asked.send(request.component).unwrap();
        let _permit = self.may_answer.acquire().await.unwrap();
        Ok(proto::PrepareResponse::default())
    }
}

struct Stage {
    fabric: FabricHandle,
    client: scheduler::Client,
    node: node::Client,
    played: Serving,
    tasks: mpsc::UnboundedReceiver<proto::Task>,
    cancelled: mpsc::UnboundedReceiver<proto::CancelRunRequest>,
    lines: mpsc::UnboundedReceiver<String>,
    _scheduler: Task,
    _storage: Task,
}

impl Stage {
    /// A scheduler without a ring, and a worker w1 that has not registered.
    async fn set() -> Self {
        Self::set_with(true).await
    }

    async fn set_with(warm_up: bool) -> Self {
        let fabric: FabricHandle = Arc::new(LocalFabric::default());
        let (tasks_in, tasks) = mpsc::unbounded_channel();
        let (cancelled_in, cancelled) = mpsc::unbounded_channel();
        let (lines_in, lines) = mpsc::unbounded_channel();
        let played = Arc::new(Played {
            tasks: tasks_in,
            cancelled: cancelled_in,
            lines: lines_in,
        });
        let router = Router::default()
            .with(worker::Server(played.clone()))
            .with(puppetmaster::Server(played));
        let played = fabric.serve(&address(0), router).await.unwrap();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let on_ready =
            Box::new(move |serving: &Serving| ready.send(serving.address.clone()).unwrap());
        let config = ::scheduler::Config {
            name: "sc1".to_owned(),
            address: address(0),
            ring: None,
            warm_up,
            keep_runs: 100,
            http: None,
        };
        let storage = start_storage(&fabric);
        let network = fabric.clone();
        let role = fabric.spawn(Box::pin(async move {
            ::scheduler::run(config, network, std::future::pending(), on_ready)
                .await
                .unwrap();
        }));
        let at = is_ready.await.unwrap();
        let client = scheduler::Client::new(fabric.clone(), at.clone(), PATIENCE);
        let node = node::Client::new(fabric.clone(), at, PATIENCE);
        Self {
            fabric,
            client,
            node,
            played,
            tasks,
            cancelled,
            lines,
            _scheduler: role,
            _storage: storage,
        }
    }

    /// The same with a ring and a registered worker that has A and B.
    async fn ready() -> Self {
        Self::ready_with(true).await
    }

    async fn ready_with(warm_up: bool) -> Self {
        let stage = Self::set_with(warm_up).await;
        stage.client.set_ring(&set_ring(1)).await.unwrap();
        let response = stage.beat().await;
        assert_eq!(response.ring, set_ring(1).ring);
        stage
    }

    fn me(&self) -> proto::WorkerAddress {
        proto::WorkerAddress {
            name: "w1".to_owned(),
            url: self.played.address.to_string(),
        }
    }

    async fn beat(&self) -> proto::HeartbeatResponse {
        self.beat_of(self.me()).await
    }

    async fn beat_of(&self, worker: proto::WorkerAddress) -> proto::HeartbeatResponse {
        let classes = ["B", "A"].map(str::to_owned).to_vec();
        let request = proto::HeartbeatRequest {
            worker: Some(worker),
            incarnation: 7,
            classes,
            slots: 4,
        };
        self.client.heartbeat(&request).await.unwrap()
    }

    async fn deploy(&self, text: &str) -> Result<proto::DeployResponse, Status> {
        let component = component(text);
        let request = proto::DeployRequest { component };
        self.client.deploy(&request).await
    }

    async fn submit(&self, application: &str) -> Result<u64, Status> {
        self.submit_with_key("", application).await
    }

    async fn submit_with_key(&self, key: &str, application: &str) -> Result<u64, Status> {
        let request = proto::SubmitRequest {
            seen: vec![],
            input: "13".to_owned(),
            application: application.to_owned(),
            application_name: "app".to_owned(),
            timeout_ms: 0,
            key: key.to_owned(),
        };
        self.client
            .submit(&request)
            .await
            .map(|response| response.run)
    }

    fn report(&self, task: &proto::Task, end: stage_report::End) -> proto::StageReport {
        let meta = task.meta.as_ref().unwrap();
        proto::StageReport {
            run: meta.run,
            attempt: meta.attempt,
            stage: task.next,
            task: task.task,
            worker: Some(self.me()),
            queue_ms: 1,
            run_ms: 2,
            cold_ms: 0,
            calls: None,
            end: Some(end),
            permanent: false,
            scheduler_incarnation: meta.scheduler_incarnation,
        }
    }

    async fn report_of(&self, run: u64) -> proto::RunReport {
        self.client
            .await_run(&proto::AwaitRunRequest {
                run,
                wait_ms: 10_000,
            })
            .await
            .unwrap()
    }
}

fn address(port: u16) -> Address {
    Address::parse(&format!("127.0.0.1:{port}")).unwrap()
}

fn ring() -> Ring {
    let nodes = vec![("s1".to_owned(), address(3000))];
    Ring::new(nodes, None, CommitMode::FailStop, 10).unwrap()
}

/// The storage node of the ring, which holds the catalog.
fn start_storage(fabric: &FabricHandle) -> Task {
    let config = storage::Config {
        name: "s1".to_owned(),
        address: address(3000),
        gossip_delay_ms: 0,
        ring: Some(ring()),
        data: None,
        limits: storage::Limits::default(),
        simulated: false,
    };
    let network = fabric.clone();
    fabric.spawn(Box::pin(async move {
        storage::run(config, network, std::future::pending(), Box::new(|_| {}))
            .await
            .unwrap();
    }))
}

fn component(text: &str) -> bytes::Bytes {
    let hash = ComponentHash::of(text.as_bytes());
    bytes::Bytes::from(hash.bytes().to_vec())
}

fn bad_component() -> bytes::Bytes {
    component("bad")
}

fn set_ring(epoch: u64) -> proto::SetRingRequest {
    let ring = ring();
    proto::SetRingRequest {
        ring: Some(proto::Ring::from(&Ring { epoch, ..ring })),
        fresh: true,
    }
}

fn returned(value: &'static str) -> stage_report::End {
    let pin = proto::Pin {
        floor: false,
        record: "13".to_owned(),
        version: Some(proto::Version {
            number: 3,
            replica: 1,
            step: 0,
        }),
    };
    let items = vec![proto::Item {
        key: None,
        value: value.into(),
    }];
    stage_report::End::Output(proto::StageOutput {
        items,
        pins: vec![pin],
    })
}

#[tokio::test]
async fn a_run_goes_from_submission_to_outcome() {
    let mut stage = Stage::ready().await;
    let run = stage.submit("operator A 0 timeout=2s").await.unwrap();
    let task = stage.tasks.recv().await.unwrap();
    assert_eq!((task.input.as_str(), task.next), ("13", 0));
    assert_eq!(task.chain[0].worker, Some(stage.me()));
    assert_eq!(task.chain[0].timeout_ms, Some(2_000));
    let left_ms = task.meta.as_ref().unwrap().deadline_ms;
    assert!((59_000..=60_000).contains(&left_ms), "{left_ms}");
    stage
        .client
        .stage_done(&stage.report(&task, returned("14")))
        .await
        .unwrap();
    let report = stage.report_of(run).await;
    assert_eq!(report.state(), RunState::Completed);
    assert_eq!(report.output[0].value, "14");
    let listed = stage
        .client
        .runs(&proto::RunsRequest { limit: 5 })
        .await
        .unwrap()
        .runs;
    assert_eq!(
        (listed.len(), listed[0].output.len()),
        (1, 0),
        "lists are without items"
    );
}

#[tokio::test]
async fn a_client_that_waits_is_answered_when_the_run_ends() {
    let mut stage = Stage::ready().await;
    let run = stage.submit("operator A 0").await.unwrap();
    let task = stage.tasks.recv().await.unwrap();
    let report = stage.report(&task, returned("14"));
    let (report, done) = tokio::join!(stage.report_of(run), stage.client.stage_done(&report));
    done.unwrap();
    assert_eq!(report.state(), RunState::Completed);
}

#[tokio::test]
async fn a_retry_carries_the_checkpoint_and_a_failed_run_is_cancelled_at_its_workers() {
    let mut stage = Stage::ready().await;
    let run = stage
        .submit("operator A 0\noperator B 1 retries=1")
        .await
        .unwrap();
    let first = stage.tasks.recv().await.unwrap();
    stage
        .client
        .stage_done(&stage.report(&first, returned("14")))
        .await
        .unwrap();
    let mut forwarded = first.clone();
    forwarded.next = 1;
    let failed = stage_report::End::Error("no luck".to_owned());
    stage
        .client
        .stage_done(&stage.report(&forwarded, failed.clone()))
        .await
        .unwrap();
    let retry = stage.tasks.recv().await.unwrap();
    let meta = retry.meta.clone().unwrap();
    assert_eq!((retry.next, meta.attempt), (1, 2));
    assert_eq!(retry.chain[0].output[0].value, "14");
    assert_eq!(meta.pins[0].record, "13");
    stage
        .client
        .stage_done(&stage.report(&retry, failed))
        .await
        .unwrap();
    let report = stage.report_of(run).await;
    assert_eq!(
        report.error,
        "operator B (stage 1) failed on worker w1 in attempt 2: no luck"
    );
    assert_eq!(stage.cancelled.recv().await.unwrap().run, run);
}

#[tokio::test]
async fn what_is_said_of_another_schedulers_runs_is_refused() {
    let mut stage = Stage::ready().await;
    let run = stage.submit("operator A 0").await.unwrap();
    let task = stage.tasks.recv().await.unwrap();
    let mut report = stage.report(&task, returned("14"));
    report.scheduler_incarnation ^= 1;
    let refusal = stage.client.stage_done(&report).await.unwrap_err();
    assert_eq!(refusal.kind, Kind::NotFound);
    let asked = proto::ReassignRequest {
        run,
        attempt: 1,
        stage: 1,
        gone: "w1".to_owned(),
        scheduler_incarnation: report.scheduler_incarnation,
    };
    assert_eq!(
        stage.client.reassign(&asked).await.unwrap_err().kind,
        Kind::NotFound
    );
    let report = stage
        .client
        .await_run(&proto::AwaitRunRequest { run, wait_ms: 0 })
        .await
        .unwrap();
    assert_eq!(report.state(), RunState::Running);
}

#[tokio::test]
async fn before_ring_and_workers_are_known_runs_are_refused() {
    let stage = Stage::set().await;
    assert!(
        stage
            .submit("operator A 0")
            .await
            .unwrap_err()
            .message
            .contains("no worker is active")
    );
    stage.beat().await;
    let refusal = stage.submit("operator A 0").await.unwrap_err();
    assert_eq!(refusal.kind, Kind::Unavailable);
    assert!(
        refusal.message.contains("no storage nodes are known"),
        "{refusal}"
    );
    stage.client.set_ring(&set_ring(2)).await.unwrap();
    assert!(stage.submit("operator A 0").await.is_ok());
    assert_eq!(
        stage.client.set_ring(&set_ring(1)).await.unwrap_err().kind,
        Kind::Refused
    );
    let cluster = stage.client.cluster(&Empty {}).await.unwrap();
    assert_eq!(cluster.ring, set_ring(2).ring);
    assert_eq!(cluster.workers[0].classes, ["A", "B"]);
    assert_eq!(cluster.workers[0].outstanding, 1);
}

#[tokio::test]
async fn a_cancellation_is_answered_when_the_workers_know_of_it() {
    let mut stage = Stage::ready().await;
    let run = stage.submit("operator A 0").await.unwrap();
    stage
        .client
        .cancel(&proto::CancelRequest { run })
        .await
        .unwrap();
    assert_eq!(stage.cancelled.try_recv().unwrap().run, run);
    assert_eq!(stage.report_of(run).await.state(), RunState::Cancelled);
    let unknown = stage.client.cancel(&proto::CancelRequest { run: 7 }).await;
    assert_eq!(unknown.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test]
async fn one_key_submitted_a_hundred_times_at_once_makes_one_run() {
    let mut stage = Stage::ready().await;
    let submissions = (0..100).map(|_| stage.submit_with_key("order-7", "operator A 0"));
    for run in futures::future::join_all(submissions).await {
        assert_eq!(run.unwrap(), 1);
    }
    let task = stage.tasks.recv().await.unwrap();
    assert_eq!(task.meta.unwrap().run, 1);
    let runs = proto::RunsRequest { limit: 0 };
    assert_eq!(stage.client.runs(&runs).await.unwrap().runs.len(), 1);
    let refused = stage.submit_with_key("order-7", "operator B 0").await;
    assert_eq!(refused.unwrap_err().kind, Kind::AlreadyExists);
    let refused = stage
        .submit_with_key(&"k".repeat(129), "operator A 0")
        .await;
    assert_eq!(refused.unwrap_err().kind, Kind::InvalidArgument);
}

#[tokio::test]
async fn what_is_wrong_or_too_large_is_refused() {
    let stage = Stage::ready().await;
    let large = proto::SubmitRequest {
        key: String::new(),
        seen: vec![],
        input: "x".repeat((1 << 20) + 1),
        application: "operator A 0".to_owned(),
        application_name: "app".to_owned(),
        timeout_ms: 0,
    };
    assert!(
        stage
            .client
            .submit(&large)
            .await
            .unwrap_err()
            .message
            .contains("at most 1048576 bytes")
    );
    let refusal = stage
        .submit(&"#".repeat((256 << 10) + 1))
        .await
        .unwrap_err();
    assert!(
        refusal.message.contains("at most 262144 bytes"),
        "{refusal}"
    );
    let refusal = stage.submit("").await.unwrap_err();
    assert!(refusal.message.contains("no stages"), "{refusal}");
    let nobody = proto::HeartbeatRequest {
        worker: None,
        incarnation: 1,
        classes: vec![],
        slots: 1,
    };
    assert_eq!(
        stage.client.heartbeat(&nobody).await.unwrap_err().kind,
        Kind::InvalidArgument
    );
    assert_eq!(
        stage
            .client
            .stage_done(&proto::StageReport::default())
            .await
            .unwrap_err()
            .kind,
        Kind::NotFound
    );
}

#[tokio::test]
async fn changes_of_runs_are_told_to_whoever_debugs_and_status_counts_them() {
    let mut stage = Stage::ready().await;
    let url = stage.played.address.to_string();
    stage
        .node
        .set_debug(&proto::SetDebugRequest { url })
        .await
        .unwrap();
    stage.submit("operator A 0").await.unwrap();
    let line = stage.lines.recv().await.unwrap();
    assert_eq!(line, "run 1 submitted: app on \"13\", assigned to w1");
    let status = stage.node.status(&Empty {}).await.unwrap();
    let detail = |name: &str| {
        status
            .details
            .iter()
            .find(|detail| detail.name == name)
            .unwrap()
            .value
            .clone()
    };
    assert_eq!(detail("runs in flight"), "1");
    assert_eq!(detail("tasks outstanding"), "1");
    assert_eq!(
        (
            status.peers[0].name.as_str(),
            status.peers[0].state.as_str()
        ),
        ("w1", "present")
    );
}

#[tokio::test]
async fn what_is_deployed_is_pinned_by_runs_and_rolled_back_for_the_next_one() {
    let mut stage = Stage::ready().await;
    for text in ["one", "two"] {
        let deployed = stage.deploy(text).await.unwrap().classes;
        let [class] = deployed.as_slice() else {
            panic!("{deployed:?}")
        };
        assert_eq!(class.class, "Mine");
        assert_eq!(class.deployments.last().unwrap().component, component(text));
        stage.submit("operator Mine 0").await.unwrap();
        let task = stage.tasks.recv().await.unwrap();
        assert_eq!(task.chain[0].component, Some(component(text)));
    }
    let refused = stage.deploy("bad").await.unwrap_err();
    assert_eq!(refused.message, "it is no operator component");
    let request = proto::RollbackRequest {
        class: "Mine".to_owned(),
    };
    stage.client.rollback(&request).await.unwrap();
    stage.submit("operator Mine 0").await.unwrap();
    let task = stage.tasks.recv().await.unwrap();
    assert_eq!(task.chain[0].component, Some(component("one")));
    let listed = stage.client.operators(&Empty {}).await.unwrap();
    let catalog = listed.catalog.unwrap();
    assert_eq!((catalog.classes.len(), catalog.classes[0].current), (1, 0));
    let pinned = listed.pinned.iter().map(|pinned| {
        let component = &pinned.component;
        (*component == self::component("one"), pinned.runs.clone())
    });
    let mut pinned: Vec<_> = pinned.collect();
    pinned.sort();
    assert_eq!(pinned, [(false, vec![2]), (true, vec![1, 3])]);
    let nothing_left = stage.client.rollback(&request).await.unwrap_err();
    assert_eq!(nothing_left.kind, Kind::Refused);
}

#[tokio::test]
async fn no_run_uses_what_is_deployed_before_all_workers_are_ready_for_it() {
    let mut stage = Stage::ready().await;
    stage.deploy("one").await.unwrap();
    let (mut asked, may_answer, _slow) = Slow::join(&stage).await;
    assert_eq!(asked.recv().await, Some(component("one")));
    let deploying = stage.deploy("two");
    let meanwhile = async {
        let component_two = tokio::time::timeout(PATIENCE, asked.recv()).await;
        assert_eq!(component_two.unwrap(), Some(component("two")));
        stage.submit("operator Mine 0").await.unwrap();
        may_answer.add_permits(1);
    };
    let (deployed, ()) = tokio::join!(deploying, meanwhile);
    deployed.unwrap();
    let first = stage.tasks.recv().await.unwrap();
    assert_eq!(first.chain[0].component, Some(component("one")));
    stage
        .client
        .stage_done(&stage.report(&first, returned("x")))
        .await
        .unwrap();
    stage.submit("operator Mine 0").await.unwrap();
    stage.submit("operator Mine 0").await.unwrap();
    let second = stage.tasks.recv().await.unwrap();
    assert_eq!(second.chain[0].component, Some(component("two")));
}

#[tokio::test]
async fn without_warm_up_a_deployment_asks_one_worker_only() {
    let stage = Stage::ready_with(false).await;
    let (mut asked, _, slow) = Slow::join(&stage).await;
    // What the first deployment may have asked has arrived when the second one is done.
    stage.deploy("one").await.unwrap();
    stage.deploy("two").await.unwrap();
    drop(slow);
    assert_eq!(asked.recv().await, None);
}
