//! One-way messages that wait for their peers: a bounded queue and a task per peer, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Address, Bytes, Duration, OUTBOX_MESSAGES_MAX, Status, check_size};

/// A one-way message, not to leave before `due`.
pub(super) struct Letter {
    pub due: Instant,
    pub method: &'static str,
    pub body: Bytes,
}

/// Carries the letters of one peer; runs for as long as the fabric lives.
pub(super) trait Courier: Send + Sync + 'static {
    fn carry(&self, to: Address, letters: mpsc::Receiver<Letter>) -> super::BoxFuture<'static, ()>;
}

pub(super) struct Outbox {
    courier: Box<dyn Courier>,
    peers: Mutex<BTreeMap<Address, mpsc::Sender<Letter>>>,
}

impl Outbox {
    pub fn new(courier: impl Courier) -> Arc<Self> {
        Arc::new(Self {
            courier: Box::new(courier),
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
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = peers.entry(to.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(OUTBOX_MESSAGES_MAX);
            tokio::spawn(self.courier.carry(to.clone(), receiver));
            sender
        });
        sender
            .try_send(Letter {
                due: Instant::now() + delay,
                method,
                body,
            })
            .map_err(|_| {
                Status::overloaded(format!(
                    "{OUTBOX_MESSAGES_MAX} messages are waiting for {to}"
                ))
            })
    }
}
