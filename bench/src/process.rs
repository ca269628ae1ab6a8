//! One process of the binary, from its readiness line to its end.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::node::PARENT_VARIABLE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

use crate::launcher::{Launcher, LauncherError};

/// Bytes of the log that an error shows, from its end.
const LAST_WORDS_BYTES: usize = 2_000;

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{name} was not ready within {limit:?}; it said: {said}")]
    NotReady {
        name: String,
        limit: Duration,
        said: String,
    },
    #[error("{name} ended before it was ready; it said: {said}")]
    Ended { name: String, said: String },
    #[error("{name} could not be sent {signal}: {source}")]
    Signal {
        name: String,
        signal: Signal,
        source: nix::Error,
    },
}

/// Killed and reaped when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    /// Kept open: a node that prints must not find its output closed.
    _output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it and waits for the line `ready …`, at most `limit`. Its standard error is appended to `log`.
    pub async fn start(
        launcher: &Launcher,
        name: &str,
        mut command: Command,
        log: &Path,
        limit: Duration,
    ) -> Result<Self, ProcessError> {
        let io = |what: String| move |source| ProcessError::Io { what, source };
        let file = File::options().create(true).append(true).open(log);
        let file = file.map_err(io(format!("cannot open {}", log.display())))?;
        command
            .env(PARENT_VARIABLE, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file);
        let spawned = launcher.run(move || command.spawn())?;
        let mut child = Reaped(Some(spawned.map_err(io(format!("cannot start {name}")))?));
        let output = child.0.as_mut().and_then(|child| child.stdout.take());
        let output = output.ok_or_else(|| io::Error::other("its output was not piped"));
        let output = output
            .and_then(ChildStdout::from_std)
            .map_err(io(format!("cannot read the output of {name}")))?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        let read = tokio::time::timeout(limit, output.read_line(&mut line)).await;
        let (name, said) = (name.to_owned(), || last_words(log));
        match (read, child.0.take()) {
            (Ok(Ok(_)), Some(child)) if line.starts_with("ready ") => Ok(Self {
                name,
                child,
                _output: output,
            }),
            (Err(_), started) => {
                drop(Reaped(started));
                let said = said();
                Err(ProcessError::NotReady { name, limit, said })
            }
            (Ok(_), ended) => {
                drop(Reaped(ended));
                let said = said();
                Err(ProcessError::Ended { name, said })
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let failed = |source| ProcessError::Signal {
            name: self.name.clone(),
            signal,
            source,
        };
        let pid = i32::try_from(self.child.id()).map_err(|_| failed(nix::Error::ESRCH))?;
        kill(Pid::from_raw(pid), signal).map_err(failed)
    }

    /// Kills it with SIGKILL. When this returns it has ended and was reaped: it will never speak again.
    pub fn kill(mut self) -> Result<(), ProcessError> {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        ended.map(drop).map_err(|source| ProcessError::Io {
            what: format!("cannot kill {}", self.name),
            source,
        })
    }

    /// True once it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child that is killed unless it is taken.
struct Reaped(Option<Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The end of a log.
pub fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let start = text.len().saturating_sub(LAST_WORDS_BYTES);
    let end = text.get(start..).unwrap_or_default();
    let said = String::from_utf8_lossy(end).trim().to_owned();
    if said.is_empty() {
        "nothing".to_owned()
    } else {
        said
    }
}

/// The log of a process.
pub fn log_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}
