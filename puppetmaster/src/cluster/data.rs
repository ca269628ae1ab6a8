//! Where storage nodes keep their records, and whether they have any from before.

use super::{CALL_MAX, Cluster};
use crate::language::Role;
use crate::outcome::Failure;
use common::proto::{Empty, storage};
use common::status::Status;
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
            let client = storage::Client::new(self.fabric.clone(), node.address, CALL_MAX);
            let no_answer = |status: Status| {
                Failure::new(format!(
                    "node `{name}` does not say what data it has: {}",
                    status.message
                ))
            };
            let Some(known) = client.applied(&Empty {}).await.map_err(no_answer)?.ring else {
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

fn other_ring(directory: &impl std::fmt::Display, differences: &[String]) -> Failure {
    let differences = differences.join("; ");
    Failure::new(format!(
        "the data in {directory} belongs to another ring: the script has {differences}"
    ))
    .hint("use the storage nodes and settings that the data was made with, or another directory for --data")
}
