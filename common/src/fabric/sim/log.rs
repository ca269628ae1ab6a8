//! What has happened in a simulation: one event a line, and a hash of them all.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::fabric::Address;
use crate::fabric::local::{Leg, Passage};

/// Writes events, or only hashes them.
#[derive(Default)]
pub struct EventLog {
    writer: Option<BufWriter<Box<dyn Write + Send>>>,
    failed: Option<io::Error>,
    hash: Xxh3,
}

impl EventLog {
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self {
            writer: Some(BufWriter::new(Box::new(writer))),
            ..Self::default()
        }
    }

    pub(super) fn note(&mut self, now_ms: u64, event: impl FnOnce() -> String) {
        let line = format!("{now_ms} {}\n", event());
        self.hash.update(line.as_bytes());
        if let (Some(writer), None) = (&mut self.writer, &self.failed) {
            self.failed = writer.write_all(line.as_bytes()).err();
        }
    }

    pub(super) fn end(&mut self) -> io::Result<u64> {
        let flushed = self.writer.as_mut().map_or(Ok(()), Write::flush);
        match self.failed.take() {
            Some(error) => Err(error),
            None => flushed.map(|()| self.hash.digest()),
        }
    }
}

/// `s1 > http://… Peer 123 b 0f3a…, 7 ms`.
pub(super) fn crossing(from: &str, to: &Address, leg: Leg<'_>, passage: &Passage) -> String {
    let (arrow, method, body) = match leg {
        Leg::Request(method, body) => ("?", method, Some(body)),
        Leg::Answer(method, body) => ("!", method, body),
        Leg::Message(method, body) => (">", method, Some(body)),
    };
    let mut line = format!("{from} {arrow} {} {method}", to.authority());
    // Writing to a string does not fail.
    let _ = match body {
        Some(body) => write!(line, " {} {:016x}", body.len(), xxh3_64(body)),
        None => write!(line, " refused"),
    };
    let _ = write!(line, " {} ms", passage.latency.as_millis());
    if passage.is_lost {
        line.push_str(" lost");
    }
    for later in &passage.strays {
        let kind = if passage.is_overtaken {
            "overtaken"
        } else {
            "twice"
        };
        let _ = write!(line, " {kind} {} ms", later.as_millis());
    }
    line
}
