//! What has happened, as far as the invariants of STORAGE.md §8 ask for it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::types::{RecordVersion, ReplicaId, UpdateId, Version};
use storage::core::message::{Decision, Entry, EntryKind, LogRecord, Outcome};
use storage::core::record::RecordChange;
use storage::core::{Change, client};

use crate::cluster::{FIRST, Node, bytes};
use crate::config::Config;

/// The promises that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Broken {
    /// I1: two updates decided for one slot.
    Agreement,
    /// I2: two successful updates of one tested version.
    OneSuccessor,
    /// I3: the predecessor of a successful update, among all versions ever made, is not the version it tested.
    Adjacency,
    /// I4: an acknowledged outcome is not decided, or no quorum holds it any more.
    Durability,
    /// I5: an update id decided or answered in two ways.
    ExactlyOnce,
    /// I6, I9: what was answered, or held by a quorum, before the question was not seen.
    RealTime,
    /// I7: what was readable is not readable any more.
    Vanished,
    /// I8: a version with two values.
    OneValue,
    /// I10: a promise went back.
    Promise,
    /// I11: a restart would not find what the node acts upon.
    Recovery,
    /// I12: a plain write whose version is not above all that its replica knew.
    Above,
    /// §4.6: a read showed what was neither written plainly nor decided.
    Undecided,
    /// §5: a replica says that it has applied a write which it does not hold.
    Causality,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    Update(Outcome),
    Read(RecordVersion),
}

impl Answer {
    /// The version that whoever asks later must see.
    fn shown(&self) -> Version {
        match self {
            Self::Update(outcome) => tested_and_left(outcome).1,
            Self::Read(found) => found.version,
        }
    }
}

/// The version that an update was tested against, and the one that was newest after it.
pub fn tested_and_left(outcome: &Outcome) -> (Version, Version) {
    match outcome {
        Outcome::Updated { base, made } => (*base, made.version),
        Outcome::Mismatch { found } => (found.version, found.version),
    }
}

#[derive(Debug, Clone, Hash)]
pub struct History {
    /// Askings and writings that are still to come, by index.
    pub askings: Vec<bool>,
    pub writings: Vec<bool>,
    pub timeouts: u8,
    pub crashes: u8,
    pub lags: u8,
    /// The lives whose end somebody has heard of: whose, which, and who.
    pub certified: BTreeSet<(ReplicaId, u64, ReplicaId)>,
    /// By update id: what it must see.
    floors: BTreeMap<UpdateId, Version>,
    pub answers: BTreeMap<UpdateId, Answer>,
    /// By slot, and what they hold in order.
    pub log: BTreeMap<u64, LogRecord>,
    decisions: Vec<Decision>,
    /// Every version ever made visible by a change that was made durable.
    pub made: BTreeMap<Version, Option<Bytes>>,
    /// By origin and number in its gossip.
    pub written: BTreeMap<(ReplicaId, u64), Version>,
    pub broken: Option<Broken>,
}

impl History {
    pub fn new(config: &Config) -> Self {
        Self {
            askings: vec![true; config.askings.len()],
            writings: vec![true; config.writings.len()],
            timeouts: config.timeouts,
            crashes: config.crashes,
            lags: config.lags,
            certified: BTreeSet::new(),
            floors: BTreeMap::new(),
            answers: BTreeMap::new(),
            log: BTreeMap::new(),
            decisions: Vec::new(),
            made: [(FIRST, Some(bytes("a")))].into(),
            written: BTreeMap::new(),
            broken: None,
        }
    }

    /// The first is kept.
    pub fn require(&mut self, is_kept: bool, otherwise: Broken) {
        if !is_kept && self.broken.is_none() {
            self.broken = Some(otherwise);
        }
    }

    /// A client asks, for the first time or again: `held` is the newest version that a quorum has.
    pub fn ask(&mut self, id: &UpdateId, held: Version) {
        let shown = self.answers.values().map(Answer::shown).max();
        let floor = shown.map_or(held, |shown| shown.max(held));
        self.floors.entry(id.clone()).or_insert(floor);
    }

