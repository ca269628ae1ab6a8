//! Fence and collect: how a new attempt at a task takes over from an older one and learns what that did; and how all of
//! it is forgotten when the task is over.
//!
//! What the answers of the nodes together promise is written in `storage/src/core/fence.rs`. They are enough when each
//! replica set has a majority among them. Under `fail-stop` the updates that were answered are at every member that
//! lives: one is enough when at all the others nobody is there. Whoever is not there, or does not answer for
//! [`PATIENCE_MS`], is left out as soon as the others are enough.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::{ANSWER_MS, BACKOFF_MAX_MS, BACKOFF_MS, Route, StorageClient};
use crate::fabric::timeout;
use crate::placement::Placement;
use crate::proto::{self, retained::Did as Encoded};
use crate::status::{Detail, Kind, Status};
use crate::types::{
    CommitMode, RecordId, RecordVersion, ReplicaId, Ring, UpdateId, Version, required, update_id,
};

/// A node that says nothing is waited for so long at least.
const PATIENCE_MS: u64 = 2_000;
/// A node answers a fence at the latest after this long: it waits for what is under way there.
const FENCE_MS: u64 = 6_000;

/// What a task did, by the ids of its updates.
pub type Journal = BTreeMap<UpdateId, Journalled>;

/// One update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journalled {
    pub record: RecordId,
    pub did: Did,
    /// What the task has kept with it.
    pub note: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// A plain write made this version.
    Wrote(Version),
    /// A comparison succeeded, and made this version.
    Updated(Version),
    /// A comparison failed, and found this; the null version: no record.
    Mismatched(RecordVersion),
    /// And the version that it found is at no replica any more.
    Discarded(Version),
}

/// What a node has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Answered,
    /// Nobody is there.
    Absent,
}

