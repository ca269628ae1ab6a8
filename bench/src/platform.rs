//! A storage with a scheduler and workers: all processes that it takes to run operators.
//!
//! Promises: started, all workers have registered; no worker has anything compiled from before, and none shares what it
//! compiles; all are gone when this is dropped. Workers are named `w1`, `w2`, …

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::client::Route;
use common::client::components::Origin;
use common::fabric::Address;
use common::proto::{DeployRequest, Empty, RunReport, SubmitRequest, scheduler};
use storage::SyncMode;

use crate::cluster::{Cluster, PATIENCE, Settings};
use crate::launcher::Launcher;
use crate::ports;
use crate::process::{Process, log_of};
use crate::speed::{Result, Trouble};

const POLL: Duration = Duration::from_millis(20);
/// How long any one request may take.
const REQUEST: Duration = Duration::from_mins(3);
const RUN_MS: u32 = 60_000;

/// Workers and the scheduler end before the storage that they use, and all before the thread that has started them.
pub struct Platform {
    scheduler: scheduler::Client,
    workers: usize,
    _processes: Vec<Process>,
    cluster: Cluster,
    _launcher: Launcher,
}

impl Platform {
    /// One storage node, which keeps everything in memory, a scheduler that is given these options, and so many workers.
    pub async fn start(binary: &Path, workers: usize, options: &[&str]) -> Result<Self> {
        let settings = Settings {
            sync: None::<SyncMode>,
            ..Settings::new(binary.to_owned())
        };
        let cluster = Cluster::start(settings, 1).await?;
        let launcher = Launcher::new()?;
        let mut addresses = ports::free().map(|port| format!("http://127.0.0.1:{port}"));
        let mut address = || addresses.next().ok_or("no port is free");
        let at = address()?;
        let mut command = Command::new(binary);
        command.args(["scheduler", "sc1", &at]).args(options);
        command.args(cluster.ring_arguments());
        let mut processes = vec![process(&launcher, &cluster, "sc1", command).await?];
        for number in 1..=workers {
            let name = format!("w{number}");
            let mut command = Command::new(binary);
            command.args(["worker", &name, address()?.as_str(), "0"]);
            command.args(["--scheduler", &at, "--operator-cache"]);
            command.arg(code_cache(&cluster, &name));
            processes.push(process(&launcher, &cluster, &name, command).await?);
        }
        let to = Address::parse(&at)?;
        let scheduler = scheduler::Client::new(cluster.fabric().clone(), to, REQUEST);
        let platform = Self {
            scheduler,
            workers,
            _processes: processes,
            cluster,
            _launcher: launcher,
        };
        platform.await_workers().await?;
        Ok(platform)
    }

    /// Stores a component and makes it the current one of its classes.
    pub async fn deploy(&self, component: &Bytes) -> Result<()> {
        let route = Route {
            only: None,
            deadline_ms: self.cluster.fabric().now_ms() + u64::from(RUN_MS),
        };
        let mut origin = Origin::new("bench".to_owned());
        let client = self.cluster.client(0);
        let stored = client.put_component(component, &mut origin, route, |_| ());
        let hash = stored.await?.bytes().to_vec();
        let component = hash.into();
        self.scheduler.deploy(&DeployRequest { component }).await?;
        Ok(())
    }

    /// Submits a run and waits for its outcome; an error unless it completes.
    pub async fn run(&self, input: &str, application: &str) -> Result<RunReport> {
        let request = SubmitRequest {
            key: String::new(),
            input: input.to_owned(),
            application: application.to_owned(),
            application_name: "bench.app".to_owned(),
            timeout_ms: RUN_MS.into(),
            seen: Vec::new(),
        };
        let run = self.scheduler.submit(&request).await?.run;
        let request = common::proto::AwaitRunRequest {
            run,
            wait_ms: RUN_MS,
        };
        let report = self.scheduler.await_run(&request).await?;
        if report.state() != common::proto::RunState::Completed {
            return Err(Trouble(format!("a run has not completed: {}", report.error)).into());
        }
        Ok(report)
    }

    async fn await_workers(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let registered = self.scheduler.cluster(&Empty {}).await?.workers.len();
            if registered == self.workers {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let why = format!("{registered} of {} workers have registered", self.workers);
                return Err(Trouble(why).into());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn code_cache(cluster: &Cluster, worker: &str) -> PathBuf {
    cluster.directory().join(format!("{worker}-compiled"))
}

async fn process(
    launcher: &Launcher,
    cluster: &Cluster,
    name: &str,
    command: Command,
) -> Result<Process> {
    let log = log_of(cluster.directory(), name);
    Ok(Process::start(launcher, name, command, &log, PATIENCE).await?)
}
