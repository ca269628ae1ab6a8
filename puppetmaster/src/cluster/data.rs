//! Where storage nodes keep their records, and whether they have any from before.

use super::{CALL_MAX, Cluster, Node, POLL_INTERVAL, Phase};
use crate::language::Role;
use crate::outcome::Failure;
use common::proto::{AppliedResponse, Empty, storage};
use common::types::Ring;

impl Cluster {
    /// What a storage node's command line says about its data.
    pub(super) fn data_arguments(&self, node: &str) -> Vec<String> {
        let Some(data) = &self.data else {
            return Vec::new();
        };
        let sync = self.settings().sync;
        [
            "--data".to_owned(),
            data.join(node).display().to_string(),
            "--sync".to_owned(),
            sync.to_string(),
        ]
        .to_vec()
    }

    /// The ring that data is made with stays as it is: it is neither sealed without a node that could not be started, nor
    /// compared with the ring of the data.
    pub(super) fn all_started_for_data(&self) -> Result<(), Failure> {
        if self.data.is_none() {
            return Ok(());
        }
        for (name, node) in self.nodes() {
            if let (Role::Storage, Phase::Failed(why)) = (node.role, node.phase) {
                return Err(Failure::new(format!("node `{name}` {why}")).hint(
                    "with --data the set of storage nodes is for ever, so all of them have to start first",
                ));
            }
        }
        Ok(())
    }

    /// Whether records are left from before, so that a node without data has something to copy. An error when they
    /// belong to another ring: nobody was told of this one yet.
    pub(super) async fn has_data(&self, ring: &Ring) -> Result<bool, Failure> {
        let Some(data) = &self.data else {
            return Ok(false);
        };
        let mut found = false;
        for (name, node) in self.nodes() {
            if node.role != Role::Storage || !node.is_ready() {
                continue;
            }
            let no_answer = |failure: Failure| {
                let why = failure.message();
                Failure::new(format!(
                    "node `{name}` does not say what data it has: {why}"
                ))
            };
            let Some(known) = self.applied_by(&name).await.map_err(no_answer)?.ring else {
                continue;
            };
            let known = Ring::try_from(known)
                .map_err(|error| Failure::new(format!("the ring of `{name}` is wrong: {error}")))?;
            let differences = ring.differences(&known);
            if !differences.is_empty() {
                return Err(other_ring(&data.join(&name).display(), &differences));
            }
            found = true;
        }
        Ok(found)
    }
}

impl Cluster {
    /// The ring of a storage node's data, and what it has applied. An error of a node that does not answer says why.
    pub async fn applied_by(&self, name: &str) -> Result<AppliedResponse, Failure> {
        let node = self.settled(name).await?;
        match &node.phase {
            Phase::Down(why) | Phase::Failed(why) => return Err(Failure::new(why.clone())),
            Phase::Ready | Phase::Starting => {}
        }
        let client = storage::Client::new(self.fabric.clone(), node.address, CALL_MAX);
        Ok(client.applied(&Empty {}).await?)
    }

    /// Returns once all storage nodes that are awake are members. A node that comes back with its data is none until it
    /// has heard from the others what they did without it; should they crash before, it would wait for their return.
    pub(super) async fn all_members(&self) -> Result<(), Failure> {
        let sealed = self.state().ring.is_some();
        if self.data.is_none() || !sealed {
            return Ok(());
        }
        let patience = self.settings().patience();
        let until_ms =
            self.fabric.now_ms() + u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        for (name, _) in self.nodes() {
            let is_awake = |node: Node| node.role == Role::Storage && node.is_awake();
            while self.node(&name).is_some_and(is_awake) && !self.applied_by(&name).await?.is_member
            {
                if self.fabric.now_ms() >= until_ms {
                    let why = "still waits for what other storage nodes did without it";
                    return Err(Failure::new(format!("node `{name}` {why}")));
                }
                self.fabric.sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// A node whose process was reaped, and that copies everything should it start again.
    pub fn comes_back_empty(&self, name: &str) -> bool {
        let is_dead = |node: Node| matches!(node.phase, Phase::Down(_) | Phase::Failed(_));
        self.data.is_none() && self.node(name).is_some_and(is_dead)
    }
}

fn other_ring(directory: &impl std::fmt::Display, differences: &[String]) -> Failure {
    let differences = differences.join("; ");
    Failure::new(format!(
        "the data in {directory} belongs to another ring: the script has {differences}"
    ))
    .hint("use the storage nodes and settings that the data was made with, or another directory for --data")
}
