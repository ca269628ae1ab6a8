//! Coordinators that die in the middle of an update: how soon their records accept the next one, whether the others
//! notice, and whether anything was lost.
//!
//! Nothing in the node helps to die at a chosen point. The kills are random instants of an unbroken stream of updates;
//! a delay of all messages between nodes makes nearly the whole of an update the time between its prepare and its end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::placement::Placement;
use common::types::{CommitMode, RecordId, ReplicaId};
use history::Operation;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::client::{By, Client, Clock, Session};
use crate::cluster::{Cluster, ClusterError, PATIENCE, Settings};
use crate::verdict::{Verdict, judge};

/// After that a member is suspected (`SUSPECT_MS` in storage/src/core/members.rs).
const DETECTION: Duration = Duration::from_millis(1_500);
const CERTIFIED_MAX: Duration = Duration::from_millis(100);
/// Messages one after the other between a request and its answer: forward, prepare, vote, commit, committed, decided.
const MESSAGES: u32 = 6;
/// How long one node may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone)]
pub struct Plan {
    pub settings: Settings,
    pub nodes: usize,
    pub rounds: u64,
    pub seed: u64,
}

impl Plan {
    /// How soon after the kill, or after the certificate, the next update must be decided: two detection times, or
    /// 100 ms, and what its messages are delayed.
    pub fn limit(&self) -> Duration {
        let delay = Duration::from_millis(self.settings.gossip_delay_ms);
        let own = match self.settings.commit {
            CommitMode::Majority => 2 * DETECTION,
            CommitMode::FailStop => CERTIFIED_MAX,
        };
        own + MESSAGES * delay
    }
}

/// One killed coordinator. Times are nanoseconds of the test's clock.
#[derive(Debug, Clone)]
pub struct Round {
    pub victim: ReplicaId,
    pub killed_at: u64,
    /// Only under fail-stop.
    pub certified_at: Option<u64>,
    /// The next update of the record was decided.
    pub accepted_at: u64,
    /// For how long an update had been under way at the victim, if one was.
    pub under_way: Option<Duration>,
}

impl Round {
    pub fn took(&self) -> Duration {
        let since = self.certified_at.unwrap_or(self.killed_at);
        Duration::from_nanos(self.accepted_at.saturating_sub(since))
    }
}

pub struct Outcome {
    pub rounds: Vec<Round>,
    pub limit: Duration,
    /// Of every message between nodes.
    pub delay: Duration,
    /// Of the records whose coordinator lived, the longest time without an answered update around a kill.
    pub gap_max: Duration,
    pub verdict: Verdict,
}

/// The records whose updates a replica coordinates as long as all are alive.
fn coordinated_by(placement: &Placement, replica: ReplicaId) -> impl Iterator<Item = RecordId> {
    let names = (0..u32::MAX).map(|number| format!("k{number}"));
    names.filter(move |name| placement.replicas_of(name).first() == Some(&replica))
}

/// An unbroken stream of updates of one record.
struct Stream {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Client>,
}

impl Stream {
    fn start(mut client: Client, record: RecordId, replicas: Vec<ReplicaId>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let tries = replicas.iter().copied();
                if client.update(tries, &record, By::Value).await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            client
        });
        Self { stop, task }
    }

    async fn stop(self) -> Result<Client, ClusterError> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.map_err(ClusterError::Client)
    }
}

struct Test {
    cluster: Cluster,
    placement: Placement,
    clock: Clock,
    random: StdRng,
    clients: Vec<Client>,
}

pub async fn run(plan: &Plan) -> Result<Outcome, ClusterError> {
    let cluster = Cluster::start(plan.settings.clone(), plan.nodes).await?;
    let mut test = Test {
        placement: Placement::new(cluster.ring()),
        cluster,
        clock: Clock::start(),
        random: StdRng::seed_from_u64(plan.seed),
        clients: Vec::new(),
    };
    let replicas = test.cluster.replicas();
    let mut records = Vec::new();
    let mut others = Vec::new();
    for &replica in &replicas {
        let record = coordinated_by(&test.placement, replica).next();
        let record = record.unwrap_or_default();
        records.push(record.clone());
        let client = test.client(&format!("other{replica}"))?;
        let order = test.order(&record);
        others.push((replica, Stream::start(client, record, order)));
    }
    let mut rounds = Vec::new();
    for (number, &victim) in (1..=plan.rounds).zip(replicas.iter().cycle()) {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let record = coordinated_by(&test.placement, victim).nth(place);
        let record = record.unwrap_or_default();
        rounds.push(test.round(number, victim, &record).await?);
        records.push(record);
    }
    let mut gap_max = Duration::ZERO;
    for (replica, stream) in others {
        let client = stream.stop().await?;
        gap_max = gap_max.max(longest_gap(replica, &client.operations, &rounds));
        test.clients.push(client);
    }
    test.cluster.await_converged(PATIENCE).await?;
    let verdict = judge(&test.cluster, test.clients, records).await?;
    Ok(Outcome {
        rounds,
        limit: plan.limit(),
        delay: Duration::from_millis(plan.settings.gossip_delay_ms),
        gap_max,
        verdict,
    })
}

