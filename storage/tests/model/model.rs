//! The stateright model: what may happen next in a state, and what it leads to.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use common::types::{CommitMode, ReplicaId, Ring, Version, Wanted};
use stateright::{Model, Property};
use storage::core::message::{Ask, EntryKind, LogRecord, Message, Outcome, Update};
use storage::core::{Input, Level, Output, Reply, Token};

use crate::cluster::{Letter, Node, RECORD, bytes, fingerprint, places, ring, update_id};
use crate::config::{Asking, Config, Fault};
use crate::history::{Answer, Broken, History};

/// Tokens: askings have their index; nobody waits for the others.
const LOOK: Token = 1_000;
const WRITE: Token = 1_001;

#[derive(Clone, Debug)]
pub struct State {
    /// By replica id less one. Whoever did not take part in a step is shared with the state before.
    pub nodes: Vec<Arc<Node>>,
    /// In no order that matters; equal letters are one.
    letters: Vec<Arc<Letter>>,
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

    fn living(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.iter().filter(|node| node.is_alive)
    }

    fn post(&mut self, letter: Letter) {
        let place = self
            .letters
            .binary_search_by_key(&letter.fingerprint, |other| other.fingerprint);
        if let Err(place) = place {
            self.letters.insert(place, Arc::new(letter));
        }
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
    Certify { dead: ReplicaId, at: ReplicaId },
    Return(ReplicaId),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub event: Event,
    /// The node crashes before this change becomes durable.
    pub torn_at: Option<usize>,
}

pub struct Cluster {
    pub config: Config,
    ring: Ring,
    places: Vec<ReplicaId>,
}

impl Cluster {
    pub fn new(config: Config) -> Self {
        let ring = ring(config.nodes, config.commit);
        let places = places(&ring);
        Self {
            config,
            ring,
            places,
        }
    }

    fn update(asking: &Asking) -> Update {
        let ask = match asking.swap {
            Some((old, new)) => Ask::IfValueIs {
                old: Some(bytes(old)),
                new: Some(bytes(new)),
            },
            None => Ask::Read,
        };
        Update {
            id: update_id(asking.id),
            record: RECORD.to_owned(),
            ask,
        }
    }

    /// True when these replicas, as the omniscient see them, decide for all.
    fn is_quorum(&self, state: &State, agrees: impl Fn(&Node) -> bool) -> bool {
        match self.config.commit {
            CommitMode::Majority => {
                let agreed = state.nodes.iter().filter(|node| agrees(node)).count();
                agreed > state.nodes.len() / 2
            }
            CommitMode::FailStop => {
                let mut voters = state.living().filter(|node| node.core.is_joined());
                voters.all(|node| agrees(node))
            }
        }
    }

    /// The newest version that a quorum holds: whoever asks now must see it.
    fn held(&self, state: &State) -> Version {
        let versions = state.history.made.keys().rev().copied();
        versions
            .into_iter()
            .find(|version| self.is_quorum(state, |node| node.record().has(*version)))
            .unwrap_or_default()
    }

    fn is_travelling(&self, message: &Message) -> bool {
        match message {
            Message::Gossip(partitions) => {
                let says_something = partitions.iter().any(|of| !of.entries.is_empty());
                let acknowledges = self.config.fault == Fault::Return;
                self.config.gossip && (says_something || acknowledges)
            }
            Message::Nack { .. } => self.config.nacks,
            Message::Heartbeat { .. } => false,
            _ => true,
        }
    }

    /// The input that an event is to the node where it happens.
    fn input(&self, state: &mut State, event: &Event) -> Option<(ReplicaId, Input)> {
        match event {
            Event::Ask(index, at) => {
                let update = Self::update(&self.config.askings[*index]);
                let held = self.held(state);
                let history = Arc::make_mut(&mut state.history);
                history.askings[*index] = false;
                history.ask(&update.id, held);
                let token = *index as Token;
                Some((*at, Input::UpdateIf { token, update }))
            }
            Event::Write(index, at) => {
                Arc::make_mut(&mut state.history).writings[*index] = false;
                let write = Input::Write {
                    token: WRITE,
                    id: update_id(WRITE + *index as u64),
                    record: RECORD.to_owned(),
                    value: Some(bytes(self.config.writings[*index].value)),
                    level: Level::One,
                    above: Version::NULL,
                };
                Some((*at, write))
            }
            Event::Deliver(to, fingerprint) => {
                let place = state
                    .letters
                    .binary_search_by_key(fingerprint, |letter| letter.fingerprint);
                let letter = state.letters.remove(place.ok()?);
                Some((*to, Input::Peer(Box::new(letter.envelope.clone()))))
            }
            Event::Certify { dead, at } => {
                let certificate = Input::CertifyDeath {
                    replica: *dead,
                    incarnation: state.node(*dead).incarnation(),
                };
                Some((*at, certificate))
            }
            Event::TimeOut(_) | Event::Crash(_) | Event::Return(_) => None,
        }
    }

