//! Prints the lines of all nodes, each with its node's name, from one thread.
//!
//! Promise: a terminal that is not read never holds up a node; lines that cannot be printed are counted, and the
//! number is printed when the terminal is read again.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::fabric::{FabricHandle, timeout};
use owo_colors::{AnsiColors, OwoColorize};
use tokio::sync::{mpsc, oneshot};

/// Most lines that wait to be printed.
const LINES_MAX: usize = 4096;
/// How long a line waits for room in that queue before it is lost.
const PRINT_WAIT: Duration = Duration::from_millis(200);
/// How long the last lines may take at the end.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

const COLOURS: [AnsiColors; 6] = [
    AnsiColors::Cyan,
    AnsiColors::Green,
    AnsiColors::Magenta,
    AnsiColors::Yellow,
    AnsiColors::Blue,
    AnsiColors::BrightRed,
];

/// Where the nodes' lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayTo {
    /// Standard output to standard output, standard error to standard error.
    SameStreams,
    /// Everything to standard error, because standard output belongs to someone else.
    StandardError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Output,
    Error,
}

struct Line {
    stream: Stream,
    text: String,
}

/// The end of the printer that children's tasks hold. Cheap to clone.
#[derive(Clone)]
pub struct Lines {
    fabric: FabricHandle,
    relay: RelayTo,
    waiting: mpsc::Sender<Line>,
    lost: Arc<AtomicU64>,
}

pub struct Printer {
    lines: Lines,
    finished: oneshot::Receiver<()>,
}

impl Printer {
    pub fn new(fabric: &FabricHandle, relay: RelayTo) -> std::io::Result<Self> {
        let (waiting, lines) = mpsc::channel(LINES_MAX);
        let (finish, finished) = oneshot::channel();
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("printer".to_owned())
            .spawn(move || {
                print_all(lines, &counter);
                let _ = finish.send(());
            })?;
        let lines = Lines {
            fabric: fabric.clone(),
            relay,
            waiting,
            lost,
        };
        Ok(Self { lines, finished })
    }

    pub fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// Waits until everything is printed, for a moment; all children's tasks have ended before.
    pub async fn close(self) {
        let fabric = self.lines.fabric.clone();
        drop(self.lines);
        let _ = timeout(&*fabric, FLUSH_WAIT, self.finished).await;
    }
}

impl Lines {
    /// Whether nodes' readiness lines are printed too: beside a script's results, the puppetmaster tells already.
    pub fn tell_readiness(&self) -> bool {
        self.relay == RelayTo::SameStreams
    }

    pub async fn print(&self, stream: Stream, node: &str, line: &str) {
        let stream = match self.relay {
            RelayTo::SameStreams => stream,
            RelayTo::StandardError => Stream::Error,
        };
        let text = format!("{} {line}\n", prefix(node, stream));
        // Until the terminal is read again, one line has waited for all.
        let patience = match self.lost.load(Ordering::Relaxed) {
            0 => PRINT_WAIT,
            _ => Duration::ZERO,
        };
        let room = timeout(&*self.fabric, patience, self.waiting.reserve()).await;
        match room {
            Some(Ok(room)) => room.send(Line { stream, text }),
            _ => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn print_all(mut lines: mpsc::Receiver<Line>, lost: &AtomicU64) {
    while let Some(line) = lines.blocking_recv() {
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            write(
                Stream::Error,
                &format!("pcs | {lost} lines of nodes were lost here\n"),
            );
        }
        write(line.stream, &line.text);
    }
}

/// A stream that nobody reads any more is not an error: the nodes go on.
fn write(stream: Stream, text: &str) {
    let _ = match stream {
        Stream::Output => {
            let mut output = std::io::stdout().lock();
            output
                .write_all(text.as_bytes())
                .and_then(|()| output.flush())
        }
        Stream::Error => std::io::stderr().lock().write_all(text.as_bytes()),
    };
}

/// `NAME |`, in the node's colour on a terminal.
fn prefix(node: &str, stream: Stream) -> String {
    let plain = format!("{node} |");
    let is_terminal = match stream {
        Stream::Output => std::io::stdout().is_terminal(),
        Stream::Error => std::io::stderr().is_terminal(),
    };
    if !is_terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return plain;
    }
    let sum = node.bytes().fold(0_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let colour = COLOURS
        .get(sum % COLOURS.len())
        .copied()
        .unwrap_or(AnsiColors::Default);
    plain.color(colour).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_says_much_to_a_terminal_that_is_not_read_is_held_up_once() {
        let (waiting, _unread) = mpsc::channel(1);
        let lines = Lines {
            fabric: Arc::new(common::fabric::LocalFabric::default()),
            relay: RelayTo::SameStreams,
            waiting,
            lost: Arc::default(),
        };
        let started = std::time::Instant::now();
        for _ in 0..20 {
            lines.print(Stream::Error, "w1", "busy").await;
        }
        assert!(started.elapsed() < 10 * PRINT_WAIT);
        assert_eq!(lines.lost.load(Ordering::Relaxed), 19);
    }
}