impl StorageClient {
    /// Keeps attempts before `attempt` at the task of `origin`, and at all below it, from doing anything more, and
    /// returns what they did. All nodes are asked, again and again until they answer.
    ///
    /// # Errors
    /// With [`Detail::Fenced`]: another attempt has taken the place of this one. Otherwise not enough nodes have answered
    /// before the route's deadline, and the fence stands at some of them.
    pub async fn fence(&self, origin: &str, attempt: u32, route: Route) -> Result<Journal, Status> {
        let request = proto::FenceRequest {
            origin: origin.to_owned(),
            attempt,
            after: None,
        };
        let nodes = self.ring.nodes.iter().map(|node| node.replica);
        let mut seen: BTreeMap<_, _> = nodes.map(|replica| (replica, State::Asked)).collect();
        let mut asking: FuturesUnordered<_> = seen
            .keys()
            .map(|replica| self.fence_one(*replica, &request, route, 0))
            .collect();
        let patient_until_ms = self.fabric.now_ms() + PATIENCE_MS;
        let mut journal = Journal::new();
        let mut last = "none has answered".to_owned();
        loop {
            let now_ms = self.fabric.now_ms();
            let is_patient = now_ms < patient_until_ms;
            if is_enough(&self.ring, &self.placement, &seen, is_patient) {
                return Ok(journal);
            }
            if now_ms >= route.deadline_ms {
                let why =
                    format!("not enough storage nodes took a fence in time; the last one: {last}");
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
                    for (id, update) in answer {
                        merge(&mut journal, id, update);
                    }
                    State::Answered
                }
                Err(status) if matches!(status.detail, Some(Detail::Fenced(_))) => {
                    return Err(status);
                }
                Err(status) => {
                    asking.push(self.fence_one(asked.replica, &request, route, asked.tries));
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

    /// Asks one node for all pages of its answer, after a pause if it was asked before.
    async fn fence_one(
        &self,
        replica: ReplicaId,
        request: &proto::FenceRequest,
        route: Route,
        tries: u32,
    ) -> Asked {
        let left_ms = || route.deadline_ms.saturating_sub(self.fabric.now_ms());
        if tries > 0 {
            let pause_ms = BACKOFF_MS.saturating_mul(1 << tries.min(16));
            self.pause(pause_ms.min(BACKOFF_MAX_MS), left_ms()).await;
        }
        let timeout = Duration::from_millis(FENCE_MS.min(left_ms()));
        Asked {
            replica,
            tries: tries.saturating_add(1),
            answer: self.fence_pages(replica, request.clone(), timeout).await,
        }
    }

    async fn fence_pages(
        &self,
        replica: ReplicaId,
        mut request: proto::FenceRequest,
        timeout: Duration,
    ) -> Result<Vec<(UpdateId, Journalled)>, Status> {
        let mut updates = Vec::new();
        loop {
            let page = self.peer(replica, timeout)?.fence(&request).await?;
            let last = page.retained.last().map(|last| proto::RetainedUpdate {
                record: last.record.clone(),
                retained: last.retained.as_ref().map(|of| proto::Retained {
                    id: of.id.clone(),
                    ..proto::Retained::default()
                }),
            });
            for update in page.retained {
                updates.push(decode(update)?);
            }
            // A page without an end would be asked for again for ever.
            if !page.more || last.is_none() {
                return Ok(updates);
            }
            request.after = last;
        }
    }

    /// Has all nodes drop what they retain of the tasks from `from` on and before `until`, in the order of their origins,
    /// but for those that are `except` or below it; their updates are refused from then on. Each call says all of it:
    /// one that fails at some nodes does no harm.
    ///
    /// # Errors
    /// Of one of the nodes that did not do it.
    pub async fn forget(&self, from: &str, until: &str, except: Vec<String>) -> Result<(), Status> {
        let request = proto::ForgetRequest {
            from: from.to_owned(),
            until: until.to_owned(),
            except,
        };
        let patience = Duration::from_millis(ANSWER_MS);
        let tell = async |replica: ReplicaId| {
            let node = self.peer(replica, patience)?;
            node.forget(&request).await.map(drop)
        };
        let nodes = self.ring.nodes.iter();
        let told = futures::future::join_all(nodes.map(|node| tell(node.replica))).await;
        told.into_iter().collect()
    }
}

struct Asked {
    replica: ReplicaId,
    tries: u32,
    answer: Result<Vec<(UpdateId, Journalled)>, Status>,
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

/// Two replicas may tell differently of one update: a plain write that was repeated elsewhere is two versions, of which
/// the newer one is what others see; and one may still have a value that the other one has discarded.
fn merge(journal: &mut Journal, id: UpdateId, told: Journalled) {
    let Some(known) = journal.get_mut(&id) else {
        journal.insert(id, told);
        return;
    };
    match (&known.did, &told.did) {
        (Did::Wrote(one), Did::Wrote(other)) if one < other => *known = told,
        (Did::Discarded(_), Did::Mismatched(_)) => *known = told,
        _ => {}
    }
}

fn decode(update: proto::RetainedUpdate) -> Result<(UpdateId, Journalled), Status> {
    let retained = required(update.retained, "retained")?;
    let did = match required(retained.did, "did")? {
        Encoded::Wrote(version) => Did::Wrote(version.into()),
        Encoded::Updated(success) => {
            let made = success.made.unwrap_or_default();
            Did::Updated(made.version.unwrap_or_default().into())
        }
        Encoded::Mismatch(found) => Did::Mismatched(found.into()),
        Encoded::MismatchWithoutValue(version) => Did::Discarded(version.into()),
    };
    let journalled = Journalled {
        record: update.record,
        did,
        note: retained.note,
    };
    Ok((update_id(retained.id)?, journalled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Ring;

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

    #[test]
    fn answers_are_merged_by_id() {
        let id = UpdateId {
            origin: "a".to_owned(),
            sequence: 0,
        };
        let told = |did| Journalled {
            record: "r".to_owned(),
            did,
            note: Bytes::new(),
        };
        let found = |value: Option<&'static [u8]>| RecordVersion {
            version: Version::write(1, 1),
            value: value.map(Bytes::from_static),
        };
        let older = Version::write(1, 1);
        let newer = Version::write(2, 1);
        let cases = [
            ([Did::Wrote(older), Did::Wrote(newer)], Did::Wrote(newer)),
            (
                [Did::Discarded(older), Did::Mismatched(found(Some(b"1")))],
                Did::Mismatched(found(Some(b"1"))),
            ),
        ];
        for ([one, other], expected) in cases {
            for order in [[&one, &other], [&other, &one]] {
                let mut journal = Journal::new();
                for did in order {
                    merge(&mut journal, id.clone(), told(did.clone()));
                }
                assert_eq!(journal.len(), 1);
                assert_eq!(journal[&id].did, expected);
            }
        }
    }
}
