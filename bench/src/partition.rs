//! The partition test: five nodes in five networks are cut into a majority and a minority. The majority goes on, the
//! minority refuses updates and goes on reading; after healing all replicas are equal and no update was contradicted.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::status::{Kind, Status};
use common::types::ReplicaId;

use crate::client::{By, Client, Clock, Session};
use crate::cluster::{Cluster, ClusterError, PATIENCE, Settings};
use crate::network::{Network, NetworkError};
use crate::report;
use crate::verdict::{Verdict, judge};
use crate::workload::{Running, record};

pub const NODES: u8 = 5;
const MINORITY: [ReplicaId; 2] = [1, 2];
/// So soon must a minority that knows of the cut refuse.
const REFUSAL_MAX: Duration = Duration::from_secs(1);
/// How long a node may take to answer before the outcome is unknown.
const ANSWER: Duration = Duration::from_secs(2);
/// A call that waits for what the nodes will find out.
const FINDING_OUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug, Clone)]
pub struct Plan {
    /// With replication by all.
    pub settings: Settings,
    pub clients: u64,
    pub records: u64,
    /// Cuts, one after the other.
    pub rounds: u64,
    /// How long a cut lasts after the minority has noticed it, and how long the cluster is whole before the next.
    pub pause: Duration,
    pub seed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// Here the test cannot be done.
    #[error("no networks can be made here: {0}")]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("the test's runtime could not be started: {0}")]
    Runtime(std::io::Error),
}

/// What was seen of one cut.
#[derive(Debug, Clone)]
pub struct Cut {
    /// An update submitted to the minority just after the cut: how it ended, and when.
    pub at_once: (String, Duration),
    /// From the cut until a minority node suspects the others.
    pub suspected_in: Duration,
    /// Updates submitted to each minority node after that, until they were refused.
    pub refused_in: Vec<Duration>,
    /// What the refusal says; otherwise how the update ended instead.
    pub refusal: Result<String, String>,
    /// The first update that the majority decided after the cut was asked for so late, and took so long.
    pub majority_after: Duration,
    /// Reads at the minority that were answered, and refused.
    pub reads: (u64, u64),
}

pub struct Outcome {
    pub cuts: Vec<Cut>,
    pub converged_in: Duration,
    pub verdict: Verdict,
}

/// Runs everything in the networks that it makes.
pub fn run(plan: Plan) -> Result<Outcome, PartitionError> {
    let network = Arc::new(Network::new(NODES)?);
    let clients = network.clients().clone();
    let ran = clients.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(PartitionError::Runtime)?;
        runtime.block_on(drive(&plan, &network))
    });
    ran.map_err(NetworkError::Launcher)?
}

async fn drive(plan: &Plan, network: &Network) -> Result<Outcome, PartitionError> {
    let settings = Settings {
        replication: Some(u32::from(NODES)),
        ..plan.settings.clone()
    };
    let mut cluster = Cluster::start_at(settings, network.places()?).await?;
    let clock = Clock::start();
    let mut clients = Vec::new();
    for number in 0..plan.clients {
        let name = format!("c{number}");
        clients.push(Client::new(&cluster, &name, Session::None, clock, ANSWER)?);
    }
    let running = Running::start(&cluster, clients, plan.records, plan.seed, clock);
    let probe = |name| Client::new(&cluster, name, Session::None, clock, FINDING_OUT);
    let mut probes = Probes {
        early: probe("early")?,
        late: probe("late")?,
    };
    let mut cuts = Vec::new();
    for _ in 0..plan.rounds {
        tokio::time::sleep(plan.pause).await;
        cuts.push(cut(plan, network, &cluster, &mut probes).await?);
        network.heal()?;
    }
    let mut clients = running.stop().await?;
    clients.extend([probes.early, probes.late]);
    let healed = Instant::now();
    cluster.await_converged(PATIENCE).await?;
    let converged_in = healed.elapsed();
    let records = (0..plan.records).map(record);
    let records = records.chain(PROBED.map(str::to_owned));
    Ok(Outcome {
        cuts,
        converged_in,
        verdict: judge(&cluster, clients, records).await?,
    })
}

/// Clients that ask the minority just after a cut, and when it must know of it.
struct Probes {
    early: Client,
    late: Client,
}

/// What they update at the minority, and at the majority.
const PROBED: [&str; 2] = ["minority", "majority"];

