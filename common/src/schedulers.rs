//! Finds the scheduler that leads among those that are known.
//!
//! One that stands by, or is not there, answers [`Kind::Unavailable`]: nothing has happened, and the next one is asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fabric::{Address, Duration, FabricHandle};
use crate::proto::scheduler::Client;
use crate::status::{Kind, Status};

/// Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Schedulers {
    fabric: FabricHandle,
    /// The first one is thought to lead.
    known: Arc<Mutex<Vec<Address>>>,
}

impl Schedulers {
    /// Schedulers that are known at once.
    pub const KNOWN_MAX: usize = 16;

    pub fn new(fabric: FabricHandle, known: Vec<Address>) -> Self {
        Self {
            fabric,
            known: Arc::new(Mutex::new(known)),
        }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Address>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that is thought to lead.
    pub fn leader(&self) -> Option<Address> {
        self.known().first().cloned()
    }

    /// This one leads.
    pub fn leads(&self, leader: Address) {
        let mut known = self.known();
        known.retain(|other| *other != leader);
        known.insert(0, leader);
        known.truncate(Self::KNOWN_MAX);
    }

    /// This one does not lead, as it seems: the others are asked first.
    fn does_not_lead(&self, other: &Address) {
        let mut known = self.known();
        if known.first() == Some(other) {
            known.rotate_left(1);
        }
    }

    /// The answer of the one that leads; `call` is made for each that is known, in turn, as long as nothing happens.
    ///
    /// # Errors
    /// Of the one that leads, or of the last one.
    pub async fn ask<A, F: Future<Output = Result<A, Status>>>(
        &self,
        timeout: Duration,
        call: impl Fn(Client) -> F,
    ) -> Result<A, Status> {
        let mut asked = Vec::new();
        let mut last = Status::unavailable("no scheduler is known");
        while let Some(leader) = self.leader().filter(|leader| !asked.contains(leader)) {
            let client = Client::new(self.fabric.clone(), leader.clone(), timeout);
            let answer = call(client).await;
            let kind = answer.as_ref().err().map(|status| status.kind);
            if matches!(kind, Some(Kind::Unavailable | Kind::Timeout)) {
                self.does_not_lead(&leader);
            }
            match answer {
                Err(status) if status.kind == Kind::Unavailable => last = status,
                answer => return answer,
            }
            asked.push(leader);
        }
        Err(last)
    }
}
