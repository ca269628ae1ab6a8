//! The kill test: nodes die and freeze at random while clients do everything; nothing acknowledged is missing or
//! doubled, all checkers pass, all replicas are equal in the end.

use std::fmt;
use std::time::{Duration, Instant};

use crate::chaos::{Chaos, Done};
use crate::client::{Client, Clock, Session};
use crate::cluster::{Cluster, ClusterError, Settings};
use crate::report;
use crate::verdict::{Verdict, judge};
use crate::workload::{Running, record};

/// How long a node may take to answer before the outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the nodes may take to become equal after the last fault.
const CONVERGENCE_MAX: Duration = Duration::from_mins(2);

#[derive(Debug, Clone)]
pub struct Plan {
    pub settings: Settings,
    pub nodes: usize,
    pub clients: u64,
    pub records: u64,
    pub duration: Duration,
    pub seed: u64,
}

pub struct Outcome {
    pub seed: u64,
    pub done: Done,
    pub verdict: Verdict,
    /// From the last fault until all replicas were equal.
    pub converged_in: Duration,
    pub checked_in: Duration,
}

pub async fn run(plan: &Plan) -> Result<Outcome, ClusterError> {
    let mut cluster = Cluster::start(plan.settings.clone(), plan.nodes).await?;
    let clock = Clock::start();
    let mut clients = Vec::new();
    for number in 0..plan.clients {
        let session = if number.is_multiple_of(2) {
            Session::None
        } else {
            Session::Kept
        };
        let name = format!("c{number}");
        clients.push(Client::new(&cluster, &name, session, clock, PATIENCE)?);
    }
    let running = Running::start(&cluster, clients, plan.records, plan.seed, clock);
    let mut chaos = Chaos::new(&cluster, plan.seed);
    let survived = chaos.run(&mut cluster, plan.duration).await;
    let clients = running.stop().await?;
    survived?;
    let healed = Instant::now();
    cluster.await_converged(CONVERGENCE_MAX).await?;
    let converged_in = healed.elapsed();
    let checking = Instant::now();
    let verdict = judge(&cluster, clients, (0..plan.records).map(record)).await?;
    Ok(Outcome {
        seed: plan.seed,
        done: chaos.done,
        verdict,
        converged_in,
        checked_in: checking.elapsed(),
    })
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done {
            kills,
            freezes,
            restarts,
            restart_max,
            all_down,
        } = &self.done;
        writeln!(f, "{}", report::operations(&self.verdict.tallies))?;
        writeln!(f, "seed {}", self.seed)?;
        for (what, counts) in [("kills", kills), ("freezes", freezes)] {
            let each: Vec<_> = counts
                .iter()
                .map(|(replica, count)| format!("s{replica} {count}"))
                .collect();
            let sum: u64 = counts.values().sum();
            writeln!(f, "{what}: {sum} ({})", each.join(", "))?;
        }
        writeln!(
            f,
            "recoveries: {restarts}, at most {} ms until ready; all nodes down: {all_down} times",
            restart_max.as_millis()
        )?;
        writeln!(
            f,
            "all replicas equal {} ms after the last recovery{}",
            self.converged_in.as_millis(),
            if self.verdict.is_truncated() {
                "; old versions were discarded and are not checked"
            } else {
                ""
            }
        )?;
        write!(
            f,
            "violations: {} (checked {} operations on {} records in {} ms)",
            self.verdict.violations.len(),
            self.verdict.history.operations.len(),
            self.verdict.history.finals.len(),
            self.checked_in.as_millis()
        )
    }
}
