//! A thread on which processes are started, at wish in a network or among file systems of its own.
//!
//! Two settings of Linux are those of a thread: a child dies with the *thread* that has forked it (`PR_SET_PDEATHSIG`,
//! prctl(2)), and a namespace is entered by a thread (unshare(2)). So a launcher is a thread that lives as long
//! as what it has started, and nothing of it is left behind when this process ends, however it ends.

use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};

type Job = Box<dyn FnOnce() + Send>;

pub struct Launcher {
    thread: Pid,
    /// Absent while it is dropped: then the thread ends.
    jobs: Option<mpsc::Sender<Job>>,
    ended: Option<JoinHandle<()>>,
}

#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    #[error("no thread could be started: {0}")]
    Thread(std::io::Error),
    /// Not root, or a container that forbids it.
    #[error("no namespace could be made: {0}")]
    Namespace(nix::Error),
    #[error("`{command}` failed: {said}")]
    Command { command: String, said: String },
    /// A bug: a job has panicked.
    #[error("a launcher's thread has ended")]
    Ended,
}

impl Launcher {
    /// In the network of this process.
    pub fn new() -> Result<Self, LauncherError> {
        Self::start(|| Ok(()))
    }

    /// In a new network without any interface that is up.
    pub fn in_new_network() -> Result<Self, LauncherError> {
        Self::start(|| unshare(CloneFlags::CLONE_NEWNET).map_err(LauncherError::Namespace))
    }

    /// Sees the file systems of this process; what is mounted there is seen only there, once mounts are made private.
    pub fn in_new_mounts() -> Result<Self, LauncherError> {
        Self::start(|| unshare(CloneFlags::CLONE_NEWNS).map_err(LauncherError::Namespace))
    }

    fn start(
        prepare: impl FnOnce() -> Result<(), LauncherError> + Send + 'static,
    ) -> Result<Self, LauncherError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new().name("launcher".to_owned());
        let ended = thread
            .spawn(move || {
                let prepared = prepare().map(|()| gettid());
                // The one that waits for this does not go away.
                let _ = tell.send(prepared);
                for job in queue {
                    job();
                }
            })
            .map_err(LauncherError::Thread)?;
        let thread = told.recv().map_err(|_| LauncherError::Ended)??;
        Ok(Self {
            thread,
            jobs: Some(jobs),
            ended: Some(ended),
        })
    }

    /// Names the thread, and so its network, to programs such as ip(8).
    pub fn thread(&self) -> Pid {
        self.thread
    }

    /// Runs a command without quotes there; an error unless it succeeds.
    pub fn shell(&self, command: &str) -> Result<(), LauncherError> {
        let failed = |said| LauncherError::Command {
            command: command.to_owned(),
            said,
        };
        let mut words = command.split(' ').map(str::to_owned);
        let mut program = Command::new(words.next().unwrap_or_default());
        program.args(words);
        let ended = self.run(move || program.output())?;
        let ended = ended.map_err(|error| failed(error.to_string()))?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        Err(failed(said.trim().to_owned()))
    }

    /// Does it on the thread and waits for the end. Threads that the job starts share the network.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LauncherError> {
        let (tell, told) = mpsc::channel();
        let jobs = self.jobs.as_ref().ok_or(LauncherError::Ended)?;
        let job = Box::new(move || drop(tell.send(job())));
        jobs.send(job).map_err(|_| LauncherError::Ended)?;
        told.recv().map_err(|_| LauncherError::Ended)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(ended) = self.ended.take() {
            // A job's panic was told to whoever waited for it.
            let _ = ended.join();
        }
    }
}
