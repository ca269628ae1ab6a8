//! The same cluster in this process: every node is a task on the local fabric.

use std::sync::Arc;

use bench::runs::Runs;
use bench::speed::Result;
use bench::speed::measure::Servers;
use common::fabric::{Address, FabricHandle, LocalFabric, Task};
use common::node::OnReady;
use common::proto::{Empty, scheduler};
use common::types::{CommitMode, Ring};
use tokio::sync::oneshot;

use crate::PATIENCE;

/// One storage node, a scheduler, and workers. All end when this is dropped.
pub struct InProcess {
    pub runs: Runs,
    _nodes: Vec<Task>,
}

impl InProcess {
    pub async fn start(workers: usize) -> Result<Self> {
        let fabric: FabricHandle = Arc::new(LocalFabric::default());
        let at = |port: usize| Address::parse(&format!("127.0.0.1:{port}"));
        let (storage, scheduler) = (at(3001)?, at(4000)?);
        let nodes = vec![("s1".to_owned(), storage.clone())];
        let ring = Ring::new(
            nodes,
            None,
            CommitMode::Majority,
            Ring::MAX_VERSIONS_DEFAULT,
        )?;
        let config = storage::Config {
            name: "s1".to_owned(),
            address: storage,
            gossip_delay_ms: 0,
            ring: Some(ring.clone()),
            data: None,
            limits: storage::Limits::default(),
            simulated: false,
        };
        let mut started = vec![
            node(&fabric, |fabric, on_ready| {
                storage::run(config, fabric, std::future::pending(), on_ready)
            })
            .await?,
        ];
        let config = ::scheduler::Config {
            name: "sc1".to_owned(),
            address: scheduler.clone(),
            ring: Some(ring),
            warm_up: true,
            keep_runs: ::scheduler::KEEP_RUNS_DEFAULT,
            http: None,
        };
        let run =
            |fabric, on_ready| ::scheduler::run(config, fabric, std::future::pending(), on_ready);
        started.push(node(&fabric, run).await?);
        for number in 1..=workers {
            let config = worker::Config {
                name: format!("w{number}"),
                address: at(4000 + number)?,
                gossip_delay_ms: 0,
                schedulers: vec![scheduler.clone()],
                operators: None,
                slots: worker::SLOTS_DEFAULT,
                allow_native: false,
                native_isolated: None,
                operator_cache: None,
                simulated: false,
            };
            let run =
                |fabric, on_ready| worker::run(config, fabric, std::future::pending(), on_ready);
            started.push(node(&fabric, run).await?);
        }
        let client = scheduler::Client::new(fabric.clone(), scheduler.clone(), PATIENCE);
        let begun = std::time::Instant::now();
        while client.cluster(&Empty {}).await?.workers.len() < workers {
            if begun.elapsed() > PATIENCE {
                return Err("the workers have not registered".into());
            }
            tokio::task::yield_now().await;
        }
        let runs = Runs::new(fabric, scheduler);
        Ok(Self {
            runs,
            _nodes: started,
        })
    }
}

/// This process, with the clients in it.
impl Servers for InProcess {
    fn pids(&self) -> Vec<u32> {
        vec![std::process::id()]
    }

    async fn syncs(&self) -> Result<u64> {
        Ok(0)
    }
}

/// Starts a role; returns when it serves.
async fn node<R, E>(
    fabric: &FabricHandle,
    role: impl FnOnce(FabricHandle, OnReady) -> R,
) -> Result<Task>
where
    R: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let (ready, is_ready) = oneshot::channel();
    // Nobody waits for it any more when the start has failed.
    let on_ready: OnReady = Box::new(move |_| {
        let _ = ready.send(());
    });
    let (role, name) = (role(fabric.clone(), on_ready), "a node in this process");
    let task = fabric.spawn(Box::pin(async move {
        if let Err(error) = role.await {
            eprintln!("{name} has failed: {error}");
        }
    }));
    is_ready.await?;
    Ok(task)
}
