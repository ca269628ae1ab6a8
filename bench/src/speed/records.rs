//! Marionette under load: what one client does to the records of a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::client::{Condition, Route, StorageClient, UpdateError};
use common::fabric::{FabricHandle, GrpcFabric};
use common::proto::{Empty, Level, node};
use common::status::Status;
use common::types::{UpdateId, Version, Wanted};
use futures::future::try_join_all;
use tokio::task::JoinSet;

use super::keys::Keys;
use super::measure::{Figures, Servers, Span, Work, measure};
use super::operation::{Operation, System};
use super::{Result, Trouble, value};
use crate::cluster::{Cluster, detail};

const TIMEOUT_MS: u64 = 20_000;
/// Clients at once that fill a cluster.
const FILLING_CLIENTS: u64 = 256;
/// How long gossip may need for what a filling has left.
const SETTLING: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(50);

impl Servers for Cluster {
    fn pids(&self) -> Vec<u32> {
        let running = self.running().into_iter();
        running
            .filter_map(|replica| self.pid(replica).ok())
            .collect()
    }

    async fn syncs(&self) -> Result<u64> {
        let mut total = 0;
        for replica in self.running() {
            total += detail(&self.status(replica).await?, "syncs").parse::<u64>()?;
        }
        Ok(total)
    }
}

impl System for Cluster {
    fn name(&self) -> &'static str {
        "Marionette"
    }

    async fn run(
        &mut self,
        operation: Operation,
        records: u64,
        count: u64,
        span: Span,
    ) -> Result<Figures> {
        let keys = operation.keys(records, count);
        let all = clients(self, count).into_iter().zip(keys);
        let figures = match operation {
            Operation::Read => {
                let reads = all.map(|(client, keys)| Reads { client, keys });
                measure(self, reads.collect(), span).await?
            }
            Operation::Write(level) => {
                let write = |(client, keys)| Writes {
                    client,
                    keys,
                    level,
                };
                measure(self, all.map(write).collect(), span).await?
            }
            Operation::Update | Operation::HotUpdate => {
                let update = |(client, keys)| Updates::new(client, keys).prepare();
                let updates = try_join_all(all.map(update)).await?;
                measure(self, updates, span).await?
            }
        };
        // What the next measurement finds is at rest.
        settle(self).await?;
        Ok(figures)
    }
}

/// One client of a cluster.
#[derive(Clone)]
struct Client {
    storage: StorageClient,
    fabric: FabricHandle,
    /// Of its update ids.
    origin: String,
    sequence: u64,
}

/// So many clients, spread over the nodes; all share one connection to each node.
fn clients(cluster: &Cluster, count: u64) -> Vec<Client> {
    let fabric: FabricHandle = Arc::new(GrpcFabric::default());
    let life = fabric.incarnation();
    let client = |number: u64| Client {
        storage: cluster.client_on(fabric.clone(), number as usize),
        fabric: fabric.clone(),
        origin: format!("bench/{life}/{number}"),
        sequence: 0,
    };
    (0..count).map(client).collect()
}

impl Client {
    fn route(&self) -> Route {
        Route {
            only: None,
            deadline_ms: self.fabric.now_ms() + TIMEOUT_MS,
        }
    }

    fn next_id(&mut self) -> UpdateId {
        self.sequence += 1;
        UpdateId {
            origin: self.origin.clone(),
            sequence: self.sequence,
        }
    }

    async fn write(&mut self, key: &str, level: Level) -> Result<Version, Status> {
        let (id, value) = (self.next_id(), Some(value()));
        let above = Version::NULL;
        self.storage
            .write(id, key, value, level, above, self.route())
            .await
    }
}

/// Questions that need nothing from the node but an answer: round trips.
pub struct Asks(node::Client);

impl Asks {
    pub async fn measure(cluster: &Cluster, span: Span) -> Result<Figures> {
        let node = cluster.ring().nodes.first();
        let node = node.ok_or_else(|| Trouble("a cluster without nodes".to_owned()))?;
        let limit = Duration::from_millis(TIMEOUT_MS);
        let client = node::Client::new(cluster.fabric().clone(), node.address.clone(), limit);
        measure(cluster, vec![Self(client)], span).await
    }
}

