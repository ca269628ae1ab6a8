//! What a line of a script can say.

use super::load::Load;
use super::setting::Setting;
use common::diagnostic::Word;
use common::fabric::Address;
use common::types::Version;
use std::fmt;
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
