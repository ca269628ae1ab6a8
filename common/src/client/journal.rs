//! Fence and collect: how a new attempt at a task takes over from an older one and learns what that did; and how all of
//! it is forgotten when the task is over.
//!
//! What the answers of the nodes together promise is written in `storage/src/core/fence.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{ANSWER_MS, Route, StorageClient};
use crate::fabric::BoxFuture;
use crate::proto::{self, retained::Did as Encoded};
use crate::status::Status;
use crate::types::{RecordId, RecordVersion, ReplicaId, UpdateId, Version, required, update_id};

/// What a fence has found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fenced {
    /// What the older attempts did.
    pub journal: Journal,
    /// How long a storage node holds back each message to another one, at most.
    pub gossip_delay_ms: u64,
}

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

impl StorageClient {
    /// Keeps attempts before `attempt` at the task of `origin`, and at all below it, from doing anything more, and
    /// returns what they did. All nodes are asked, again and again until they answer.
    ///
    /// # Errors
    /// With [`crate::status::Detail::Fenced`]: another attempt has taken the place of this one. Otherwise not enough nodes
    /// have answered before the route's deadline, and the fence stands at some of them.
    pub async fn fence(&self, origin: &str, attempt: u32, route: Route) -> Result<Fenced, Status> {
        let request = proto::FenceRequest {
            origin: origin.to_owned(),
            attempt,
            after: None,
        };
        let ask = |replica, timeout| -> BoxFuture<'_, _> {
            Box::pin(self.fence_pages(replica, request.clone(), timeout))
        };
        let answers = self.ask_enough("a fence", route, ask).await?;
        let mut fenced = Fenced::default();
        for answer in answers {
            fenced.gossip_delay_ms = fenced.gossip_delay_ms.max(answer.gossip_delay_ms);
            for (id, update) in answer.updates {
                merge(&mut fenced.journal, id, update);
            }
        }
        Ok(fenced)
    }

    async fn fence_pages(
        &self,
        replica: ReplicaId,
        mut request: proto::FenceRequest,
        timeout: Duration,
    ) -> Result<Answer, Status> {
        let mut answer = Answer::default();
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
                answer.updates.push(decode(update)?);
            }
            answer.gossip_delay_ms = page.gossip_delay_ms;
            // A page without an end would be asked for again for ever.
            if !page.more || last.is_none() {
                return Ok(answer);
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

/// What one node has answered.
#[derive(Default)]
struct Answer {
    updates: Vec<(UpdateId, Journalled)>,
    gossip_delay_ms: u64,
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