    /// Lets the node where something happens take it, without doing yet what that demands.
    fn step(&self, state: &mut State, event: &Event) -> Option<(Node, Vec<Output>)> {
        if let Event::TimeOut(at) | Event::Return(at) = event {
            let mut node = Node::clone(state.node(*at));
            let outputs = if matches!(event, Event::Return(_)) {
                node.restart(&self.config)
            } else {
                Arc::make_mut(&mut state.history).timeouts -= 1;
                node.time_out()
            };
            return Some((node, outputs));
        }
        let (at, input) = self.input(state, event)?;
        let mut node = Node::clone(state.node(at));
        let outputs = node.step(input);
        Some((node, outputs))
    }

    /// How many changes a step makes durable.
    fn changes(&self, state: &State, event: &Event) -> usize {
        let step = self.step(&mut state.clone(), event);
        let outputs = step.map(|(_, outputs)| outputs).unwrap_or_default();
        outputs.iter().filter_map(Output::change).count()
    }

    fn happen(&self, state: &mut State, action: &Action) -> Option<()> {
        if let Event::Crash(at) = action.event {
            return self.crash(state, at);
        }
        let (mut node, outputs) = self.step(state, &action.event)?;
        let before = state.node(node.replica()).clone();
        self.perform(state, &mut node, outputs, action.torn_at);
        if action.torn_at.is_some() {
            Arc::make_mut(&mut state.history).crashes -= 1;
            self.start_anew(state, &mut node);
        }
        self.settle(state, &before, node);
        Some(())
    }

    /// Does what a step demands, in order and up to the change `torn_at`.
    fn perform(
        &self,
        state: &mut State,
        node: &mut Node,
        outputs: Vec<Output>,
        torn_at: Option<usize>,
    ) {
        let mut changes = 0;
        for output in outputs {
            match output {
                Output::Persist(_) if torn_at == Some(changes) => return,
                Output::Persist(change) => {
                    changes += 1;
                    let history = Arc::make_mut(&mut state.history);
                    history.note(node, &change, &self.config);
                    node.durable.apply(&change);
                }
                Output::Send { to, message } => {
                    if self.is_travelling(&message) && state.node(to).is_alive {
                        state.post(Letter::new(to, node.envelope(message)));
                    }
                }
                Output::Reply { token, reply } => self.reply(state, token, reply.ok()),
                Output::Halt(halt) => panic!("{}: {halt}", node.replica()),
            }
        }
    }

    /// A refusal tells nothing.
    fn reply(&self, state: &mut State, token: Token, reply: Option<Reply>) {
        let Some(asking) = self.config.askings.get(token as usize) else {
            return;
        };
        let answer = match reply {
            Some(Reply::Update(outcome)) => Answer::Update(outcome),
            Some(Reply::Read(found)) => Answer::Read(found),
            Some(Reply::Written(_)) | None => return,
        };
        let history = Arc::make_mut(&mut state.history);
        history.answer(&update_id(asking.id), answer);
    }

    fn crash(&self, state: &mut State, at: ReplicaId) -> Option<()> {
        Arc::make_mut(&mut state.history).crashes -= 1;
        let before = state.node(at).clone();
        let mut node = Node::clone(&before);
        match self.config.fault {
            Fault::Restart | Fault::Torn => self.start_anew(state, &mut node),
            Fault::Die | Fault::Return => {
                node.is_alive = false;
                state.letters.retain(|letter| letter.to != at);
            }
        }
        self.settle(state, &before, node);
        Some(())
    }

    fn start_anew(&self, state: &mut State, node: &mut Node) {
        let outputs = node.restart(&self.config);
        self.perform(state, node, outputs, None);
    }

    /// Puts a node in its place, and checks what it may not have done.
    fn settle(&self, state: &mut State, before: &Node, mut node: Node) {
        node.seal();
        let at = node.replica();
        state.nodes[at as usize - 1] = Arc::new(node);
        if self.config.is_sound() {
            let node = state.node(at).clone();
            state
                .letters
                .retain(|letter| letter.to != at || !letter.is_moot_at(&node));
        }
        let broken = self.broken(state, before, &state.node(at).clone());
        if broken.is_some() && state.history.broken.is_none() {
            Arc::make_mut(&mut state.history).broken = broken;
        }
    }

    fn broken(&self, state: &State, before: &Node, node: &Node) -> Option<Broken> {
        let history = &state.history;
        let mut visible = before.record().versions();
        if visible.any(|made| !node.record().has(made.version)) {
            return Some(Broken::Vanished);
        }
        let spread = node.durable.spread(0)?;
        let is_missing = |((origin, sequence), version): (&(ReplicaId, u64), &Version)| {
            spread.timestamp.get(*origin) >= *sequence && !node.record().has(*version)
        };
        if history.written.iter().any(is_missing) {
            return Some(Broken::Causality);
        }
        if self.shows_undecided(history, node) {
            return Some(Broken::Undecided);
        }
        self.config.inside.then(|| self.broken_inside(state, before, node))?
    }

