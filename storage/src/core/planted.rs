//! Bugs planted on purpose, behind the feature `planted-bugs`: simulation and model check must catch each of them.
//! Without the feature none can be chosen, and every question whether one is planted is answered at compile time.

use std::fmt;
use std::str::FromStr;

use super::effect::Change;
use super::record::RecordChange;

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bug {
    /// A promise leaves before it is durable, and is forgotten in a crash.
    PromiseNotSynced,
    /// So does an accepted update.
    AcceptedNotSynced,
    /// The coordinator takes an update for decided when it alone holds it.
    AcknowledgedAfterOwnDisk,
    /// A commit of an old coordinator is taken in spite of a higher promise.
    CommitIgnoresPromise,
    /// A new coordinator drops the update that it finds accepted.
    TakeoverIgnoresPending,
    /// An update that was executed before is executed again.
    NoDeduplication,
    /// Half of the replicas decide.
    QuorumOfHalf,
    /// Reads show updates that are accepted but not decided.
    ReadsShowUndecided,
    /// The coordinator tests an update before it has heard what the others have.
    TestBeforeExchange,
    /// A restarted replica gives a version's number again.
    NumberReusedAfterRestart,
    /// An update makes the version (highest number + 1, coordinator) instead of the immediate successor.
    LiteralNumbering,
    /// Gossip is applied as it comes, whatever it builds on.
    GossipOutOfOrder,
    /// Votes of an earlier term under the same ballot count.
    StaleVotes,
    /// Updates of attempts whose place another one has taken are executed.
    FenceIgnored,
}

impl Bug {
    pub const ALL: [Self; 14] = [
        Self::PromiseNotSynced,
        Self::AcceptedNotSynced,
        Self::AcknowledgedAfterOwnDisk,
        Self::CommitIgnoresPromise,
        Self::TakeoverIgnoresPending,
        Self::NoDeduplication,
        Self::QuorumOfHalf,
        Self::ReadsShowUndecided,
        Self::TestBeforeExchange,
        Self::NumberReusedAfterRestart,
        Self::LiteralNumbering,
        Self::GossipOutOfOrder,
        Self::StaleVotes,
        Self::FenceIgnored,
    ];
}

impl fmt::Display for Bug {
    /// `QuorumOfHalf` as `quorum-of-half`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, c) in format!("{self:?}").char_indices() {
            if c.is_uppercase() && place > 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", c.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(|bug| bug.to_string()).join(", ");
        let known = Self::ALL.into_iter().find(|bug| bug.to_string() == text);
        known.ok_or_else(|| format!("`{text}` is no planted bug: expected one of {}", names()))
    }
}

/// The bug of one node, if any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

impl Planted {
    #[cfg(feature = "planted-bugs")]
    pub fn new(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn is(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// A change that leaves the node without being made durable.
    pub(crate) fn forgets(self, change: &Change) -> bool {
        let Change::Record { change, .. } = change else {
            return false;
        };
        match change {
            RecordChange::Promise(_) => self.is(Bug::PromiseNotSynced),
            RecordChange::Accept(_) => self.is(Bug::AcceptedNotSynced),
            _ => false,
        }
    }

    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self)]
    pub(crate) const fn is(self, _: Bug) -> bool {
        false
    }
}
