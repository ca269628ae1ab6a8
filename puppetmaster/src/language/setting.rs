//! What `set` can say.

use super::command::{Durability, Name, Native};
use common::fabric::{Address, Profile};
use common::types::{CommitMode, SyncMode};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What `set` sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// Storage nodes that hold a record.
    Replication(u32),
    /// Versions kept of a record.
    MaxVersions(u32),
    /// The level of `write`.
    Durability(Durability),
    /// Which replicas must agree to an update.
    Commit(CommitMode),
    /// When records count as durable, where they are kept in a directory.
    Sync(SyncMode),
    /// Chooses the storage node that a command without `at` speaks to.
    Seed(u64),
    /// How long a run may take, and how long a command waits for what it needs.
    Timeout(Duration),
    /// The directory from which workers load operators.
    Operators(Name),
    /// Workers load native libraries from it, too.
    Native(Native),
    /// Tasks that a worker executes at once.
    Slots(u32),
    /// Where the scheduler answers HTTP.
    Http(Vec<Address>),
    /// What goes wrong by chance, from now on.
    Faults(Faults),
    /// What clients may ask of a storage node at most, by name.
    Limit(&'static str, u64),
}

/// How much goes wrong by chance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    pub profile: Profile,
    /// So many disturbances of nodes and links at most, then only the weather.
    pub at_most: Option<u32>,
}

impl FromStr for Faults {
    type Err = String;

    /// `harsh`, or `harsh=12`.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((profile, at_most)) = text.split_once('=') else {
            return Ok(Self {
                profile: text.parse()?,
                at_most: None,
            });
        };
        let at_most = at_most.parse();
        let wrong = |_| format!("`{text}`: a number of disturbances is expected behind `=`");
        Ok(Self {
            profile: profile.parse()?,
            at_most: Some(at_most.map_err(wrong)?),
        })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at_most {
            None => self.profile.fmt(f),
            Some(at_most) => write!(f, "{}={at_most}", self.profile),
        }
    }
}

impl Setting {
    /// The names, with what a value looks like.
    pub const NAMES: [(&'static str, &'static str); 16] = [
        ("replication", "a number of storage nodes from 1"),
        ("max_versions", "a number of versions from 1"),
        ("durability", "one, majority or all"),
        ("commit", "majority or fail-stop"),
        ("sync", "always, interval=MS or never"),
        ("seed", "a number"),
        ("timeout", "a time in milliseconds"),
        ("operators", "a directory"),
        ("native", "yes or isolated"),
        ("slots", "a number of tasks from 1"),
        ("http", "a URL such as http://localhost:4080"),
        (
            "faults",
            "none, mild or harsh, or such as harsh=12 for at most 12 disturbances",
        ),
        ("value_bytes_max", "a number of bytes"),
        ("record_id_bytes_max", "a number of bytes"),
        ("record_updates_max", "a number of updates"),
        ("node_updates_max", "a number of updates"),
    ];

    /// Whether nodes are created with it, so that it must come before the first of them.
    pub fn concerns_nodes(&self) -> bool {
        match self {
            Self::Replication(_)
            | Self::MaxVersions(_)
            | Self::Commit(_)
            | Self::Sync(_)
            | Self::Operators(_)
            | Self::Native(_)
            | Self::Slots(_)
            | Self::Http(_)
            | Self::Limit(..) => true,
            Self::Durability(_) | Self::Seed(_) | Self::Timeout(_) | Self::Faults(_) => false,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Replication(_) => "replication",
            Self::MaxVersions(_) => "max_versions",
            Self::Durability(_) => "durability",
            Self::Commit(_) => "commit",
            Self::Sync(_) => "sync",
            Self::Seed(_) => "seed",
            Self::Timeout(_) => "timeout",
            Self::Operators(_) => "operators",
            Self::Native(_) => "native",
            Self::Slots(_) => "slots",
            Self::Http(_) => "http",
            Self::Faults(_) => "faults",
            Self::Limit(name, _) => name,
        }
    }
}
