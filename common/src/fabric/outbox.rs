//! One-way messages that wait for their peers: a bounded queue and a task per peer, in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::faults::{Faults, Verdict};
use super::{
    Address, Bytes, Duration, OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX, Status, check_size, machine,
};

/// A one-way message, not to leave before `due`.
pub(super) struct Letter {
    pub due: Instant,
    pub method: &'static str,
    pub body: Bytes,
    /// Held for as long as the letter waits.
    _waiting: Waiting,
}

/// Counts the bytes that wait for one peer.
struct Waiting {
    bytes: usize,
    queue_bytes: Arc<AtomicUsize>,
}

impl Waiting {
    /// Nothing when the peer's queue is full.
    fn new(bytes: usize, queue_bytes: &Arc<AtomicUsize>) -> Option<Self> {
        let before = queue_bytes.fetch_add(bytes, Ordering::Relaxed);
        let waiting = Self {
            bytes,
            queue_bytes: Arc::clone(queue_bytes),
        };
        (before + bytes <= OUTBOX_BYTES_MAX).then_some(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.queue_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Carries the letters of one peer; runs for as long as the fabric lives. Loses those which become due while the link is
/// cut.
pub(super) trait Courier: Send + Sync + 'static {
    fn carry(&self, to: Address, letters: mpsc::Receiver<Letter>) -> super::BoxFuture<'static, ()>;

    /// What decides whether a link loses a message.
    fn chance(&self) -> u64 {
        machine::random()
    }
}

struct Queue {
    letters: mpsc::Sender<Letter>,
    bytes: Arc<AtomicUsize>,
}

pub(super) struct Outbox {
    courier: Box<dyn Courier>,
    faults: Arc<Faults>,
    peers: Mutex<BTreeMap<Address, Queue>>,
}

impl Outbox {
    pub fn new(courier: impl Courier, faults: Arc<Faults>) -> Arc<Self> {
        Arc::new(Self {
            courier: Box::new(courier),
            faults,
            peers: Mutex::default(),
        })
    }

    pub fn send(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        delay: Duration,
    ) -> Result<(), Status> {
        check_size(&body)?;
        let Verdict::Deliver { delay: more_delay } = self.faults.verdict(to, self.courier.chance())
        else {
            return Ok(());
        };
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = peers.entry(to.clone()).or_insert_with(|| {
            let (letters, receiver) = mpsc::channel(OUTBOX_MESSAGES_MAX);
            tokio::spawn(self.courier.carry(to.clone(), receiver));
            let bytes = Arc::default();
            Queue { letters, bytes }
        });
        let full = || {
            Status::overloaded(format!(
                "{OUTBOX_MESSAGES_MAX} messages or {OUTBOX_BYTES_MAX} bytes are waiting for {to}"
            ))
        };
        let letter = Letter {
            due: Instant::now() + delay + more_delay,
            method,
            _waiting: Waiting::new(body.len(), &queue.bytes).ok_or_else(full)?,
            body,
        };
        queue.letters.try_send(letter).map_err(|_| full())
    }
}
