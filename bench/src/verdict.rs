//! Whether what the clients were told and what the replicas hold in the end keep the storage's promises.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use common::placement::Placement;
use common::proto::HistoryRequest;
use common::types::{RecordId, RecordVersion, ReplicaId};
use history::{FinalState, History, Operation, Violation, check_all};

use crate::client::{Client, Tallies};
use crate::cluster::{Cluster, ClusterError};

const QUESTION: Duration = Duration::from_secs(10);

/// All that is known of a test's end.
pub struct Verdict {
    pub history: History,
    pub violations: Vec<Violation>,
    pub tallies: Tallies,
}

/// Reads all replicas of these records, which must have converged, and checks everything.
pub async fn judge(
    cluster: &Cluster,
    clients: Vec<Client>,
    records: impl IntoIterator<Item = RecordId>,
) -> Result<Verdict, ClusterError> {
    let mut history = History::default();
    let mut tallies = Tallies::new();
    for client in clients {
        history.operations.extend(client.operations);
        for (name, tally) in client.tallies {
            let sum = tallies.entry(name).or_default();
            sum.answered += tally.answered;
            sum.refused += tally.refused;
            sum.unknown += tally.unknown;
        }
    }
    let placement = Placement::new(cluster.ring());
    for record in records {
        for &replica in placement.replicas_of(&record) {
            let state = final_state(cluster, replica, &record).await?;
            let states = history.finals.entry(record.clone()).or_default();
            states.insert(replica, state);
        }
    }
    let violations = check_all(&history);
    Ok(Verdict {
        history,
        violations,
        tallies,
    })
}

async fn final_state(
    cluster: &Cluster,
    replica: ReplicaId,
    record: &str,
) -> Result<FinalState, ClusterError> {
    let client = cluster.raw(replica, QUESTION)?;
    let request = HistoryRequest {
        record: record.to_owned(),
    };
    let asked = client.history(&request).await;
    let history = asked.map_err(|status| ClusterError::Asked { replica, status })?;
    let versions: Vec<RecordVersion> = history.versions.into_iter().map(Into::into).collect();
    // What was discarded is older than the oldest kept.
    let oldest = versions.last().filter(|_| history.truncated);
    let floor = oldest.map(|oldest| oldest.version).unwrap_or_default();
    Ok(FinalState { versions, floor })
}

impl Verdict {
    /// True when some replica has discarded versions: about those nothing is known.
    pub fn is_truncated(&self) -> bool {
        let mut states = self.history.finals.values().flatten();
        states.any(|(_, state)| !state.floor.is_null())
    }

    /// Violations, final states and all operations in order of time, as text.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut text = String::new();
        for violation in &self.violations {
            let _ = writeln!(text, "{violation}\n");
        }
        for (record, states) in &self.history.finals {
            for (replica, FinalState { versions, floor }) in states {
                let _ = write!(text, "record {record} at s{replica}, floor {floor}:");
                for held in versions {
                    let value = held.value.as_deref().unwrap_or(b"-");
                    let value = String::from_utf8_lossy(value);
                    let _ = write!(text, " {}={value}", held.version);
                }
                text.push('\n');
            }
        }
        let mut operations: Vec<&Operation> = self.history.operations.iter().collect();
        operations.sort_by_key(|operation| operation.invoked_at);
        for operation in operations {
            let _ = writeln!(text, "{}: {operation}", operation.record);
        }
        std::fs::write(path, text)
    }
}

/// Prints the violations, and saves the history if there are any. Success: there are none.
pub fn conclude(verdict: &Verdict, path: &Path) -> ExitCode {
    for violation in &verdict.violations {
        println!("{violation}");
    }
    if verdict.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    match verdict.save(path) {
        Ok(()) => println!("the history is in {}", path.display()),
        Err(error) => eprintln!("the history could not be saved: {error}"),
    }
    ExitCode::FAILURE
}
