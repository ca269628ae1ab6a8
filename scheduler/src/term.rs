//! A term: the time during which one scheduler leads.

use tokio::sync::watch;

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct Term {
    /// From 1; no two are alike.
    pub number: u32,
    /// As which attempt the storage takes its updates.
    pub ballot: u32,
    /// Of the scheduler that leads.
    pub incarnation: u64,
    /// Names the scheduler that counts the runs, over all its lives and successors.
    pub lineage: u64,
    over: watch::Sender<Option<u32>>,
}

impl Term {
    pub fn new(number: u32, ballot: u32, incarnation: u64, lineage: u64) -> Self {
        Self {
            number,
            ballot,
            incarnation,
            lineage,
            over: watch::Sender::new(None),
        }
    }

    /// Another scheduler leads, or is about to, with this ballot or a higher one.
    pub fn end(&self, ballot: u32) {
        self.over.send_replace(Some(ballot));
    }

    /// Returns when it has ended: the highest ballot that is known.
    pub async fn is_over(&self) -> u32 {
        let mut over = self.over.subscribe();
        let ballot = over.wait_for(Option::is_some).await.ok();
        // The sender lives as long as this.
        ballot.and_then(|ballot| *ballot).unwrap_or(self.ballot)
    }
}
