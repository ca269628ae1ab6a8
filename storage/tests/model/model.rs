//! The stateright model: what may happen next in a state, and what it leads to.

use std::sync::Arc;

use common::types::{ReplicaId, Ring, Version};
use stateright::{Model, Property};
use storage::core::message::{Ask, Message, Outcome, Update};
use storage::core::{Input, Level, Output, Reply, Token};

use crate::cluster::{Lag, Letter, Node, RECORD, bytes, fingerprint, places, ring, update_id};
use crate::config::{Asking, Config, Fault, Place};
use crate::history::Answer;
use crate::invariants::broken;
use crate::state::{Action, Event, State, is_taken_over};

/// Askings have their index for a token; nobody waits for a plain write.
const WRITE: Token = 1_000;

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
            task: None,
        }
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
                let held = state.held(self.config.commit);
                let history = state.history_mut();
                history.askings[*index] = false;
                history.ask(&update.id, held);
                let token = Token::try_from(*index).ok()?;
                Some((*at, Input::UpdateIf { token, update }))
            }
            Event::Write(index, at) => {
                state.history_mut().writings[*index] = false;
                let write = Input::Write {
                    token: WRITE,
                    id: update_id(WRITE + *index as u64),
                    record: RECORD.to_owned(),
                    value: Some(bytes(self.config.writings[*index].value)),
                    level: Level::One,
                    above: Version::NULL,
                    task: None,
                };
                Some((*at, write))
            }
            Event::Deliver(to, fingerprint) => {
                let letter = state.take(*fingerprint)?;
                Some((*to, Input::Peer(Box::new(letter.envelope.clone()))))
            }
            Event::Certify { dead, life, at } => {
                state.history_mut().certified.insert((*dead, *life, *at));
                let certificate = Input::CertifyDeath {
                    token: None,
                    replica: *dead,
                    incarnation: *life,
                };
                Some((*at, certificate))
            }
            Event::TimeOut(_) | Event::Crash(_) | Event::Return(_) | Event::Sync(_) => None,
        }
    }

    /// Lets the node where something happens take it, without doing yet what that demands.
    fn step(&self, state: &mut State, event: &Event) -> Option<(Node, Vec<Output>)> {
        if let Event::TimeOut(at) | Event::Return(at) = event {
            let mut node = Node::clone(state.node(*at));
            let outputs = if matches!(event, Event::Return(_)) {
                node.restart(&self.config)
            } else {
                state.history_mut().timeouts -= 1;
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
            self.crash(state, at);
            return Some(());
        }
        if let Event::Sync(at) = action.event {
            self.sync(state, at);
            return Some(());
        }
        let (mut node, outputs) = self.step(state, &action.event)?;
        let before = state.node(node.replica()).clone();
        if action.lags {
            if !outputs.iter().any(|output| output.change().is_some()) {
                return None;
            }
            state.history_mut().lags -= 1;
            node.lag = Some(Lag::default());
        }
        self.perform(state, &mut node, outputs, action.torn_at);
        if action.torn_at.is_some() {
            state.history_mut().crashes -= 1;
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
            let output = match (&mut node.lag, output) {
                (None, output) => output,
                (Some(lag), Output::Persist(change)) => {
                    lag.hold.order(&change);
                    lag.changes.push(change);
                    continue;
                }
                (Some(lag), output) => match lag.hold.pass(output) {
                    Some(output) => output,
                    None => continue,
                },
            };
            match output {
                Output::Persist(_) if torn_at == Some(changes) => return,
                Output::Persist(change) => {
                    changes += 1;
                    let history = state.history_mut();
                    history.note(node, &change, &self.config);
                    node.durable.apply(&change);
                }
                Output::Send { to, message } => {
                    if self.is_travelling(&message) && state.node(to).is_alive {
                        state.post(Letter::new(to, node.envelope(message)));
                    }
                }
                Output::Reply { token, reply, .. } => self.reply(state, token, reply.ok()),
                Output::Halt(halt) => panic!("{}: {halt}", node.replica()),
            }
        }
    }

    /// What a disk that took its time has not done before is done now.
    fn sync(&self, state: &mut State, at: ReplicaId) {
        let before = state.node(at).clone();
        let mut node = Node::clone(&before);
        let Some(Lag { mut hold, changes }) = node.lag.take() else {
            return;
        };
        let released = hold.release(changes.len());
        let outputs = changes.into_iter().map(Output::Persist).chain(released);
        self.perform(state, &mut node, outputs.collect(), None);
        self.settle(state, &before, node);
    }

    /// A refusal tells nothing.
    fn reply(&self, state: &mut State, token: Token, reply: Option<Reply>) {
        let index = usize::try_from(token).unwrap();
        let Some(asking) = self.config.askings.get(index) else {
            return;
        };
        let answer = match reply {
            Some(Reply::Update(outcome)) => Answer::Update(outcome),
            Some(Reply::Read(found)) => Answer::Read(found),
            Some(_) | None => return,
        };
        let history = state.history_mut();
        history.answer(&update_id(asking.id), answer);
    }

    fn crash(&self, state: &mut State, at: ReplicaId) {
        state.history_mut().crashes -= 1;
        let before = state.node(at).clone();
        let mut node = Node::clone(&before);
        match self.config.fault {
            Fault::Restart | Fault::Torn => self.start_anew(state, &mut node),
            Fault::Die | Fault::Return => {
                node.is_alive = false;
                node.lag = None;
                state.letters.retain(|letter| letter.to != at);
            }
        }
        self.settle(state, &before, node);
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
        let broken = broken(&self.config, state, before, state.node(at));
        if broken.is_some() && state.history.broken.is_none() {
            state.history_mut().broken = broken;
        }
    }

    fn events(&self, state: &State) -> Vec<Event> {
        let mut events = self.requests(state);
        let deliver = |letter: &Arc<Letter>| Event::Deliver(letter.to, letter.fingerprint);
        events.extend(state.letters.iter().map(deliver));
        for node in &state.nodes {
            let at = node.replica();
            if node.is_alive {
                let waits = node.core.undecided_count() > 0 || !node.core.is_joined();
                if waits && state.history.timeouts > 0 {
                    events.push(Event::TimeOut(at));
                }
                if state.history.crashes > 0 {
                    events.push(Event::Crash(at));
                }
                if node.lag.is_some() {
                    events.push(Event::Sync(at));
                }
            } else if self.config.fault == Fault::Return {
                events.push(Event::Return(at));
            }
            if matches!(self.config.fault, Fault::Die | Fault::Return) {
                events.extend(certificates(state, node));
            }
        }
        events
    }

    /// What clients may still ask for.
    fn requests(&self, state: &State) -> Vec<Event> {
        let history = &state.history;
        let at = |places: &'static [Place]| {
            let replicas = places.iter().filter_map(|place| self.places.get(*place));
            replicas.filter(|at| state.node(**at).is_alive).copied()
        };
        let askings = self.config.askings.iter().enumerate();
        let askings = askings.filter(|(index, _)| history.askings[*index]);
        let writings = self.config.writings.iter().enumerate();
        let writings = writings.filter(|(index, _)| history.writings[*index]);
        let askings =
            askings.flat_map(|(index, of)| at(of.at).map(move |at| Event::Ask(index, at)));
        let writings =
            writings.flat_map(|(index, of)| at(of.at).map(move |at| Event::Write(index, at)));
        askings.chain(writings).collect()
    }
}

