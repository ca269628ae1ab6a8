//! A cluster of real processes that was started by hand, and a client of it: what a test must ask or kill itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use common::fabric::{Address, FabricHandle, GrpcFabric};
use common::proto::{
    AwaitRunRequest, CancelRequest, Empty, RunReport, SubmitRequest, node, scheduler,
};
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use super::{Marionette, free_ports, send, wait_until};

/// Of one call; a wait for something longer asks again.
const CALL_MAX: Duration = Duration::from_secs(10);

/// One storage node, a scheduler, and workers `w1`, `w2`, … which run two tasks at once.
pub struct ByHand {
    runtime: Runtime,
    fabric: FabricHandle,
    scheduler: scheduler::Client,
    workers: BTreeMap<String, (Marionette, Address)>,
    _others: [Marionette; 2],
}

/// What the status of a worker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub running: u64,
    pub queued: u64,
    /// Tasks that it has ever started.
    pub started: u64,
}

impl ByHand {
    /// Returns when all workers have registered. They load operators of the directory, too.
    #[track_caller]
    pub fn start(workers: usize, operators: &Path) -> Self {
        let [storage, scheduler] = free_ports().map(|port: u16| format!("http://127.0.0.1:{port}"));
        let ring = format!("s1={storage}");
        let others = [
            vec!["storage", "s1", &storage, "0", "--ring", &ring],
            vec!["scheduler", "sc1", &scheduler, "--ring", &ring],
        ];
        let others = others.map(|arguments| Marionette::start(&arguments));
        let operators = operators.to_str().unwrap();
        let worker = |number: usize| {
            let [port] = free_ports();
            let (name, url) = (format!("w{number}"), format!("http://127.0.0.1:{port}"));
            let arguments = ["worker", &name, &url, "0", "--scheduler", &scheduler];
            let options = ["--slots", "2", "--operators", operators];
            let process = Marionette::start(&[&arguments[..], &options].concat());
            (name, (process, Address::parse(&url).unwrap()))
        };
        let runtime = Runtime::new().unwrap();
        let fabric: FabricHandle = std::sync::Arc::new(GrpcFabric::default());
        let to = Address::parse(&scheduler).unwrap();
        let cluster = Self {
            scheduler: scheduler::Client::new(fabric.clone(), to, CALL_MAX),
            workers: (1..=workers).map(worker).collect(),
            runtime,
            fabric,
            _others: others,
        };
        wait_until("workers that have registered", || {
            let known = cluster.wait(cluster.scheduler.cluster(&Empty {})).ok()?;
            (known.workers.len() == workers).then_some(())
        });
        cluster
    }

    fn wait<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }

    /// Submits a run, which has as long as a test may wait.
    pub fn submit(&self, input: &str, application: &str) -> u64 {
        let request = SubmitRequest {
            input: input.to_owned(),
            application: application.to_owned(),
            application_name: "test.app".to_owned(),
            timeout_ms: 120_000,
            ..SubmitRequest::default()
        };
        self.wait(self.scheduler.submit(&request)).unwrap().run
    }

    /// What is known of the run after at most this time.
    pub fn report(&self, run: u64, wait_ms: u32) -> RunReport {
        let request = AwaitRunRequest { run, wait_ms };
        self.wait(self.scheduler.await_run(&request)).unwrap()
    }

    /// Returns when the scheduler has acknowledged it.
    pub fn cancel(&self, run: u64) {
        self.wait(self.scheduler.cancel(&CancelRequest { run }))
            .unwrap();
    }

    pub fn load(&self, worker: &str) -> Load {
        let (_, address) = self.workers.get(worker).unwrap();
        let client = node::Client::new(self.fabric.clone(), address.clone(), CALL_MAX);
        let status = self.wait(client.status(&Empty {})).unwrap();
        let detail = |name: &str| {
            let mut details = status.details.iter();
            let detail = details.find(|detail| detail.name == name).unwrap();
            detail.value.parse().unwrap()
        };
        Load {
            running: detail("running"),
            queued: detail("queued"),
            started: detail("tasks started"),
        }
    }

    /// Kills a worker as a crash of its machine would: it says nothing any more, and nobody is told.
    pub fn kill(&mut self, worker: &str) {
        let (process, _) = self.workers.remove(worker).unwrap();
        send(process.pid(), Signal::SIGKILL);
    }
}
