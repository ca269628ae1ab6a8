//! How a command, and in the end a whole script, went.

use common::diagnostic::Diagnostic;
use common::status::Status;

/// The worst thing that happened; its number is the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Outcome {
    #[default]
    Well = 0,
    /// A run, an expectation or another command failed.
    Failed = 1,
    /// The script is wrong; nothing was started.
    WrongScript = 2,
    /// A node could not be started, or was lost although nobody asked for it.
    NodeLost = 3,
}

impl Outcome {
    pub fn exit_code(self) -> u8 {
        self as u8
    }

    /// Both happened.
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Why a command did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The command makes no sense here: each diagnostic has its place.
    Wrong(Vec<Diagnostic>),
    /// It makes sense, but could not be done.
    Failed {
        message: String,
        hint: Option<String>,
    },
    /// As `Failed`, when the person was told already by the outcome of a run.
    Told { message: String },
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
        }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Failed { message, .. } => Self::Failed {
                message,
                hint: Some(hint.into()),
            },
            other => other,
        }
    }

    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Wrong(_) => Outcome::WrongScript,
            Self::Failed { .. } | Self::Told { .. } => Outcome::Failed,
        }
    }

    /// In one line.
    pub fn message(&self) -> String {
        match self {
            Self::Wrong(diagnostics) => {
                let messages: Vec<&str> = diagnostics
                    .iter()
                    .map(|wrong| wrong.message.as_str())
                    .collect();
                messages.join("; ")
            }
            Self::Failed { message, .. } | Self::Told { message } => message.clone(),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // What a node says of a wrong file is rendered already.
        let message = status.message.strip_prefix("error: ");
        Self::new(message.unwrap_or(&status.message))
    }
}