impl Work for Asks {
    async fn attempt(&mut self) -> Result<bool, Status> {
        self.0.status(&Empty {}).await?;
        Ok(true)
    }
}

/// Of the newest version at one replica.
struct Reads {
    client: Client,
    keys: Keys,
}

impl Work for Reads {
    async fn attempt(&mut self) -> Result<bool, Status> {
        let key = self.keys.next_any();
        let route = self.client.route();
        self.client
            .storage
            .read(&key, Wanted::NEWEST, route)
            .await?;
        Ok(true)
    }
}

struct Writes {
    client: Client,
    keys: Keys,
    level: Level,
}

impl Work for Writes {
    async fn attempt(&mut self) -> Result<bool, Status> {
        let key = self.keys.next_any();
        self.client.write(&key, self.level).await?;
        Ok(true)
    }
}

/// Compare-and-swap by version, on until it succeeds.
struct Updates {
    client: Client,
    keys: Keys,
    /// Of each of its keys, as it knows it.
    versions: Vec<Version>,
}

impl Updates {
    fn new(client: Client, keys: Keys) -> Self {
        let versions = vec![Version::NULL; keys.own_count()];
        Self {
            client,
            keys,
            versions,
        }
    }

    /// Reads all of its keys, so that the first updates know what they update.
    async fn prepare(mut self) -> Result<Self, Status> {
        for _ in 0..self.keys.own_count() {
            let (place, key) = self.keys.own();
            self.keys.turn();
            let route = self.client.route();
            let found = self
                .client
                .storage
                .read(&key, Wanted::NEWEST, route)
                .await?;
            if let Some(known) = self.versions.get_mut(place) {
                *known = found.version;
            }
        }
        Ok(self)
    }
}

impl Work for Updates {
    async fn attempt(&mut self) -> Result<bool, Status> {
        let (place, key) = self.keys.own();
        let Some(known) = self.versions.get_mut(place) else {
            return Err(Status::internal("a key that is not its own"));
        };
        let (id, route) = (self.client.next_id(), self.client.route());
        let (condition, new) = (Condition::VersionIs(*known), Some(value()));
        let storage = &self.client.storage;
        match storage.update_if(id, &key, condition, new, route).await {
            Ok(version) => {
                *known = version;
                self.keys.turn();
                Ok(true)
            }
            Err(UpdateError::Mismatch(found)) => {
                *known = found.version;
                Ok(false)
            }
            Err(UpdateError::Failed(status)) => Err(status),
        }
    }
}

/// Writes the records of this range once, at level one, by many clients; returns when gossip has come to rest.
pub async fn fill(cluster: &mut Cluster, records: std::ops::Range<u64>) -> Result<()> {
    let mut filling = JoinSet::new();
    for (first, mut client) in (records.start..).zip(clients(cluster, FILLING_CLIENTS)) {
        let end = records.end;
        filling.spawn(async move {
            for record in (first..end).step_by(FILLING_CLIENTS as usize) {
                client.write(&Keys::name(record), Level::One).await?;
            }
            Ok::<_, Status>(())
        });
    }
    while let Some(filled) = filling.join_next().await {
        if let Err(status) = filled? {
            // A node that has ended by itself says more.
            cluster.check_alive()?;
            return Err(status.into());
        }
    }
    settle(cluster).await
}

/// Waits until all nodes have what any of them has, and no update is undecided.
pub async fn settle(cluster: &mut Cluster) -> Result<()> {
    let begun = Instant::now();
    loop {
        cluster.check_alive()?;
        let mut left = None;
        for replica in cluster.running() {
            let status = cluster.status(replica).await?;
            let unsettled = ["unspread", "undecided"]
                .into_iter()
                .find(|what| detail(&status, what) != "0");
            let what =
                unsettled.map(|what| format!("s{replica}: {} {what}", detail(&status, what)));
            left = left.or(what);
        }
        match left {
            None => return Ok(()),
            Some(left) if begun.elapsed() > SETTLING => {
                return Err(Trouble(format!("gossip does not come to rest: {left}")).into());
            }
            Some(_) => tokio::time::sleep(POLL).await,
        }
    }
}
