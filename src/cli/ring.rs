//! The storage nodes of a cluster and the settings on which all of them agree.

use clap::Args;
use common::types::{CommitMode, Ring};

/// For a cluster by hand; the puppetmaster tells its nodes by itself.
#[derive(Debug, Clone, Args)]
pub struct RingArguments {
    /// All storage nodes, in order of their replica ids; the same text for every node
    #[arg(
        long,
        env = "MARIONETTE_RING",
        value_name = "ID=URL,…",
        hide_env_values = true
    )]
    pub ring: Option<String>,
    /// Storage nodes that hold a record [default: all of them, up to 3]
    #[arg(
        long,
        env = "MARIONETTE_REPLICATION",
        value_name = "N",
        hide_env_values = true
    )]
    pub replication: Option<u32>,
    /// Which replicas must agree to an update: `majority`, or `fail-stop` (all that are not known to be dead)
    #[arg(
        long,
        env = "MARIONETTE_COMMIT",
        value_name = "MODE",
        default_value = "majority",
        hide_env_values = true
    )]
    pub commit: CommitMode,
    /// Versions kept of a record
    #[arg(
        long,
        env = "MARIONETTE_MAX_VERSIONS",
        value_name = "N",
        default_value_t = Ring::MAX_VERSIONS_DEFAULT,
        hide_env_values = true
    )]
    pub max_versions: u32,
}

impl RingArguments {
    /// None when no ring is named: then the node waits to be told. The error is for people.
    pub fn ring(&self) -> Result<Option<Ring>, String> {
        let Some(text) = &self.ring else {
            return Ok(None);
        };
        let nodes = Ring::parse_nodes(text).map_err(|error| error.to_string())?;
        Ring::new(nodes, self.replication, self.commit, self.max_versions)
            .map(Some)
            .map_err(|error| error.to_string())
    }
}
