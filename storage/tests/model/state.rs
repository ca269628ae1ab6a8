//! A state of the model, and what may happen in it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use common::types::{CommitMode, ReplicaId, Ring, Version};
use storage::core::message::EntryKind;

use crate::cluster::{Letter, Node, fingerprint};
use crate::config::Config;
use crate::history::History;

#[derive(Clone, Debug)]
pub struct State {
    /// By replica id less one. Whoever did not take part in a step is shared with the state before.
    pub nodes: Vec<Arc<Node>>,
    /// In no order that matters; equal letters are one.
    pub letters: Vec<Arc<Letter>>,
    pub history: Arc<History>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.nodes.hash(hasher);
        self.fingerprints().for_each(|of| of.hash(hasher));
        self.history.hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        fingerprint(self) == fingerprint(other)
    }
}

impl State {
    pub fn first(config: &Config, ring: &Ring) -> Self {
        let node = |replica| Arc::new(Node::new(config, ring, replica));
        Self {
            nodes: (1..=config.nodes).map(node).collect(),
            letters: Vec::new(),
            history: Arc::new(History::new(config)),
        }
    }

    pub fn history_mut(&mut self) -> &mut History {
        Arc::make_mut(&mut self.history)
    }

    fn fingerprints(&self) -> impl Iterator<Item = u64> {
        self.letters.iter().map(|letter| letter.fingerprint)
    }

    pub fn node(&self, replica: ReplicaId) -> &Arc<Node> {
        &self.nodes[replica as usize - 1]
    }

    pub fn letter(&self, fingerprint: u64) -> Option<&Arc<Letter>> {
        let is_it = |letter: &&Arc<Letter>| letter.fingerprint == fingerprint;
        self.letters.iter().find(is_it)
    }

    pub fn living(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.iter().filter(|node| node.is_alive)
    }

    pub fn post(&mut self, letter: Letter) {
        let place = self
            .letters
            .binary_search_by_key(&letter.fingerprint, |other| other.fingerprint);
        if let Err(place) = place {
            self.letters.insert(place, Arc::new(letter));
        }
    }

    /// Takes a letter off its way.
    pub fn take(&mut self, fingerprint: u64) -> Option<Arc<Letter>> {
        let place = self
            .letters
            .binary_search_by_key(&fingerprint, |letter| letter.fingerprint);
        Some(self.letters.remove(place.ok()?))
    }

    /// True when these nodes, as the omniscient see them, decide for all.
    pub fn is_quorum(&self, commit: CommitMode, agrees: impl Fn(&Node) -> bool) -> bool {
        match commit {
            CommitMode::Majority => {
                let votes = self.nodes.iter().filter(|node| agrees(node));
                votes.count() > self.nodes.len() / 2
            }
            CommitMode::FailStop => {
                let mut voters = self.living().filter(|node| node.core.is_joined());
                voters.all(|node| agrees(node))
            }
        }
    }

    /// The newest version that a quorum holds: whoever asks now must see it.
    pub fn held(&self, commit: CommitMode) -> Version {
        let is_held =
            |version: &&Version| self.is_quorum(commit, |node| node.record().has(**version));
        let held = self.history.made.keys().rev().find(is_held);
        held.copied().unwrap_or_default()
    }
}

/// What happens next. Loss is a letter that is never delivered.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Ask(usize, ReplicaId),
    Write(usize, ReplicaId),
    Deliver(ReplicaId, u64),
    TimeOut(ReplicaId),
    Crash(ReplicaId),
    /// A disk that took its time is done.
    Sync(ReplicaId),
    /// A node hears that this life of another has ended, perhaps long after the next one began.
    Certify {
        dead: ReplicaId,
        life: u64,
        at: ReplicaId,
    },
    Return(ReplicaId),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub event: Event,
    /// The node crashes before this change becomes durable.
    pub torn_at: Option<usize>,
    /// From now on the node's disk takes its time.
    pub lags: bool,
}

impl Event {
    /// The node that takes a step of its own.
    pub fn place(&self) -> Option<ReplicaId> {
        match self {
            Self::Ask(_, at)
            | Self::Write(_, at)
            | Self::Deliver(at, _)
            | Self::TimeOut(at)
            | Self::Certify { at, .. } => Some(*at),
            Self::Crash(_) | Self::Sync(_) | Self::Return(_) => None,
        }
    }
}

impl From<Event> for Action {
    fn from(event: Event) -> Self {
        Self {
            event,
            torn_at: None,
            lags: false,
        }
    }
}

/// Somebody decided what somebody else has accepted under another coordinator's ballot.
pub fn is_taken_over(state: &State) -> bool {
    let accepted = state
        .nodes
        .iter()
        .filter_map(|node| node.updates().accepted.as_ref());
    accepted.into_iter().any(|accepted| {
        state.nodes.iter().any(|node| {
            let log = node.durable.spread(0).map(|spread| spread.log().iter());
            log.into_iter().flatten().any(|entry| {
                entry.origin != accepted.ballot.replica
                    && entry.what == EntryKind::Decided(accepted.proposal.clone())
            })
        })
    })
}
