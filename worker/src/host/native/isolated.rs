//! A native library whose operators run in child processes of the worker: a crash costs the task, not the worker.
//!
//! Promises: a child runs one task at a time and one library; it is kept for the next task unless it crashed, was stopped
//! or said something odd; at most as many idle ones as there are slots. No child outlives its worker, nor the host that
//! started it.
//!
//! Relies on: the program of [`ChildCommand`], which calls [`serve_native_tasks`](super::serve_native_tasks).

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use common::node::PARENT_VARIABLE;
use marionette_sdk::native as abi;
use nix::sys::signal::Signal;

use super::frame::{ToWorker, receive, send, send_bytes};
use super::library::Perform;
use super::{NativeEnd, Stop};
use crate::host::idle::{Idle, OwnerId};
use crate::host::limits::{CLASSES_TIMEOUT, HostConfig, LAUNCHES_MAX};

/// How a child is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCommand {
    /// A program that calls [`serve_native_tasks`](super::serve_native_tasks).
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

type Launch = mpsc::SyncSender<io::Result<Child>>;

/// Starts children and keeps the idle ones.
pub(in crate::host) struct Children {
    launches: mpsc::SyncSender<Launch>,
    idle: Idle<Child>,
    libraries: AtomicU64,
}

impl Children {
    /// None when native operators run in the worker.
    pub(in crate::host) fn of(config: &HostConfig) -> Result<Option<Arc<Self>>, String> {
        let Some(command) = config.native_isolated.clone() else {
            return Ok(None);
        };
        let children = Self::start(command, config.slots.max(1) as usize);
        let children = children.map_err(|error| format!("no thread for processes: {error}"))?;
        Ok(Some(Arc::new(children)))
    }

    /// Children are started on a thread that lives as long as this, because the kernel ends them with the thread that
    /// started them.
    fn start(command: ChildCommand, idle_max: usize) -> io::Result<Self> {
        let (launches, waiting) = mpsc::sync_channel::<Launch>(LAUNCHES_MAX);
        std::thread::Builder::new()
            .name("native-launcher".to_owned())
            .spawn(move || {
                for answer in waiting {
                    // Who does not wait any more drops the child, which kills it.
                    let _ = answer.send(Child::start(&command));
                }
            })?;
        Ok(Self {
            launches,
            idle: Idle::new(idle_max),
            libraries: AtomicU64::new(0),
        })
    }

    fn launch(&self) -> io::Result<Child> {
        let (answer, launched) = mpsc::sync_channel(1);
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.launches.send(answer).map_err(|_| gone())?;
        launched.recv().map_err(|_| gone())?
    }
}

/// A library that is loaded by children only.
pub(in crate::host) struct IsolatedLibrary {
    path: PathBuf,
    classes: Vec<String>,
    number: OwnerId,
    children: Arc<Children>,
}

impl IsolatedLibrary {
    /// The error says why the library is refused. Blocks.
    pub(super) fn load(path: &Path, children: Arc<Children>) -> Result<Self, String> {
        let (child, classes) = loaded(path, &children, &Stop::default())?;
        let number = children.libraries.fetch_add(1, Ordering::Relaxed);
        children.idle.put(number, child);
        Ok(Self {
            path: path.to_owned(),
            classes,
            number,
            children,
        })
    }

    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Runs a task in a child until it ends, however it does, or is stopped.
    pub(super) fn call(
        &self,
        task: &abi::Task,
        perform: &mut Perform<'_>,
        stop: &Stop,
    ) -> NativeEnd {
        let mut child = match self.child(stop) {
            Ok(child) => child,
            Err(reason) => return NativeEnd::Host(reason),
        };
        match child.run(task, perform) {
            Ok(result) => {
                if stop.release() {
                    self.children.idle.put(self.number, child);
                }
                NativeEnd::Returned(result)
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => NativeEnd::TooLarge,
            Err(error) => NativeEnd::Crashed(child.end(&error)),
        }
    }

    fn child(&self, stop: &Stop) -> Result<Child, String> {
        if let Some(child) = self.children.idle.take(self.number) {
            stop.guard(&child.worker_end)
                .map_err(|error| error.to_string())?;
            return Ok(child);
        }
        let (child, classes) = loaded(&self.path, &self.children, stop)?;
        if classes != self.classes {
            return Err(format!("{} has other classes now", self.path.display()));
        }
        Ok(child)
    }
}

impl Drop for IsolatedLibrary {
    fn drop(&mut self) {
        self.children.idle.forget(self.number);
    }
}

/// A new child with the library in it, and the library's classes.
fn loaded(path: &Path, children: &Children, stop: &Stop) -> Result<(Child, Vec<String>), String> {
    let failed = |error: io::Error| format!("no process for native operators: {error}");
    let mut child = children.launch().map_err(failed)?;
    stop.guard(&child.worker_end).map_err(failed)?;
    let classes = child.load(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            format!("it did not name its classes within {CLASSES_TIMEOUT:?}")
        }
        _ => format!("it could not be loaded: {}", child.end(&error)),
    })??;
    Ok((child, classes))
}

/// A process of ours. Dropped, it is killed and reaped.
struct Child {
    process: std::process::Child,
    worker_end: UnixStream,
}

impl Child {
    fn start(command: &ChildCommand) -> io::Result<Self> {
        let (worker_end, child_end) = UnixStream::pair()?;
        let process = Command::new(&command.program)
            .args(&command.arguments)
            .env(PARENT_VARIABLE, std::process::id().to_string())
            .stdin(std::os::fd::OwnedFd::from(child_end))
            // What operators print is no answer of the worker's.
            .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
            // Ctrl-C on the terminal is for the worker.
            .process_group(0)
            .spawn()?;
        Ok(Self {
            process,
            worker_end,
        })
    }

    fn load(&mut self, path: &Path) -> io::Result<Result<Vec<String>, String>> {
        send(&mut self.worker_end, &path)?;
        self.worker_end.set_read_timeout(Some(CLASSES_TIMEOUT))?;
        let answer = receive(&mut self.worker_end)?;
        self.worker_end.set_read_timeout(None)?;
        match answer {
            ToWorker::Loaded(classes) => Ok(classes),
            other => Err(io::Error::other(format!("it said {other:?}"))),
        }
    }

    fn run(
        &mut self,
        task: &abi::Task,
        perform: &mut Perform<'_>,
    ) -> io::Result<Result<Vec<marionette_sdk::Item>, abi::TaskError>> {
        send(&mut self.worker_end, task)?;
        loop {
            match receive(&mut self.worker_end)? {
                ToWorker::Call(call) => send_bytes(&mut self.worker_end, &perform(call))?,
                ToWorker::Ended(Some(result)) => return Ok(result),
                ToWorker::Ended(None) => return Err(io::ErrorKind::FileTooLarge.into()),
                ToWorker::Loaded(_) => return Err(io::Error::other("it was loaded again")),
            }
        }
    }

    /// How the process ended that could not be talked to; what has not ended by itself is killed.
    fn end(&mut self, error: &io::Error) -> String {
        let is_gone = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
        );
        if !is_gone {
            return error.to_string();
        }
        // One that is ending already goes on to end as it would have.
        match self.process.kill().and_then(|()| self.process.wait()) {
            Ok(status) => described(status),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both do nothing when it has ended and was reaped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn described(status: ExitStatus) -> String {
    let signal = status.signal().map(Signal::try_from);
    match (status.code(), signal) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(Ok(signal))) => format!("signal {signal}"),
        (None, _) => status.to_string(),
    }
}