    fn shows_undecided(&self, history: &History, node: &Node) -> bool {
        let look = Input::Read {
            token: LOOK,
            record: RECORD.to_owned(),
            wanted: Wanted::NEWEST,
            wait_ms: 0,
        };
        let mut outputs = Vec::new();
        node.core.clone().step(0, look, &mut outputs);
        outputs.iter().any(|output| {
            matches!(output, Output::Reply { reply: Ok(Reply::Read(found)), .. }
                if history.made.get(&found.version) != Some(&found.value))
        })
    }

    fn broken_inside(&self, state: &State, before: &Node, node: &Node) -> Option<Broken> {
        if node.promised() < before.promised() {
            return Some(Broken::Promise);
        }
        if node.core.durable().record(RECORD) != node.durable.record(RECORD) {
            return Some(Broken::Recovery);
        }
        let is_held = |record: &LogRecord| {
            self.is_quorum(state, |node| {
                let updates = node.updates();
                let accepted = updates.accepted.as_ref();
                updates.decided >= record.slot
                    || accepted.is_some_and(|accepted| accepted.proposal == *record)
            })
        };
        let history = &state.history;
        let is_answered = |record: &&LogRecord| history.answers.contains_key(&record.id);
        let mut answered = history.log.values().filter(is_answered);
        (!answered.all(is_held)).then_some(Broken::Durability)
    }

    fn events(&self, state: &State, events: &mut Vec<Event>) {
        let history = &state.history;
        let is_alive = |replica: &ReplicaId| state.node(*replica).is_alive;
        let at = |places: &[usize]| -> Vec<ReplicaId> {
            let replicas = places.iter().filter_map(|place| self.places.get(*place));
            replicas.copied().filter(is_alive).collect()
        };
        for (index, asking) in self.config.askings.iter().enumerate() {
            if history.askings[index] {
                events.extend(at(asking.at).into_iter().map(|at| Event::Ask(index, at)));
            }
        }
        for (index, writing) in self.config.writings.iter().enumerate() {
            if history.writings[index] {
                events.extend(at(writing.at).into_iter().map(|at| Event::Write(index, at)));
            }
        }
        let deliver = |letter: &Arc<Letter>| Event::Deliver(letter.to, letter.fingerprint);
        events.extend(state.letters.iter().map(deliver));
        for node in &state.nodes {
            let at = node.replica();
            if node.is_alive {
                let waits = node.core.undecided_count() > 0 || !node.core.is_joined();
                if history.timeouts > 0 && waits {
                    events.push(Event::TimeOut(at));
                }
                if history.crashes > 0 {
                    events.push(Event::Crash(at));
                }
            } else {
                let told = |other: &&Arc<Node>| !other.core.members().is_certified_dead(at);
                let others = state.living().filter(told);
                events.extend(others.map(|other| Event::Certify {
                    dead: at,
                    at: other.replica(),
                }));
                if self.config.fault == Fault::Return {
                    events.push(Event::Return(at));
                }
            }
        }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = |replica| Arc::new(Node::new(&self.config, &self.ring, replica));
        vec![State {
            nodes: (1..=self.config.nodes).map(node).collect(),
            letters: Vec::new(),
            history: Arc::new(History::new(&self.config)),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.history.broken.is_some() {
            return;
        }
        let mut events = Vec::new();
        self.events(state, &mut events);
        for event in events {
            let is_step = !matches!(event, Event::Crash(_) | Event::Return(_));
            if is_step && self.config.fault == Fault::Torn && state.history.crashes > 0 {
                actions.extend((0..self.changes(state, &event)).map(|change| Action {
                    event: event.clone(),
                    torn_at: Some(change),
                }));
            }
            actions.push(Action {
                event,
                torn_at: None,
            });
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.happen(&mut state, &action)?;
        // A letter that changed nothing might as well have been lost.
        let is_moot = matches!(action.event, Event::Deliver(..))
            && state.letters.len() < last.letters.len()
            && fingerprint(&state.nodes) == fingerprint(&last.nodes)
            && Arc::ptr_eq(&state.history, &last.history);
        (!is_moot).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SAFE, |_, state: &State| state.history.broken.is_none()),
            Property::sometimes(UPDATED, |_, state: &State| {
                let is_update = |answer: &Answer| {
                    matches!(answer, Answer::Update(Outcome::Updated { .. }))
                };
                state.history.answers.values().any(is_update)
            }),
            Property::sometimes(MISMATCH, |_, state: &State| {
                let is_mismatch = |answer: &Answer| {
                    matches!(answer, Answer::Update(Outcome::Mismatch { .. }))
                };
                state.history.answers.values().any(is_mismatch)
            }),
            Property::sometimes(READ, |_, state: &State| {
                let is_read = |answer: &Answer| matches!(answer, Answer::Read(_));
                state.history.answers.values().any(is_read)
            }),
            Property::sometimes(TAKEN_OVER, |_, state: &State| is_taken_over(state)),
        ]
    }
}

pub const SAFE: &str = "the invariants hold";
pub const UPDATED: &str = "an update succeeds";
pub const MISMATCH: &str = "an update fails";
pub const READ: &str = "a read is answered";
pub const TAKEN_OVER: &str = "what one coordinator has begun another finishes";

/// Somebody decided what somebody else has accepted under another coordinator's ballot.
fn is_taken_over(state: &State) -> bool {
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