    pub fn answer(&mut self, id: &UpdateId, answer: Answer) {
        match &answer {
            // That may be before any node knows it durably: `invariants` look whether a quorum has accepted it.
            Answer::Update(outcome) => {
                let mut decided = self.decisions.iter().filter(|of| of.id == *id);
                let is_alike = decided.all(|of| of.outcome == *outcome);
                self.require(is_alike, Broken::Durability);
            }
            Answer::Read(found) => {
                let is_made = self.made.get(&found.version) == Some(&found.value);
                self.require(is_made, Broken::Undecided);
                let sees = found.version >= self.floors[id];
                self.require(sees, Broken::RealTime);
            }
        }
        // A read that is asked again reads again.
        if let Some(Answer::Update(known)) = self.answers.get(id) {
            let is_alike = matches!(&answer, Answer::Update(outcome) if outcome == known);
            self.require(is_alike, Broken::ExactlyOnce);
        }
        self.answers.insert(id.clone(), answer);
    }

    /// A node makes a change durable.
    pub fn note(&mut self, node: &Node, change: &Change, config: &Config) {
        for (_, made) in client::visible(change) {
            let known = self.made.entry(made.version);
            let is_alike = *known.or_insert_with(|| made.value.clone()) == made.value;
            self.require(is_alike, Broken::OneValue);
        }
        match change {
            Change::Record {
                change: RecordChange::Decide(decided),
                ..
            }
            | Change::Entry {
                entry:
                    Entry {
                        what: EntryKind::Decided(decided),
                        ..
                    },
                ..
            } => self.decide(decided, config),
            Change::Entry {
                entry:
                    Entry {
                        origin,
                        sequence,
                        what: EntryKind::Write { made, .. },
                        ..
                    },
                ..
            } if *origin == node.replica() => {
                let known = node.record();
                let is_above = made.version.number > known.highest_number
                    && made.version > known.newest().version;
                self.require(is_above, Broken::Above);
                self.written.insert((*origin, *sequence), made.version);
            }
            _ => {}
        }
        self.check_adjacency(config);
    }

    fn decide(&mut self, decided: &LogRecord, config: &Config) {
        if let Some(known) = self.log.get(&decided.slot) {
            let is_alike = known == decided;
            return self.require(is_alike, Broken::Agreement);
        }
        self.log.insert(decided.slot, decided.clone());
        for decision in &decided.decisions {
            self.execute(decision, config);
            self.decisions.push(decision.clone());
        }
    }

    fn execute(&mut self, decided: &Decision, config: &Config) {
        let (tested, _) = tested_and_left(&decided.outcome);
        let is_new = self.decisions.iter().all(|of| of.id != decided.id);
        self.require(is_new, Broken::ExactlyOnce);
        if let Some(Answer::Update(answered)) = self.answers.get(&decided.id) {
            let is_alike = decided.outcome == *answered;
            self.require(is_alike, Broken::Durability);
        }
        let before = self.decisions.last();
        let left = before.map_or(FIRST, |of| tested_and_left(&of.outcome).1);
        // Nothing is decided that nobody has asked for.
        let sees = self.floors[&decided.id] <= tested && left <= tested;
        self.require(sees, Broken::RealTime);
        if let Outcome::Updated { base, .. } = &decided.outcome {
            let has_same_base = |of: &Decision| matches!(&of.outcome, Outcome::Updated { base: other, .. } if other == base);
            let is_first = !self.decisions.iter().any(has_same_base);
            self.require(is_first, Broken::OneSuccessor);
        }
        if let Outcome::Mismatch { found } = &decided.outcome {
            let is_made = self.made.get(&found.version) == Some(&found.value);
            let old = old_of(config, &decided.id);
            self.require(is_made && found.value != old, Broken::Adjacency);
        }
    }

    /// Also after a plain write: it must not get in between.
    fn check_adjacency(&mut self, config: &Config) {
        let is_adjacent = |of: &Decision| {
            let Outcome::Updated { base, made } = &of.outcome else {
                return true;
            };
            let before = self.made.range(..made.version).next_back();
            before == Some((base, &old_of(config, &of.id)))
        };
        let are_adjacent = self.decisions.iter().all(is_adjacent);
        self.require(are_adjacent, Broken::Adjacency);
    }
}

fn old_of(config: &Config, id: &UpdateId) -> Option<Bytes> {
    let of = |asking: &&crate::config::Asking| asking.id == id.sequence;
    let asking = config.askings.iter().find(of)?;
    asking.swap.map(|(old, _)| bytes(old))
}
