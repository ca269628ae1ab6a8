//! What a line of a script can say.

use super::load::Load;
use common::diagnostic::Word;
use common::fabric::{Address, Profile};
use common::types::{CommitMode, SyncMode, Version};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A name as it was written, with its place for diagnostics.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(pub Word);

impl Name {
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The roles that a script can create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Scheduler,
    Storage,
    Worker,
}

impl Role {
    /// The word for it in scripts, on the command line and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Storage => "storage",
            Self::Worker => "worker",
        }
    }

    /// What people call such a node.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Storage => "storage node",
            other => other.name(),
        }
    }
}

/// A node to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    pub role: Role,
    pub name: Name,
    pub url: Name,
    pub address: Address,
    pub gossip_delay_ms: u64,
}

/// Where a storage command goes.
pub type Target = Option<Name>;

/// How many replicas hold a write before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    One,
    Majority,
    All,
}

/// How workers run native libraries, which they otherwise refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// A crash is the worker's.
    InTheWorker,
    /// In child processes: a crash is the task's.
    Isolated,
}

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

/// What `await` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Every node that was created answers, and every worker is known to the scheduler.
    Ready,
    /// No run is outstanding.
    Runs,
    /// All replicas of every record hold the same versions.
    Converged,
}

impl Condition {
    pub const ALL: [Self; 3] = [Self::Ready, Self::Runs, Self::Converged];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Runs => "runs",
            Self::Converged => "converged",
        }
    }
}

/// What can be wrong with all that one node sends to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Cut,
    Delay { delay_ms: u32 },
    Loss { percent: u32 },
}

/// What a run is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    pub input: String,
    pub application: Name,
    /// A second submission with the same key is no second run.
    pub key: Option<String>,
}

/// What is asked of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfRun {
    /// What became of its tasks.
    Trace,
    /// What it waits for.
    Why,
    /// Its end.
    Cancel,
}

/// One command of a script or of a person at the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Debug,
    Create(NewNode),
    /// Submits a run and does not wait for it.
    Client(Submission),
    /// Submits a run and waits for its outcome.
    Run(Submission),
    /// Submits runs at a rate, and waits for all of them.
    Load(Load),
    Populate {
        file: Name,
    },
    /// Copies all records into a file.
    Backup {
        file: Name,
    },
    /// Takes over the records of such a file.
    Restore {
        file: Name,
    },
    /// Whether a history of storage operations keeps the storage's promises.
    Check {
        file: Name,
    },
    /// Puts a component of operators into the storage; runs use it from then on.
    Deploy {
        file: Name,
    },
    /// Goes back to the component that the class had before.
    Rollback {
        class: String,
    },
    /// What is deployed.
    Operators,
    Status,
    ListServer {
        node: Name,
    },
    ListGlobal,
    Crash {
        node: Name,
    },
    Stop {
        node: Name,
    },
    Start {
        node: Name,
    },
    Freeze {
        node: Name,
    },
    Unfreeze {
        node: Name,
    },
    /// At least two, none of them empty.
    Partition {
        groups: Vec<Vec<Name>>,
    },
    Fault {
        from: Name,
        to: Name,
        fault: Fault,
    },
    Heal,
    Wait {
        duration: Duration,
    },
    Set(Setting),
    Read {
        key: String,
        version: Option<Version>,
        at: Target,
    },
    Write {
        key: String,
        value: String,
        at: Target,
    },
    /// `old` absent: the record must not exist.
    UpdateIf {
        key: String,
        old: Option<String>,
        new: String,
        at: Target,
    },
    History {
        key: String,
        at: Target,
    },
    /// All records whose ids begin with it.
    Scan {
        prefix: String,
        limit: Option<u32>,
    },
    Watch {
        prefix: String,
    },
    Await {
        condition: Condition,
        limit: Option<Duration>,
    },
    /// `value` absent: the record must not exist.
    Expect {
        key: String,
        value: Option<String>,
        at: Target,
    },
    ExpectRun {
        run: u64,
        run_word: Name,
        output: String,
    },
    ExpectFail {
        command: Box<Command>,
    },
    Runs,
    OfRun {
        run: u64,
        run_word: Name,
        what: OfRun,
    },
    Repeat {
        count: u32,
        command: Box<Command>,
    },
    Include {
        file: Name,
    },
    Echo {
        text: String,
    },
    Help {
        command: Option<String>,
    },
    Exit,
}

impl Command {
    /// Whether the set of storage nodes must be complete before it: the first such command seals it.
    pub fn needs_storage(&self) -> bool {
        match self {
            Self::Client(_)
            | Self::Run(_)
            | Self::Load(_)
            | Self::Populate { .. }
            | Self::Backup { .. }
            | Self::Restore { .. }
            | Self::Deploy { .. }
            | Self::Rollback { .. }
            | Self::Operators
            | Self::ListServer { .. }
            | Self::ListGlobal
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::UpdateIf { .. }
            | Self::History { .. }
            | Self::Scan { .. }
            | Self::Watch { .. }
            | Self::Expect { .. }
            | Self::Await {
                condition: Condition::Converged,
                ..
            } => true,
            Self::ExpectFail { command } | Self::Repeat { command, .. } => command.needs_storage(),
            Self::Debug
            | Self::Create(_)
            | Self::Status
            | Self::Crash { .. }
            | Self::Stop { .. }
            | Self::Start { .. }
            | Self::Freeze { .. }
            | Self::Unfreeze { .. }
            | Self::Partition { .. }
            | Self::Fault { .. }
            | Self::Heal
            | Self::Wait { .. }
            | Self::Set(_)
            | Self::Await { .. }
            | Self::ExpectRun { .. }
            | Self::OfRun { .. }
            | Self::Runs
            | Self::Include { .. }
            | Self::Echo { .. }
            | Self::Help { .. }
            | Self::Check { .. }
            | Self::Exit => false,
        }
    }

    /// Whether it speaks to the scheduler.
    pub fn needs_scheduler(&self) -> bool {
        matches!(
            self,
            Self::Client(_)
                | Self::Run(_)
                | Self::Load(_)
                | Self::Runs
                | Self::ExpectRun { .. }
                | Self::Deploy { .. }
                | Self::Rollback { .. }
                | Self::Operators
        )
    }

    /// The storage node which the line names with `at`.
    pub fn target(&self) -> Option<&Name> {
        match self {
            Self::Read { at, .. }
            | Self::Write { at, .. }
            | Self::UpdateIf { at, .. }
            | Self::History { at, .. }
            | Self::Expect { at, .. } => at.as_ref(),
            _ => None,
        }
    }
}
