//! Clients that do everything that the storage offers, at random, until they are told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::proto::Level;
use common::types::ReplicaId;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;

use crate::client::{By, Client, Clock, Session};
use crate::cluster::{Cluster, ClusterError};

/// Tries of one update before its outcome stays unknown.
const TRIES_MAX: usize = 12;
/// Pause after a refusal, so that clients do not spin while nobody answers.
const PAUSE: Duration = Duration::from_millis(10);
/// Half of the operations meet in one record, another one in each such time.
const HOT_NS: u64 = 500_000_000;

/// What clients do, and to which records.
#[derive(Debug, Clone)]
struct Workload {
    records: u64,
    replicas: Vec<ReplicaId>,
    stop: Arc<AtomicBool>,
}

/// Clients at work.
pub struct Running {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Client>>,
}

impl Running {
    /// Each client works on these records with chance of its own.
    pub fn start(
        cluster: &Cluster,
        clients: impl IntoIterator<Item = Client>,
        records: u64,
        seed: u64,
        clock: Clock,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let workload = Workload {
            records,
            replicas: cluster.replicas(),
            stop: stop.clone(),
        };
        let start = |(number, client)| {
            let seed = seed.wrapping_add(number);
            tokio::spawn(workload.clone().run(client, seed, clock))
        };
        let tasks = (1..).zip(clients).map(start).collect();
        Self { stop, tasks }
    }

    /// Waits for what is under way; the operations are in the clients.
    pub async fn stop(self) -> Result<Vec<Client>, ClusterError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut clients = Vec::new();
        for task in self.tasks {
            clients.push(task.await.map_err(ClusterError::Client)?);
        }
        Ok(clients)
    }
}

impl Workload {
    /// Goes on until `stop`; the operations are in the returned client.
    async fn run(self, mut client: Client, seed: u64, clock: Clock) -> Client {
        let mut random = StdRng::seed_from_u64(seed);
        while !self.stop.load(Ordering::Relaxed) {
            if !self.step(&mut client, &mut random, clock).await {
                tokio::time::sleep(PAUSE).await;
            }
        }
        client
    }

    /// One operation; false: nobody answered.
    async fn step(&self, client: &mut Client, random: &mut StdRng, clock: Clock) -> bool {
        let number = if random.random_bool(0.5) {
            (clock.now() / HOT_NS) % self.records
        } else {
            random.random_range(0..self.records)
        };
        let record = &record(number);
        let mut order = self.replicas.clone();
        order.shuffle(random);
        let Some(&replica) = order.first() else {
            return false;
        };
        let by = if random.random_bool(0.5) {
            By::Value
        } else {
            By::Version
        };
        let tries = order.into_iter().cycle().take(TRIES_MAX);
        match random.random_range(0..100) {
            0..25 => client.read(replica, record).await.is_ok(),
            // What one replica shows may be ahead of the majority, so a session cannot go on from there.
            25..45 if client.session() == Session::None => {
                client.read_linearizable(replica, record).await.is_ok()
            }
            45..75 if has_plain_writes(number) => {
                client.write(replica, record, Level::Majority).await.is_ok()
            }
            _ => client.update(tries, record, by).await.is_ok(),
        }
    }
}

pub fn record(number: u64) -> String {
    format!("r{number}")
}

/// Every other record has updates only, so that the search for a linearization covers it.
fn has_plain_writes(number: u64) -> bool {
    number.is_multiple_of(2)
}
