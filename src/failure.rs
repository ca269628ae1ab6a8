//! Why the process ends, for people and for scripts.

use std::process::ExitCode;

/// Exit statuses, as SCRIPTS.md writes them down.
const OTHER: u8 = 1;
const USAGE: u8 = 2;
const NOT_STARTED: u8 = 3;

#[derive(Debug)]
pub struct Failure {
    exit: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// The command line, or what it names, is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message.into())
    }

    /// A node cannot start.
    pub fn not_started(message: impl Into<String>) -> Self {
        Self::new(NOT_STARTED, message.into())
    }

    pub fn other(message: impl Into<String>) -> Self {
        Self::new(OTHER, message.into())
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// Prints it on standard error; the exit status.
    pub fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.exit)
    }

    fn new(exit: u8, message: String) -> Self {
        Self {
            exit,
            message,
            hint: None,
        }
    }
}
