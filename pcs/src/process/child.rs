//! Tends one child until it is reaped: relays its output, looks for its readiness line, signals it.
//!
//! Only this task signals the child, and never after it was reaped: a pid that the kernel has given to another process
//! is never signalled.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::fabric::{Address, FabricHandle, timeout};
use common::node::readiness_line;
use futures::future::{Either, join, select};
use nix::sys::signal::{Signal as UnixSignal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::mpsc;

use super::printer::{Lines, Stream};
use crate::core::{Input, LastWords, ProcessId, Signal};
use crate::launch::Child;

/// Longest line that is relayed in one piece, in bytes.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// How long the pipes of an ended child are read on, in case that someone else holds them.
const DRAIN_WAIT: Duration = Duration::from_millis(300);

/// Reports with `Ready` and, last, `Exited` on `inputs`.
pub fn tend(
    child: tokio::process::Child,
    (process, name): (ProcessId, String),
    fabric: &FabricHandle,
    lines: Lines,
    inputs: mpsc::Sender<Input>,
) -> Child {
    let (signals, ordered) = mpsc::channel(Child::SIGNALS_MAX);
    let tender = Tender {
        process,
        name,
        fabric: fabric.clone(),
        lines,
        inputs,
        last_words: Mutex::default(),
    };
    Child {
        signals,
        _tender: fabric.spawn(Box::pin(tender.run(child, ordered))),
    }
}

struct Tender {
    process: ProcessId,
    name: String,
    fabric: FabricHandle,
    lines: Lines,
    inputs: mpsc::Sender<Input>,
    last_words: Mutex<LastWords>,
}

impl Tender {
    async fn run(self, mut child: tokio::process::Child, signals: mpsc::Receiver<Signal>) {
        let output = child.stdout.take().map(BufReader::new);
        let error = child.stderr.take().map(BufReader::new);
        let relays = std::pin::pin!(join(
            self.relay(Stream::Output, output),
            self.relay(Stream::Error, error)
        ));
        let how = match select(relays, std::pin::pin!(self.reap(child, signals))).await {
            Either::Left((_, reaped)) => reaped.await,
            Either::Right((how, relays)) => {
                let _ = timeout(&*self.fabric, DRAIN_WAIT, relays).await;
                how
            }
        };
        let last_words = self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .text();
        let process = self.process;
        // The server has ended when this fails.
        let _ = self
            .inputs
            .send(Input::Exited {
                process,
                how,
                last_words,
            })
            .await;
    }

    /// Signals the child as ordered until it has ended; says how it ended.
    async fn reap(
        &self,
        mut child: tokio::process::Child,
        mut signals: mpsc::Receiver<Signal>,
    ) -> String {
        let process = self.process;
        loop {
            tokio::select! {
                biased;
                ended = child.wait() => return match ended {
                    Ok(status) => describe(status),
                    Err(error) => format!("lost: {error}"),
                },
                Some(signal) = signals.recv() => {
                    send(&child, signal);
                    if matches!(signal, Signal::Freeze | Signal::Unfreeze) {
                        // The server has ended when this fails.
                        let _ = self.inputs.send(Input::Signalled { process }).await;
                    }
                }
            }
        }
    }

    async fn relay<R: AsyncRead + Unpin>(&self, stream: Stream, reader: Option<BufReader<R>>) {
        let Some(mut reader) = reader else { return };
        while let Some(line) = next_line(&mut reader).await {
            if stream == Stream::Output && is_readiness_line(&line, &self.name) {
                let _ = self
                    .inputs
                    .send(Input::Ready {
                        process: self.process,
                    })
                    .await;
                if !self.lines.tell_readiness() {
                    continue;
                }
            }
            if stream == Stream::Error {
                self.last_words
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(&line);
            }
            self.lines.print(stream, &self.name, &line).await;
        }
    }
}

/// Without its end; a longer line comes in pieces of [`LINE_BYTES_MAX`]. None at the end of the stream.
async fn next_line<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> Option<String> {
    let mut line = Vec::new();
    let read = reader
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .await;
    if !matches!(read, Ok(1..)) {
        return None;
    }
    let line = String::from_utf8_lossy(&line);
    Some(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn is_readiness_line(line: &str, name: &str) -> bool {
    let address = line
        .rsplit(' ')
        .next()
        .and_then(|url| Address::parse(url).ok());
    address.is_some_and(|address| readiness_line(name, &address) == line)
}

fn send(child: &tokio::process::Child, signal: Signal) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else {
        return;
    };
    let signals: &[UnixSignal] = match signal {
        // A frozen process hears the first only when it goes on.
        Signal::Terminate => &[UnixSignal::SIGTERM, UnixSignal::SIGCONT],
        Signal::Kill => &[UnixSignal::SIGKILL],
        Signal::Freeze => &[UnixSignal::SIGSTOP],
        Signal::Unfreeze => &[UnixSignal::SIGCONT],
    };
    for signal in signals {
        if let Err(error) = kill(Pid::from_raw(pid), *signal) {
            tracing::warn!(pid, %signal, %error, "a signal was not delivered");
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => match UnixSignal::try_from(number) {
            Ok(signal) => format!("signal {number} ({signal})"),
            Err(_) => format!("signal {number}"),
        },
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_described_for_people() {
        assert_eq!(describe(ExitStatus::from_raw(9)), "signal 9 (SIGKILL)");
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exit status 3");
    }

    #[test]
    fn only_the_nodes_own_readiness_line_makes_it_ready() {
        assert!(is_readiness_line("ready s1 http://127.0.0.1:3000", "s1"));
        for other in [
            "ready s2 http://127.0.0.1:3000",
            "ready s1",
            "ready s1 soon",
            "s1 http://a:1",
            "",
        ] {
            assert!(!is_readiness_line(other, "s1"), "{other}");
        }
    }

    #[tokio::test]
    async fn lines_are_read_whatever_they_hold() {
        let long = "x".repeat(usize::try_from(LINE_BYTES_MAX).unwrap() + 5);
        let text = [b"one\r\n\xff\n\n".as_slice(), long.as_bytes(), b"\nlast"].concat();
        let mut reader = BufReader::new(text.as_slice());
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).await {
            lines.push(line);
        }
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[..3], ["one", "\u{fffd}", ""]);
        assert_eq!(lines[3].len() + lines[4].len(), long.len());
        assert_eq!(lines[5], "last");
    }
}