/// The ends of a node's lives of which others have not heard.
fn certificates(state: &State, node: &Node) -> Vec<Event> {
    let dead = node.replica();
    let ended = node.incarnation() - u64::from(node.is_alive);
    let others = state.living().map(|other| other.replica());
    let others = others.filter(|at| *at != dead);
    let certificates = others.flat_map(|at| (1..=ended).map(move |life| (dead, life, at)));
    let is_new = |of: &(ReplicaId, u64, ReplicaId)| !state.history.certified.contains(of);
    let certificates = certificates.filter(is_new);
    certificates
        .map(|(dead, life, at)| Event::Certify { dead, life, at })
        .collect()
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.config, &self.ring)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.history.broken.is_some() {
            return;
        }
        for event in self.events(state) {
            let at = event.place();
            let is_prompt = at.is_some_and(|at| state.node(at).lag.is_none());
            if is_prompt && self.config.fault == Fault::Torn && state.history.crashes > 0 {
                actions.extend((0..self.changes(state, &event)).map(|change| Action {
                    torn_at: Some(change),
                    ..event.clone().into()
                }));
            }
            if is_prompt && state.history.lags > 0 {
                actions.push(Action {
                    lags: true,
                    ..event.clone().into()
                });
            }
            actions.push(event.into());
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
                let is_update =
                    |answer: &Answer| matches!(answer, Answer::Update(Outcome::Updated { .. }));
                state.history.answers.values().any(is_update)
            }),
            Property::sometimes(MISMATCH, |_, state: &State| {
                let is_mismatch =
                    |answer: &Answer| matches!(answer, Answer::Update(Outcome::Mismatch { .. }));
                state.history.answers.values().any(is_mismatch)
            }),
            Property::sometimes(READ, |_, state: &State| {
                let is_read = |answer: &Answer| matches!(answer, Answer::Read(_));
                state.history.answers.values().any(is_read)
            }),
            Property::sometimes(TAKEN_OVER, |_, state: &State| is_taken_over(state)),
            Property::sometimes(REJOINED, |_, state: &State| {
                let has_returned = |node: &Arc<Node>| node.incarnation() > 1;
                let mut returned = state.living().filter(|node| has_returned(node));
                returned.any(|node| node.core.is_joined() && node.promised().term > 1)
            }),
        ]
    }
}

pub const SAFE: &str = "the invariants hold";
pub const UPDATED: &str = "an update succeeds";
pub const MISMATCH: &str = "an update fails";
pub const READ: &str = "a read is answered";
pub const REJOINED: &str = "a node in its second life votes in a second term";
pub const TAKEN_OVER: &str = "what one coordinator has begun another finishes";
