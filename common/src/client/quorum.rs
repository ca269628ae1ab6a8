//! Questions to all storage nodes, asked again and again until those that have answered know enough together: a majority
//! of each replica set. Under `fail-stop` what was answered is at every member that lives: one is enough when at all the
//! others nobody is there. Whoever is not there, or does not answer for [`PATIENCE_MS`], is left out as soon as the others
//! are enough.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::{BACKOFF_MAX_MS, BACKOFF_MS, Route, StorageClient};
use crate::fabric::{BoxFuture, timeout};
use crate::placement::Placement;
use crate::status::{Detail, Kind, Status};
use crate::types::{CommitMode, ReplicaId, Ring};

/// A node that says nothing is waited for so long at least.
const PATIENCE_MS: u64 = 2_000;
/// A node answers at the latest after this long: a fence waits for what is under way there.
const ANSWER_MS: u64 = 6_000;

/// What a node has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Answered,
    /// Nobody is there.
    Absent,
}

struct Asked<A> {
    replica: ReplicaId,
    tries: u32,
    answer: Result<A, Status>,
}

impl StorageClient {
    /// The answers of enough nodes. `ask` is given a node and how long it may take.
    ///
    /// # Errors
    /// With [`Detail::Fenced`]: a node says so. Otherwise not enough nodes have answered before the route's deadline.
    pub(super) async fn ask_enough<'a, A>(
        &'a self,
        what: &str,
        route: Route,
        ask: impl Fn(ReplicaId, Duration) -> BoxFuture<'a, Result<A, Status>> + Sync,
    ) -> Result<Vec<A>, Status> {
        let nodes = self.ring.nodes.iter().map(|node| node.replica);
        let mut seen: BTreeMap<_, _> = nodes.map(|replica| (replica, State::Asked)).collect();
        let mut asking = FuturesUnordered::new();
        for replica in seen.keys() {
            asking.push(self.ask_one(*replica, route, 0, &ask));
        }
        let patient_until_ms = self.fabric.now_ms() + PATIENCE_MS;
        let mut answers = Vec::new();
        let mut last = "none has answered".to_owned();
        loop {
            let now_ms = self.fabric.now_ms();
            let is_patient = now_ms < patient_until_ms;
            if is_enough(&self.ring, &self.placement, &seen, is_patient) {
                return Ok(answers);
            }
            if now_ms >= route.deadline_ms {
                let why = format!(
                    "not enough storage nodes answered {what} in time; the last one: {last}"
                );
                return Err(Status::timeout(why));
            }
            let look_ms = if is_patient {
                patient_until_ms.min(route.deadline_ms)
            } else {
                route.deadline_ms
            };
            let left = Duration::from_millis(look_ms - now_ms);
            let Some(Some(asked)) = timeout(self.fabric.as_ref(), left, asking.next()).await else {
                continue;
            };
            let state = match asked.answer {
                Ok(answer) => {
                    answers.push(answer);
                    State::Answered
                }
                Err(status) if matches!(status.detail, Some(Detail::Fenced(_))) => {
                    return Err(status);
                }
                Err(status) => {
                    asking.push(self.ask_one(asked.replica, route, asked.tries, &ask));
                    last = status.message;
                    match status.kind {
                        Kind::Unavailable => State::Absent,
                        _ => State::Asked,
                    }
                }
            };
            seen.insert(asked.replica, state);
        }
    }

    /// Asks one node, after a pause if it was asked before.
    async fn ask_one<'a, A>(
        &'a self,
        replica: ReplicaId,
        route: Route,
        tries: u32,
        ask: &(impl Fn(ReplicaId, Duration) -> BoxFuture<'a, Result<A, Status>> + Sync),
    ) -> Asked<A> {
        let left_ms = || route.deadline_ms.saturating_sub(self.fabric.now_ms());
        if tries > 0 {
            let pause_ms = BACKOFF_MS.saturating_mul(1 << tries.min(16));
            self.pause(pause_ms.min(BACKOFF_MAX_MS), left_ms()).await;
        }
        let timeout = Duration::from_millis(ANSWER_MS.min(left_ms()));
        Asked {
            replica,
            tries: tries.saturating_add(1),
            answer: ask(replica, timeout).await,
        }
    }
}

/// Whether those that have answered know all that has to be known. While there is patience, only those where nobody is
/// are left out.
fn is_enough(
    ring: &Ring,
    placement: &Placement,
    states: &BTreeMap<ReplicaId, State>,
    is_patient: bool,
) -> bool {
    let state = |replica: &ReplicaId| states.get(replica).copied().unwrap_or(State::Asked);
    if is_patient && states.values().any(|state| *state == State::Asked) {
        return false;
    }
    (0..ring.partitions).all(|partition| {
        let replicas = placement.replicas(partition);
        let count = |wanted| replicas.iter().filter(|of| state(of) == wanted).count();
        let (answered, absent) = (count(State::Answered), count(State::Absent));
        let is_majority = answered > replicas.len() / 2;
        let survive = answered > 0 && answered + absent == replicas.len();
        is_majority || ring.commit == CommitMode::FailStop && survive
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(nodes: u32, replication: u32, commit: CommitMode) -> Ring {
        let nodes = (1..=nodes).map(|id| format!("s{id}=localhost:{id}"));
        let nodes: Vec<_> = nodes.collect();
        let nodes = Ring::parse_nodes(&nodes.join(",")).unwrap();
        Ring::new(nodes, Some(replication), commit, 10).unwrap()
    }

    /// `states`: a letter for each node in turn, of asked, answered (`+`) and absent.
    fn enough(ring: &Ring, states: &str, is_patient: bool) -> bool {
        let state = |letter| match letter {
            '+' => State::Answered,
            '-' => State::Absent,
            _ => State::Asked,
        };
        let states = (1..).zip(states.chars().map(state)).collect();
        is_enough(ring, &Placement::new(ring), &states, is_patient)
    }

    #[test]
    fn a_majority_of_each_replica_set_is_enough_when_patience_is_over() {
        let three = ring(3, 3, CommitMode::Majority);
        assert!(enough(&three, "+++", true));
        assert!(!enough(&three, "++?", true));
        assert!(enough(&three, "++?", false));
        assert!(
            enough(&three, "++-", true),
            "where nobody is nobody is waited for"
        );
        assert!(!enough(&three, "+--", false));
        // Of five nodes with three replicas each some pair is a majority of a set.
        let five = ring(5, 3, CommitMode::Majority);
        assert!(enough(&five, "++++?", false));
        assert!(!enough(&five, "++???", false));
    }

    #[test]
    fn under_fail_stop_one_that_lives_is_enough_if_at_the_others_nobody_is() {
        let three = ring(3, 3, CommitMode::FailStop);
        assert!(enough(&three, "+--", true));
        assert!(!enough(&three, "+-?", false), "it may only be slow");
        assert!(enough(&three, "++?", false));
        assert!(!enough(&three, "---", false));
    }
}
