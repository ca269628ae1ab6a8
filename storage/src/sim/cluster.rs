//! A cluster of simulated machines, its network and its clients, in one thread and in virtual time.
//!
//! One queue of events, in order of time; everything that happens is a consequence of the seed.

use std::collections::{BTreeMap, BTreeSet};

use common::types::{CommitMode, ReplicaId};

use super::clients::{Call, Client, PATIENCE_MS, Request};
use super::history::Recorder;
use super::machine::{Effects, Machine};
use super::settings::Settings;
use super::tasks::Tasks;
use super::watcher::Watcher;
use super::wire::pass_through_codec;
use crate::core::message::Message;
use crate::core::{Envelope, Input, Output, Refusal, Reply, Storage, Token};
use common::chance::Chance;

pub const TICK_MS: u64 = 25;
/// Longest rest of a client after an answer.
const REST_MS: u64 = 150;
/// And after a refusal, or when nobody is there.
const REFUSED_MS: u64 = 1_000;

#[derive(Debug)]
enum Event {
    /// Of a life of the replica; to another one it means nothing.
    Tick(ReplicaId, u64),
    DiskDone(ReplicaId, u64),
    Letter(ReplicaId, Box<Envelope>),
    Certificate {
        to: ReplicaId,
        dead: ReplicaId,
        incarnation: u64,
    },
    Client(usize),
}

pub struct Cluster {
    pub now_ms: u64,
    pub settings: Settings,
    pub chance: Chance,
    pub machines: BTreeMap<ReplicaId, Machine>,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    /// Links deliver in order, unless the settings say otherwise.
    last_due_ms: BTreeMap<(ReplicaId, ReplicaId), u64>,
    pub cuts: BTreeSet<(ReplicaId, ReplicaId)>,
    clients: Vec<Client>,
    pub watcher: Watcher,
    pub tasks: Tasks,
    /// Who waits for which answer.
    asked_by: BTreeMap<Token, usize>,
    pub recorder: Recorder,
    pub messages: u64,
    pub log: Vec<String>,
    /// Clients ask nothing new.
    pub is_closing: bool,
}

impl Cluster {
    pub fn new(settings: Settings) -> Self {
        let mut cluster = Self {
            now_ms: 0,
            chance: Chance::new(settings.seed),
            machines: settings
                .ring
                .nodes
                .iter()
                .map(|node| (node.replica, Machine::new(node.replica)))
                .collect(),
            events: BTreeMap::new(),
            sequence: 0,
            last_due_ms: BTreeMap::new(),
            cuts: BTreeSet::new(),
            clients: (0..settings.clients).map(Client::new).collect(),
            watcher: Watcher::new(settings.seed, settings.ring.partitions),
            tasks: Tasks::new(
                settings.seed,
                settings.tasks,
                settings.durable,
                settings.ring.commit,
            ),
            asked_by: BTreeMap::new(),
            recorder: Recorder::default(),
            messages: 0,
            log: Vec::new(),
            is_closing: false,
            settings,
        };
        for replica in cluster.replicas() {
            cluster.start(replica, true);
        }
        for client in 0..cluster.clients.len() {
            let due_ms = cluster.chance.below(200);
            cluster.at(due_ms, Event::Client(client));
        }
        cluster
    }

    pub fn replicas(&self) -> Vec<ReplicaId> {
        self.machines.keys().copied().collect()
    }

    pub fn alive(&self) -> Vec<ReplicaId> {
        let alive = self
            .machines
            .values()
            .filter(|machine| machine.life.is_some());
        alive.map(|machine| machine.me).collect()
    }

    pub fn core(&self, replica: ReplicaId) -> Option<&Storage> {
        let life = self.machines.get(&replica)?.life.as_ref()?;
        Some(&life.node.core)
    }

