//! A term: the time during which one scheduler leads.

use std::sync::Arc;

use tokio::sync::Notify;

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct Term {
    /// From 1; no two are alike.
    pub number: u32,
    /// As which attempt the storage takes its updates.
    pub ballot: u32,
    /// Names the scheduler that counts the runs, over all its lives and successors.
    pub lineage: u64,
    over: Arc<Notify>,
}

impl Term {
    pub fn new(number: u32, ballot: u32, lineage: u64) -> Self {
        Self {
            number,
            ballot,
            lineage,
            over: Arc::default(),
        }
    }

    /// Another scheduler leads, or is about to.
    pub fn end(&self) {
        self.over.notify_one();
    }

    /// Returns when it has ended.
    pub async fn is_over(&self) {
        self.over.notified().await;
    }
}