async fn cut(
    plan: &Plan,
    network: &Network,
    cluster: &Cluster,
    probes: &mut Probes,
) -> Result<Cut, PartitionError> {
    let Probes { early, late } = probes;
    let [at_minority, _] = PROBED;
    let [first, _] = MINORITY;
    network.cut(&BTreeSet::from(MINORITY))?;
    let begun = Instant::now();
    let at_once = async {
        let ended = early.update([first], at_minority, By::Value).await;
        (told(ended.as_ref().err()), begun.elapsed())
    };
    let (at_once, cut) = futures::join!(at_once, look(plan, cluster, late, begun));
    let cut = Cut { at_once, ..cut? };
    tokio::time::sleep(plan.pause).await;
    Ok(cut)
}

/// What both sides do, from when the minority suspects the others; all but `at_once`.
async fn look(
    plan: &Plan,
    cluster: &Cluster,
    probe: &mut Client,
    begun: Instant,
) -> Result<Cut, ClusterError> {
    let [at_minority, at_majority] = PROBED;
    for replica in MINORITY {
        while !suspects_the_others(cluster, replica).await? {
            tokio::time::sleep(POLL).await;
        }
    }
    let mut cut = Cut {
        at_once: Default::default(),
        suspected_in: begun.elapsed(),
        refused_in: Vec::new(),
        refusal: Ok(String::new()),
        majority_after: Duration::ZERO,
        reads: (0, 0),
    };
    for replica in MINORITY {
        let asked = Instant::now();
        let ended = probe.update([replica], at_minority, By::Value).await;
        cut.refused_in.push(asked.elapsed());
        let said = told(ended.as_ref().err());
        let is_typed = ended.is_err_and(|status| status.kind == Kind::Refused);
        if cut.refusal.is_ok() {
            cut.refusal = if is_typed { Ok(said) } else { Err(said) };
        }
        for number in 0..plan.records {
            match probe.read(replica, &record(number)).await {
                Ok(_) => cut.reads.0 += 1,
                Err(_) => cut.reads.1 += 1,
            }
        }
    }
    let asked = Instant::now();
    let majority = cluster.replicas().into_iter();
    let majority = majority.filter(|replica| !MINORITY.contains(replica));
    let decided = probe.update(majority, at_majority, By::Value).await;
    decided.map_err(|status| ClusterError::Asked { replica: 3, status })?;
    cut.majority_after = asked.elapsed();
    Ok(cut)
}

fn told(error: Option<&Status>) -> String {
    error.map_or_else(
        || "decided".to_owned(),
        |status| format!("{:?}: {status}", status.kind),
    )
}

async fn suspects_the_others(cluster: &Cluster, replica: ReplicaId) -> Result<bool, ClusterError> {
    let status = cluster.status(replica).await?;
    let suspected = status.peers.iter().filter(|peer| peer.state == "suspected");
    Ok(suspected.count() >= usize::from(NODES) - MINORITY.len())
}

impl Cut {
    /// The minority refused in time and went on reading.
    pub fn is_as_promised(&self) -> bool {
        let in_time = |took: &Duration| *took <= REFUSAL_MAX;
        self.refusal.is_ok() && self.refused_in.iter().all(in_time) && self.reads.1 == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", report::operations(&self.verdict.tallies))?;
        for (number, cut) in (1..).zip(&self.cuts) {
            let refused: Vec<_> = cut
                .refused_in
                .iter()
                .map(|took| took.as_millis().to_string())
                .collect();
            let (Ok(refusal) | Err(refusal)) = &cut.refusal;
            writeln!(
                f,
                "cut {number}: an update at the minority just after it: {} after {} ms\n  \
                 the others were suspected after {} ms; then updates were refused after {} ms: {refusal}\n  \
                 reads at the minority: {} answered, {} refused; an update at the majority took {} ms",
                cut.at_once.0,
                cut.at_once.1.as_millis(),
                cut.suspected_in.as_millis(),
                refused.join(" and "),
                cut.reads.0,
                cut.reads.1,
                cut.majority_after.as_millis(),
            )?;
        }
        writeln!(
            f,
            "all replicas equal {} ms after the last cut was healed",
            self.converged_in.as_millis()
        )?;
        write!(
            f,
            "violations: {} (checked {} operations)",
            self.verdict.violations.len(),
            self.verdict.history.operations.len()
        )
    }
}
