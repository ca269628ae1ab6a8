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
use common::proto::{DeployRequest, Empty, RunReport, scheduler};
use storage::SyncMode;

use crate::cluster::{Cluster, PATIENCE, Settings};
use crate::launcher::Launcher;
use crate::ports;
use crate::process::{Process, log_of};
use crate::runs::Runs;
use crate::speed::measure::Servers;
use crate::speed::{Result, Trouble};

const POLL: Duration = Duration::from_millis(20);
/// How long any one request may take.
const REQUEST: Duration = Duration::from_mins(3);
const DEPLOYMENT_MS: u64 = 60_000;

/// What it consists of, and what its processes are told besides.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// They keep everything in memory.
    pub storages: usize,
    pub workers: usize,
    /// Options of the scheduler, and of each worker.
    pub scheduler: &'a [&'a str],
    pub worker: &'a [&'a str],
}

impl Default for Shape<'_> {
    /// One storage node, one worker.
    fn default() -> Self {
        Self {
            storages: 1,
            workers: 1,
            scheduler: &[],
            worker: &[],
        }
    }
}

/// Workers and the scheduler end before the storage that they use, and all before the thread that has started them.
pub struct Platform {
    scheduler: scheduler::Client,
    runs: Runs,
    workers: usize,
    /// The scheduler first.
    processes: Vec<Process>,
    cluster: Cluster,
    _launcher: Launcher,
}

impl Platform {
    pub async fn start(binary: &Path, shape: Shape<'_>) -> Result<Self> {
        let settings = Settings {
            sync: None::<SyncMode>,
            ..Settings::new(binary.to_owned())
        };
        let cluster = Cluster::start(settings, shape.storages).await?;
        let launcher = Launcher::new()?;
        let mut addresses = ports::free().map(|port| format!("http://127.0.0.1:{port}"));
        let mut address = || addresses.next().ok_or("no port is free");
        let at = address()?;
        let mut command = Command::new(binary);
        command
            .args(["scheduler", "sc1", &at])
            .args(shape.scheduler)
            .args(cluster.ring_arguments());
        let mut processes = vec![process(&launcher, &cluster, "sc1", command).await?];
        for number in 1..=shape.workers {
            let name = format!("w{number}");
            let mut command = Command::new(binary);
            command
                .args(["worker", &name, address()?.as_str(), "0"])
                .args(["--scheduler", &at, "--operator-cache"])
                .arg(code_cache(&cluster, &name))
                .args(shape.worker);
            processes.push(process(&launcher, &cluster, &name, command).await?);
        }
        let to = Address::parse(&at)?;
        let fabric = cluster.fabric().clone();
        let platform = Self {
            scheduler: scheduler::Client::new(fabric.clone(), to.clone(), REQUEST),
            runs: Runs::new(fabric, to),
            workers: shape.workers,
            processes,
            cluster,
            _launcher: launcher,
        };
        platform.await_workers().await?;
        Ok(platform)
    }

    /// Its storage.
    pub fn storage(&self) -> &Cluster {
        &self.cluster
    }

    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Of the scheduler, and of the workers in the order of their numbers.
    pub fn pids_of_runs(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(Process::pid)
    }

    /// Stores a component and makes it the current one of its classes.
    pub async fn deploy(&self, component: &Bytes) -> Result<()> {
        let route = Route {
            only: None,
            deadline_ms: self.cluster.fabric().now_ms() + DEPLOYMENT_MS,
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
        Ok(self.runs.complete(input, application).await?)
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

impl Servers for Platform {
    fn pids(&self) -> Vec<u32> {
        let storage = Servers::pids(&self.cluster);
        storage.into_iter().chain(self.pids_of_runs()).collect()
    }

    async fn syncs(&self) -> Result<u64> {
        self.cluster.syncs().await
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
