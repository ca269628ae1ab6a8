//! Helpers of all whole-system tests: the real binary, its output, its processes.
//!
//! Promises: whatever a test starts is gone when the test ends, also when it fails; a wait has a limit and says what
//! it waited for. A test waits for conditions, never for a time.
#![allow(dead_code, reason = "no test uses all of them")]

pub mod by_hand;
pub mod cluster;
pub mod examples;
pub mod ports;

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Far more than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

/// Waits until `condition` gives something.
#[track_caller]
pub fn wait_until<T>(what: impl Debug, condition: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, condition)
}

#[track_caller]
pub fn wait_within<T>(
    limit: Duration,
    what: impl Debug,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            started.elapsed() < limit,
            "waited {limit:?} in vain for {what:?}"
        );
        std::thread::sleep(POLL);
    }
}

/// Below those that the system hands out by itself, also for connections: nobody takes one of these by chance.
const PORTS: std::ops::Range<u16> = 11_000..31_000;
static PORTS_GIVEN: AtomicU32 = AtomicU32::new(0);

/// Ports that are free on every loopback host; this process gets each of them once.
pub fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port())
}

fn free_port() -> u16 {
    let count = u32::try_from(PORTS.len()).unwrap();
    loop {
        let given = PORTS_GIVEN.fetch_add(1, Ordering::Relaxed);
        // Each process begins elsewhere, since others may run their tests at the same time.
        let place = (std::process::id().wrapping_mul(97) + given) % count;
        let port = PORTS.start + u16::try_from(place).unwrap();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// A port that stays taken for as long as the listener lives.
pub fn taken_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// True while the process runs; a zombie does not.
pub fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// True while the process is stopped by SIGSTOP.
pub fn is_frozen(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state == 'T')
}

/// The processes that `pid` has started and that still run.
pub fn children_of(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&child| stat(child).is_some_and(|(state, parent)| state != 'Z' && parent == pid))
        .collect()
}

/// State and parent of a process, from `/proc/PID/stat`.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// The binary under test, in a process group of its own; killed with its children when this is dropped.
pub struct Marionette {
    child: Child,
    output: Captured,
    error: Captured,
}

/// How it ended, and what it said.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub output: String,
    pub error: String,
}

impl Marionette {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, "", |_| {})
    }

    /// With this text as standard input, and with more settings of the process.
    pub fn start_with(
        arguments: &[&str],
        input: &str,
        settings: impl FnOnce(&mut Command),
    ) -> Self {
        Self::start_program(
            Path::new(env!("CARGO_BIN_EXE_marionette")),
            arguments,
            input,
            settings,
        )
    }

    /// The same of another program.
    pub fn start_program(
        program: &Path,
        arguments: &[&str],
        input: &str,
        settings: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        settings(&mut command);
        let mut child = command.spawn().unwrap();
        let output = Captured::of(child.stdout.take().unwrap());
        let error = Captured::of(child.stderr.take().unwrap());
        // It may end without reading its input.
        if let Some(mut pipe) = child.stdin.take() {
            let _ = pipe.write_all(input.as_bytes());
        }
        Self {
            child,
            output,
            error,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.output.text()
    }

    pub fn error(&self) -> String {
        self.error.text()
    }

    /// Waits for a line on its standard output that starts like this; the rest of the line.
    #[track_caller]
    pub fn wait_for_line(&self, start: &str) -> String {
        wait_until(("a line", start), || {
            let ended = !is_running(self.pid());
            let output = self.output();
            let found = output.lines().find_map(|line| line.strip_prefix(start));
            assert!(
                found.is_some() || !ended,
                "it ended without a line {start:?}: {}",
                self.error()
            );
            found.map(str::to_owned)
        })
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.finish_within(PATIENCE)
    }

    #[track_caller]
    pub fn finish_within(mut self, limit: Duration) -> Finished {
        let ended = || self.child.try_wait().unwrap();
        let status = wait_within(limit, "the end of marionette", ended);
        Finished {
            status,
            output: self.output.rest(),
            error: self.error.rest(),
        }
    }
}

impl Drop for Marionette {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().try_into().unwrap());
        if self.child.try_wait().unwrap().is_none() {
            // They should die with it; a test that shows that they do not cleans up all the same.
            let children = children_of(self.pid());
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.child.wait();
            for child in children.into_iter().filter(|&child| is_running(child)) {
                let _ = kill(Pid::from_raw(child.try_into().unwrap()), Signal::SIGKILL);
            }
        }
    }
}

/// The text that comes out of a pipe.
struct Captured {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
                sink.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Everything, once the pipe is closed.
    fn rest(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            wait_until("the end of the output", || {
                reader.is_finished().then_some(())
            });
        }
        self.text()
    }
}