    /// The line is made only when it is wanted.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.settings.log {
            self.log.push(format!("{:>7} {}", self.now_ms, line()));
        }
    }

    pub fn nobody_waits(&self) -> bool {
        self.tasks.is_idle() && self.clients.iter().all(|client| client.call.is_none())
    }

    fn at(&mut self, due_ms: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((due_ms, self.sequence), event);
    }

    pub fn start(&mut self, replica: ReplicaId, fresh: bool) {
        self.sequence += 1;
        let incarnation = self.sequence;
        let Some(machine) = self.machines.get_mut(&replica) else {
            return;
        };
        machine.frozen_until_ms = 0;
        if let Err(error) = machine.start(self.now_ms, &self.settings, incarnation, fresh) {
            let wrong = format!("replica {replica} does not start: {error}");
            return self.recorder.wrong.push(wrong);
        }
        self.note(|| format!("start {replica}"));
        let due_ms = self.now_ms + self.chance.below(TICK_MS);
        self.at(due_ms, Event::Tick(replica, incarnation));
        if self.settings.ring.commit == CommitMode::FailStop {
            self.certify_the_dead_to(replica);
        }
    }

    /// Whoever starts a node tells it which others are dead.
    fn certify_the_dead_to(&mut self, to: ReplicaId) {
        let dead: Vec<_> = self
            .machines
            .values()
            .filter(|machine| machine.life.is_none() && machine.last_incarnation > 0)
            .map(|machine| (machine.me, machine.last_incarnation))
            .collect();
        for (dead, incarnation) in dead {
            let certificate = Event::Certificate {
                to,
                dead,
                incarnation,
            };
            self.at(self.now_ms + 1, certificate);
        }
    }

    /// The machine dies; under fail-stop its PCS tells the others.
    pub fn crash(&mut self, replica: ReplicaId) {
        let Some(machine) = self.machines.get_mut(&replica) else {
            return;
        };
        if machine.life.is_none() {
            return;
        }
        machine.crash(&mut self.chance);
        let incarnation = machine.last_incarnation;
        self.note(|| format!("crash {replica}"));
        if !self.settings.durable {
            self.recorder.lost(replica);
        }
        if self.settings.ring.commit == CommitMode::FailStop {
            for to in self.replicas() {
                let due_ms = self.now_ms + self.chance.between(5, 400);
                let certificate = Event::Certificate {
                    to,
                    dead: replica,
                    incarnation,
                };
                self.at(due_ms, certificate);
            }
        }
    }

    /// Takes the cluster to its next event.
    pub fn advance(&mut self) {
        let Some(((due_ms, _), event)) = self.events.pop_first() else {
            return;
        };
        self.now_ms = due_ms.max(self.now_ms);
        self.watch();
        self.work();
        let target = event.target().and_then(|target| self.machines.get(&target));
        if let Some(machine) = target.filter(|machine| machine.frozen_until_ms > self.now_ms) {
            return self.at(machine.frozen_until_ms, event);
        }
        if !matches!(event, Event::Tick(..) | Event::Client(_)) {
            self.note(|| format!("{event:?}"));
        }
        match event {
            Event::Client(client) => self.wake(client),
            Event::Tick(replica, incarnation) => self.tick(replica, incarnation),
            Event::Letter(to, envelope) => self.step(to, Input::Peer(envelope)),
            Event::Certificate {
                to,
                dead,
                incarnation,
            } => self.certify(to, dead, incarnation),
            Event::DiskDone(replica, incarnation) => self.disk_done(replica, incarnation),
        }
    }

    /// Nodes without a disk rely on more: that nobody certifies a death when the successor has been started.
    fn certify(&mut self, to: ReplicaId, dead: ReplicaId, incarnation: u64) {
        let has_successor = self.machines.get(&dead).is_some_and(|machine| {
            machine.life.is_some() && machine.last_incarnation > incarnation
        });
        if self.settings.durable || !has_successor {
            let replica = dead;
            self.step(
                to,
                Input::CertifyDeath {
                    token: None,
                    replica,
                    incarnation,
                },
            );
        }
    }

    fn tick(&mut self, replica: ReplicaId, incarnation: u64) {
        let now_ms = self.now_ms;
        let machine = self.machines.get_mut(&replica);
        let life = machine.and_then(|machine| machine.life.as_mut());
        let Some(life) = life.filter(|life| life.incarnation == incarnation) else {
            return;
        };
        life.resume(now_ms);
        self.at(now_ms + TICK_MS, Event::Tick(replica, incarnation));
        self.step(replica, Input::Tick);
    }

    pub fn step(&mut self, replica: ReplicaId, input: Input) {
        let (now_ms, disk_ms) = (self.now_ms, self.disk_ms());
        let machine = self.machines.get_mut(&replica);
        if let Some(life) = machine.and_then(|machine| machine.life.as_mut()) {
            let effects = life.step(now_ms, input, disk_ms);
            self.perform(replica, effects);
        }
    }

    fn disk_ms(&mut self) -> u64 {
        let (from, to) = self.settings.disk_ms;
        self.chance.between(from, to)
    }

    fn disk_done(&mut self, replica: ReplicaId, incarnation: u64) {
        let (now_ms, disk_ms) = (self.now_ms, self.disk_ms());
        let machine = self.machines.get_mut(&replica);
        let life = machine.and_then(|machine| machine.life.as_mut());
        let Some(life) = life.filter(|life| life.incarnation == incarnation) else {
            return;
        };
        match life.disk_done(now_ms, self.settings.gossip_delay_ms, disk_ms) {
            Ok(effects) => self.perform(replica, effects),
            // As a real node does, it ends.
            Err(_) => self.crash(replica),
        }
    }

    /// Performs outputs in order; a crash may fall between two of them.
    fn perform(&mut self, replica: ReplicaId, effects: Effects) {
        let outputs = self.watcher.hear(self.now_ms, effects.outputs);
        for output in self.tasks.hear(self.now_ms, outputs) {
            let Some(machine) = self.machines.get_mut(&replica) else {
                return;
            };
            if let Some(left) = &mut machine.doomed {
                if *left == 0 {
                    return self.crash(replica);
                }
                *left -= 1;
            }
            self.note(|| format!("{replica} {output:?}"));
            match output {
                Output::Persist(change) => self.recorder.made(self.now_ms, replica, &change),
                Output::Send { to, message } => self.send(replica, to, message),
                Output::Reply { token, reply, .. } => self.reply(token, reply),
                Output::Halt(halt) => self.recorder.wrong.push(format!("{replica}: {halt}")),
            }
        }
        let Some(machine) = self.machines.get(&replica) else {
            return;
        };
        if let (Some(disk_ms), Some(_)) = (effects.disk_ms, &machine.life) {
            let done = Event::DiskDone(replica, machine.last_incarnation);
            self.at(self.now_ms + disk_ms, done);
        }
    }

    /// Through the codec, the faults and the latency of the network.
    fn send(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        self.messages += 1;
        if self.cuts.contains(&(from, to)) || self.chance.percent(self.settings.loss_percent) {
            return;
        }
        let message = match pass_through_codec(message) {
            Ok(message) => message,
            Err(error) => return self.recorder.wrong.push(error),
        };
        let Some(life) = self
            .machines
            .get(&from)
            .and_then(|machine| machine.life.as_ref())
        else {
            return;
        };
        let envelope = Envelope {
            from,
            incarnation: life.incarnation,
            disk: life.node.founding().disk,
            ring: life.node.core.ring_hash(),
            message,
        };
        let (fast, slow) = self.settings.latency_ms;
        let due_ms = self.now_ms + self.settings.gossip_delay_ms + self.chance.between(fast, slow);
        if self.chance.percent(self.settings.duplicate_percent) {
            let late_ms = due_ms + self.chance.below(3_000);
            self.at(late_ms, Event::Letter(to, Box::new(envelope.clone())));
        }
        if self.chance.percent(self.settings.reorder_percent) {
            let late_ms = due_ms + self.chance.below(1_000);
            return self.at(late_ms, Event::Letter(to, Box::new(envelope)));
        }
        let last_ms = self.last_due_ms.entry((from, to)).or_default();
        *last_ms = due_ms.max(*last_ms);
        let due_ms = *last_ms;
        self.at(due_ms, Event::Letter(to, Box::new(envelope)));
    }

    fn wake(&mut self, client: usize) {
        let Some(state) = self.clients.get_mut(client) else {
            return;
        };
        match state.call.take() {
            Some(call) if call.until_ms > self.now_ms => state.call = Some(call),
            Some(call) if Client::may_repeat(&call) => {
                let tries = call.tries + 1;
                self.ask(client, call.request.again(tries), tries);
            }
            // Its outcome stays unknown.
            Some(_) => self.rest(client, REST_MS),
            None if self.is_closing => {}
            None => {
                let request = state.next(&mut self.chance, &self.settings);
                self.ask(client, request, 1);
            }
        }
    }

    /// Asks a replica at random; one that is not there cannot be reached, and nothing has happened.
    fn ask(&mut self, client: usize, request: Request, tries: u32) {
        let replicas = self.replicas();
        let replica = self.chance.one_of(&replicas).copied().unwrap_or(1);
        let is_there = self.core(replica).is_some();
        let Some(state) = self.clients.get_mut(client) else {
            return;
        };
        if !is_there {
            return self.rest(client, REFUSED_MS);
        }
        let commit = self.settings.ring.commit;
        let place = self
            .recorder
            .asked(request.operation(state, commit, replica, self.now_ms));
        self.sequence += 1;
        let token = self.sequence;
        let until_ms = self.now_ms + PATIENCE_MS;
        let input = request.input(token);
        state.call = Some(Call {
            request,
            tries,
            place,
            token,
            until_ms,
        });
        self.asked_by.insert(token, client);
        self.note(|| format!("{replica} asked: {input:?}"));
        self.at(until_ms, Event::Client(client));
        self.step(replica, input);
    }

    fn reply(&mut self, token: Token, reply: Result<Reply, Refusal>) {
        let Some(client) = self.asked_by.remove(&token) else {
            return;
        };
        let Some(state) = self.clients.get_mut(client) else {
            return;
        };
        // An answer that comes too late is not heard.
        let Some(call) = state.call.take_if(|call| call.token == token) else {
            return;
        };
        match reply {
            Ok(reply) => {
                state.answered(&call.request, &reply);
                self.recorder.answered_by(call.place, self.now_ms, reply);
            }
            Err(Refusal::Unknown) => {}
            Err(_) => {
                self.recorder.refused(call.place);
                return self.rest(client, REFUSED_MS);
            }
        }
        self.rest(client, REST_MS);
    }

    fn rest(&mut self, client: usize, longest_ms: u64) {
        let due_ms = self.now_ms + self.chance.between(1, longest_ms);
        self.at(due_ms, Event::Client(client));
    }
}

impl Event {
    /// The node to which it happens.
    fn target(&self) -> Option<ReplicaId> {
        match self {
            Self::Client(_) => None,
            Self::Tick(replica, _)
            | Self::DiskDone(replica, _)
            | Self::Letter(replica, _)
            | Self::Certificate { to: replica, .. } => Some(*replica),
        }
    }
}
