//! Whether this scheduler leads, as everything in it wants to know before it answers.

use common::fabric::{Duration, Fabric, timeout};
use common::status::Status;
use tokio::sync::watch;

/// Where a scheduler stands among those of its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody is known to lead; what keeps this one from it.
    Starting(String),
    /// Another one leads.
    Behind(Leader),
    Leading(Leading),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub name: String,
    pub url: String,
    /// Its gateway, if it has one.
    pub http: Option<String>,
}

/// It has read the runs that were kept, and the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leading {
    pub term: u32,
    pub ballot: u32,
    /// Names the scheduler that counts the runs, over all its lives and successors.
    pub lineage: u64,
    /// It has renewed its lease in time: nobody else can be expected to lead.
    pub is_sure: bool,
}

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct StandingWatch(watch::Sender<Standing>);

impl Default for StandingWatch {
    fn default() -> Self {
        let trouble = "no storage nodes are known".to_owned();
        Self(watch::Sender::new(Standing::Starting(trouble)))
    }
}

impl StandingWatch {
    pub fn set(&self, standing: Standing) {
        self.0.send_replace(standing);
    }

    /// Why it does not lead yet; who stands by, or leads, goes on doing so.
    pub fn note(&self, trouble: &Status) {
        self.0.send_if_modified(|standing| {
            let Standing::Starting(known) = standing else {
                return false;
            };
            known.clone_from(&trouble.message);
            true
        });
    }

    pub fn now(&self) -> Standing {
        self.0.borrow().clone()
    }

    /// Who leads, when this one stands by.
    pub fn other(&self) -> Option<Leader> {
        match self.now() {
            Standing::Behind(leader) => Some(leader),
            Standing::Starting(_) | Standing::Leading(_) => None,
        }
    }

    /// # Errors
    /// It does not lead: nothing has happened, and another one may.
    pub fn leading(&self) -> Result<Leading, Status> {
        match self.now() {
            Standing::Leading(leading) => Ok(leading),
            Standing::Starting(trouble) => Err(Status::unavailable(format!(
                "this scheduler has not read the runs and the catalog of deployed operators yet: {trouble}"
            ))),
            Standing::Behind(leader) => Err(Status::unavailable(format!(
                "this scheduler stands by: {leader} leads"
            ))),
        }
    }

    /// It leads, for all that it knows.
    pub fn is_sure(&self) -> bool {
        self.leading().is_ok_and(|leading| leading.is_sure)
    }

    /// Returns when it leads; an error when another one does, or this one does not within the time.
    pub async fn leads(&self, fabric: &dyn Fabric, patience: Duration) -> Result<Leading, Status> {
        let mut standing = self.0.subscribe();
        let decided = standing.wait_for(|standing| !matches!(standing, Standing::Starting(_)));
        // However this ends, what is known now counts.
        drop(timeout(fabric, patience, decided).await);
        self.leading()
    }
}

impl std::fmt::Display for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, url, http } = self;
        write!(f, "{name} at {url}")?;
        match http {
            Some(http) => write!(f, " (HTTP: {http})"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starting(trouble) => write!(f, "starting: {trouble}"),
            Self::Behind(leader) => write!(f, "stands by, {leader} leads"),
            Self::Leading(Leading { term, is_sure, .. }) => {
                let doubt = if *is_sure {
                    ""
                } else {
                    ", its lease is not renewed"
                };
                write!(f, "leads, term {term}{doubt}")
            }
        }
    }
}