impl Test {
    fn client(&self, name: &str) -> Result<Client, ClusterError> {
        Client::new(&self.cluster, name, Session::None, self.clock, ANSWER)
    }

    /// The coordinator first.
    fn order(&self, record: &str) -> Vec<ReplicaId> {
        self.placement.replicas_of(record).to_vec()
    }

    async fn round(
        &mut self,
        number: u64,
        victim: ReplicaId,
        record: &str,
    ) -> Result<Round, ClusterError> {
        let order = self.order(record);
        let mut client = self.client(&format!("stream{number}"))?;
        let begun = self.clock.now();
        let first = client.update(order.iter().copied(), record, By::Value);
        first.await.map_err(|status| ClusterError::Asked {
            replica: victim,
            status,
        })?;
        let usual_ns = self.clock.now() - begun;
        let stream = Stream::start(client, record.to_owned(), order.clone());
        let wait_ns = self.random.random_range(0..2 * usual_ns.max(1));
        tokio::time::sleep(Duration::from_nanos(wait_ns)).await;
        let killed_at = self.clock.now();
        self.cluster.kill(victim)?;
        let mut certified_at = None;
        if self.cluster.ring().commit == CommitMode::FailStop {
            certified_at = Some(self.clock.now());
            self.cluster.certify_death(victim).await?;
        }
        let mut next = self.client(&format!("next{number}"))?;
        let survivors: Vec<_> = order.into_iter().filter(|at| *at != victim).collect();
        let tries = survivors.iter().copied().cycle();
        let update = next.update(tries, record, By::Version);
        update.await.map_err(|status| ClusterError::Asked {
            replica: victim,
            status,
        })?;
        let accepted_at = self.clock.now();
        let client = stream.stop().await?;
        let under_way = client.operations.iter().find(|operation| {
            let answered_at = operation.answered_at().unwrap_or(u64::MAX);
            let at_victim = operation.replica == Some(victim);
            at_victim && operation.invoked_at < killed_at && answered_at > killed_at
        });
        let since = |operation: &Operation| killed_at - operation.invoked_at;
        let under_way = under_way.map(since).map(Duration::from_nanos);
        self.clients.extend([client, next]);
        self.cluster.restart(victim).await?;
        self.cluster.await_members(PATIENCE).await?;
        Ok(Round {
            victim,
            killed_at,
            certified_at,
            accepted_at,
            under_way,
        })
    }
}

/// The longest time between two answers at a living coordinator of which a part lies between a kill and its end.
fn longest_gap(replica: ReplicaId, operations: &[Operation], rounds: &[Round]) -> Duration {
    let mut answers: Vec<u64> = operations
        .iter()
        .filter_map(Operation::answered_at)
        .collect();
    answers.sort_unstable();
    let gaps = answers.iter().zip(answers.iter().skip(1));
    let around_a_kill = |(from, to): &(&u64, &u64)| {
        let mut others = rounds.iter().filter(|round| round.victim != replica);
        others.any(|round| **from < round.accepted_at && round.killed_at < **to)
    };
    let longest = gaps.filter(around_a_kill).map(|(from, to)| to - from).max();
    Duration::from_nanos(longest.unwrap_or_default())
}

impl Outcome {
    pub fn is_in_time(&self) -> bool {
        self.rounds.iter().all(|round| round.took() <= self.limit)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.rounds.iter().filter_map(|round| round.under_way);
        let ages: Vec<Duration> = under_way.collect();
        // Two messages one after the other: the prepares and their votes.
        let voting = ages.iter().filter(|age| **age < 2 * self.delay).count();
        let mut took: Vec<Duration> = self.rounds.iter().map(Round::took).collect();
        took.sort_unstable();
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        let longest = took.last().copied().unwrap_or_default();
        let late = took.iter().filter(|took| **took > self.limit).count();
        writeln!(
            f,
            "coordinators killed: {}, during an update: {}, of which {voting} before a commit can have left",
            self.rounds.len(),
            ages.len(),
        )?;
        writeln!(
            f,
            "until the record's next update was decided: median {} ms, at most {} ms; allowed {} ms, missed {late} times",
            median.as_millis(),
            longest.as_millis(),
            self.limit.as_millis(),
        )?;
        writeln!(
            f,
            "records with another coordinator: never without an update for longer than {} ms",
            self.gap_max.as_millis()
        )?;
        write!(
            f,
            "violations: {} (checked {} operations)",
            self.verdict.violations.len(),
            self.verdict.history.operations.len()
        )
    }
}
