//! What goes into the core and what comes out of it.

use std::fmt;

/// A request that waits for its answer; given by the server.
pub type CallId = u64;
/// One process; never reused, unlike its name and its pid.
pub type ProcessId = u64;

/// The roles that are started; nothing else ever is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Scheduler,
    Storage,
    Worker,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Scheduler, Self::Storage, Self::Worker];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The subcommand of the binary.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Storage => "storage",
            Self::Worker => "worker",
        }
    }
}

/// What to start, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub session: String,
    pub name: String,
    pub role: Role,
    /// After the role's name.
    pub arguments: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Start(Spec),
    Kill {
        session: String,
        name: String,
    },
    Stop {
        session: String,
        name: String,
    },
    Freeze {
        session: String,
        name: String,
    },
    Unfreeze {
        session: String,
        name: String,
    },
    Watch {
        session: String,
        after: u64,
        wait_ms: u64,
        lease_ms: u64,
    },
    List,
    Close {
        session: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Request {
        call: CallId,
        request: Request,
    },
    /// The process exists.
    Launched {
        process: ProcessId,
        pid: u32,
    },
    LaunchFailed {
        process: ProcessId,
        why: String,
    },
    /// Its readiness line was seen.
    Ready {
        process: ProcessId,
    },
    /// `Freeze` or `Unfreeze` was sent to it, in the order of the outputs.
    Signalled {
        process: ProcessId,
    },
    /// It was reaped. The last input about a process.
    Exited {
        process: ProcessId,
        how: String,
        last_words: String,
    },
    /// Time has passed.
    Tick,
    /// Stop everything, start nothing more.
    Shutdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A frozen process ends as well.
    Terminate,
    Kill,
    /// Answered by `Signalled`.
    Freeze,
    /// Answered by `Signalled`.
    Unfreeze,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Answered by `Launched` or `LaunchFailed`.
    Launch {
        process: ProcessId,
        spec: Spec,
    },
    Signal {
        process: ProcessId,
        signal: Signal,
    },
    Answer {
        call: CallId,
        answer: Result<Answer, PcsError>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Started { pid: u32 },
    Done,
    Events(Vec<Event>),
    Processes(Vec<ProcessView>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Consecutive in its session, from 1.
    pub number: u64,
    pub name: String,
    pub pid: u32,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Ready,
    Exited {
        /// True when Kill, Stop, Close or the end of the PCS asked for it.
        asked: bool,
        how: String,
        last_words: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessView {
    pub session: String,
    pub name: String,
    pub role: Role,
    pub pid: u32,
    pub ready: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PcsError {
    #[error(
        "`{name}` is running already in session `{session}`: stop it first, or choose another name"
    )]
    NameTaken { session: String, name: String },
    #[error("no process `{name}` is running in session `{session}`")]
    NoSuchProcess { session: String, name: String },
    #[error("cannot start {role} `{name}`: {why}")]
    NotStarted {
        role: Role,
        name: String,
        why: String,
    },
    #[error("session `{0}` is not known here: it was closed, or this PCS was started anew")]
    NoSuchSession(String),
    #[error("session `{0}` is being closed")]
    SessionClosing(String),
    #[error("event {after} of session `{session}` is no longer kept; the oldest is {oldest}")]
    EventsDiscarded {
        session: String,
        after: u64,
        oldest: u64,
    },
    #[error("{what}: at most {max} at once")]
    Full { what: &'static str, max: usize },
    #[error("this PCS is shutting down")]
    ShuttingDown,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
