//! A cluster that is taken from step to step: one delivery, one performed output, one sync, or one tick of all clocks.
//!
//! The production node (`storage::node`) on a disk that keeps what was synced. Without a fault the schedule is always
//! the same: a fault can be placed before any of its steps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use common::fabric::Address;
use common::placement::Placement;
use common::types::{CommitMode, ReplicaId, Ring};
use storage::core::durable::{Durable, Founding};
use storage::core::members::Member;
use storage::core::message::{Entry, EntryKind, LogRecord, Message};
use storage::core::planted::Bug;
use storage::core::record::RecordChange;
use storage::core::{Change, Envelope, Input, Output, Refusal, Reply, Token};
use storage::engine::checkpoint::Checkpointer;
use storage::engine::writer::Batch;
use storage::engine::{EngineStats, Recovered};
use storage::node::Node;
use storage::sim::history::Recorder;

pub const RECORD: &str = "k";
const TICK_MS: u64 = 50;
/// Virtual time after which a condition is given up: less than what makes a node give up a client.
const PATIENCE_MS: u64 = 50_000;

/// How a cluster decides and what survives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Majority,
    FailStop,
    /// Fail-stop, and records die with their process.
    Memory,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Majority, Self::FailStop, Self::Memory];

    /// How many replicas beside the coordinator make a quorum.
    pub fn others(self, nodes: u32) -> u32 {
        match self {
            Self::Majority => nodes / 2,
            Self::FailStop | Self::Memory => nodes - 1,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Majority => "majority",
            Self::FailStop => "fail-stop",
            Self::Memory => "fail-stop in memory",
        })
    }
}

/// What all clusters of a mode and size begin with. Shared: to place partitions on a hash ring takes longer than a play.
struct Ground {
    /// The replicas in ring order: the first coordinates.
    places: Vec<ReplicaId>,
    empty: BTreeMap<ReplicaId, Durable>,
}

type Grounds = Mutex<BTreeMap<(Mode, u32), Arc<Ground>>>;

impl Ground {
    fn of(mode: Mode, nodes: u32) -> Arc<Self> {
        static GROUNDS: LazyLock<Grounds> = LazyLock::new(Mutex::default);
        let mut grounds = GROUNDS.lock().unwrap();
        let ground = grounds.entry((mode, nodes));
        ground
            .or_insert_with(|| Arc::new(Self::new(mode, nodes)))
            .clone()
    }

    fn new(mode: Mode, nodes: u32) -> Self {
        let address = |id| Address::parse(&format!("localhost:{id}")).unwrap();
        let members = (1..=nodes).map(|id| (format!("s{id}"), address(id)));
        let commit = match mode {
            Mode::Majority => CommitMode::Majority,
            Mode::FailStop | Mode::Memory => CommitMode::FailStop,
        };
        let ring = Ring::new(members.collect(), Some(nodes), commit, 100).unwrap();
        let ring = Ring {
            partitions: 1,
            ..ring
        };
        let empty = |replica: ReplicaId| {
            let disk = if mode == Mode::Memory {
                0
            } else {
                replica.into()
            };
            let durable = Durable::new(Founding {
                replica,
                ring: ring.clone(),
                disk,
                replaces: false,
                incarnation: 0,
            });
            (replica, durable)
        };
        Self {
            places: Placement::new(&ring).replicas_of(RECORD).to_vec(),
            empty: (1..=nodes).map(empty).collect(),
        }
    }
}

/// What happens next, or has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Sync(ReplicaId),
    Send(ReplicaId, &'static str, ReplicaId),
    Reply(ReplicaId),
    Deliver(ReplicaId, &'static str, ReplicaId),
    Tick,
}

pub fn kind(message: &Message) -> &'static str {
    match message {
        Message::Heartbeat { .. } => "heartbeat",
        Message::WrongDisk => "wrong disk",
        Message::Digests(_) => "digests",
        Message::Gossip(_) => "gossip",
        Message::Submit { .. } => "submit",
        Message::Prepare { .. } => "prepare",
        Message::Vote { .. } => "vote",
        Message::Commit { .. } => "commit",
        Message::Committed { .. } => "committed",
        Message::Decided { .. } => "decided",
        Message::Nack { .. } => "nack",
        Message::Fetch { .. } => "fetch",
        Message::ReadDone { .. } => "read done",
        Message::StateRequest(_) => "state request",
        Message::State(_) => "state",
    }
}

/// What becomes of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    Lost,
    /// It comes again, a second later.
    Duplicated,
    /// It comes when all is over.
    Delayed,
}

#[derive(Debug, Clone)]
pub struct Letter {
    pub to: ReplicaId,
    pub envelope: Envelope,
}

struct Machine {
    node: Option<Node>,
    incarnation: u64,
    /// All that was synced; absent where nothing is.
    disk: Option<Durable>,
    /// Appended to the log, not synced.
    in_flight: Option<Batch>,
    /// May be performed.
    released: VecDeque<Output>,
}

/// A client that waits.
struct Call {
    at: ReplicaId,
    incarnation: u64,
    place: usize,
}

pub struct Cluster {
    pub mode: Mode,
    /// Only with the feature `planted-bugs`.
    bug: Option<Bug>,
    pub now_ms: u64,
    /// Counts steps: the clock of the history.
    pub clock: u64,
    next_tick_ms: u64,
    ground: Arc<Ground>,
    machines: BTreeMap<ReplicaId, Machine>,
    lives: u64,
    wire: VecDeque<Letter>,
    late: Vec<(u64, Letter)>,
    pub cuts: BTreeSet<(ReplicaId, ReplicaId)>,
    /// Happens to the next message that this one sends.
    pub mishap: Option<(ReplicaId, Mishap)>,
    calls: BTreeMap<Token, Call>,
    pub replies: BTreeMap<Token, Result<Reply, Refusal>>,
    pub recorder: Recorder,
    /// What each slot was seen to hold (I1).
    decided: BTreeMap<u64, LogRecord>,
    /// Who has sent which kinds of messages.
    pub sent: BTreeSet<(ReplicaId, &'static str)>,
    /// Prints every step.
    pub traces: bool,
}

impl Cluster {
    pub fn new(mode: Mode, nodes: u32, bug: Option<Bug>) -> Self {
        let mut cluster = Self {
            mode,
            bug,
            now_ms: 0,
            clock: 0,
            next_tick_ms: 0,
            ground: Ground::of(mode, nodes),
            machines: BTreeMap::new(),
            lives: 0,
            wire: VecDeque::new(),
            late: Vec::new(),
            cuts: BTreeSet::new(),
            mishap: None,
            calls: BTreeMap::new(),
            replies: BTreeMap::new(),
            recorder: Recorder::default(),
            decided: BTreeMap::new(),
            sent: BTreeSet::new(),
            traces: false,
        };
        (1..=nodes).for_each(|replica| cluster.start(replica));
        cluster
    }

    /// The replicas in ring order: the first coordinates.
    pub fn places(&self) -> Vec<ReplicaId> {
        self.ground.places.clone()
    }

    pub fn is_alive(&self, replica: ReplicaId) -> bool {
        self.machines[&replica].node.is_some()
    }

    pub fn alive(&self) -> Vec<ReplicaId> {
        let all = self.machines.keys().copied();
        all.filter(|replica| self.is_alive(*replica)).collect()
    }

    /// Starts the process, on what its disk holds.
    pub fn start(&mut self, replica: ReplicaId) {
        self.lives += 1;
        let old = self.machines.remove(&replica);
        let empty = &self.ground.empty[&replica];
        let durable = old.and_then(|machine| machine.disk);
        let durable = durable.unwrap_or_else(|| empty.clone());
        let recovered = Recovered {
            durable: durable.clone(),
            sequence: 0,
            checkpointer: Checkpointer::default(),
        };
        let mut node = Node::restart(self.now_ms, 0, recovered, self.lives);
        plant(&mut node, self.bug);
        let machine = Machine {
            node: Some(node),
            incarnation: self.lives,
            disk: (self.mode != Mode::Memory).then_some(durable),
            in_flight: None,
            released: VecDeque::new(),
        };
        self.machines.insert(replica, machine);
    }

    /// The process dies: what was appended but not synced is kept or lost. Returns the life that has ended.
    pub fn crash(&mut self, replica: ReplicaId, keeps_unsynced: bool) -> u64 {
        if self.mode == Mode::Memory {
            self.recorder.lost(replica);
        }
        if keeps_unsynced {
            self.sync(replica);
        }
        let machine = self.machines.get_mut(&replica).unwrap();
        machine.node = None;
        machine.in_flight = None;
        machine.released.clear();
        machine.incarnation
    }

    /// Under fail-stop all others are told that this life has ended.
    pub fn certify(&mut self, dead: ReplicaId, incarnation: u64) {
        if self.mode == Mode::Majority {
            return;
        }
        for other in self.alive() {
            if other != dead {
                let replica = dead;
                self.input(
                    other,
                    Input::CertifyDeath {
                        token: None,
                        replica,
                        incarnation,
                    },
                );
            }
        }
    }

    /// Delayed messages arrive at last.
    pub fn release_delayed(&mut self) {
        let late = std::mem::take(&mut self.late);
        self.wire.extend(late.into_iter().map(|(_, letter)| letter));
    }

    /// Cuts a replica off from all others.
    pub fn cut(&mut self, replica: ReplicaId, outgoing: bool, incoming: bool) {
        for other in self.places() {
            if outgoing && other != replica {
                self.cuts.insert((replica, other));
            }
            if incoming && other != replica {
                self.cuts.insert((other, replica));
            }
        }
    }

    /// What the next step will be.
    pub fn next(&self) -> Step {
        for (replica, machine) in &self.machines {
            match machine.released.front() {
                Some(Output::Send { to, message }) => {
                    return Step::Send(*replica, kind(message), *to);
                }
                Some(Output::Reply { .. }) => return Step::Reply(*replica),
                Some(other) => unreachable!("{other:?} is not released"),
                None => {}
            }
        }
        let syncs = |machine: &Machine| machine.in_flight.is_some();
        if let Some((replica, _)) = self.machines.iter().find(|(_, machine)| syncs(machine)) {
            return Step::Sync(*replica);
        }
        match self.wire.front() {
            Some(letter) if self.now_ms < self.next_tick_ms => {
                let from = letter.envelope.from;
                Step::Deliver(from, kind(&letter.envelope.message), letter.to)
            }
            _ => Step::Tick,
        }
    }

    pub fn advance(&mut self) -> Step {
        let step = self.next();
        if self.traces {
            println!("{:>6} ms {step:?}", self.now_ms);
        }
        self.clock += 1;
        match step {
            Step::Sync(replica) => self.sync(replica),
            Step::Send(replica, ..) | Step::Reply(replica) => {
                let machine = self.machines.get_mut(&replica).unwrap();
                let output = machine.released.pop_front().unwrap();
                self.perform(replica, output);
                self.hand_over(replica);
            }
            Step::Deliver(..) => {
                self.now_ms += 1;
                let letter = self.wire.pop_front().unwrap();
                self.deliver(letter);
            }
            Step::Tick => {
                self.now_ms = self.next_tick_ms;
                self.next_tick_ms += TICK_MS;
                let due = self
                    .late
                    .extract_if(.., |(due_ms, _)| *due_ms <= self.now_ms);
                self.wire.extend(due.map(|(_, letter)| letter));
                for replica in self.alive() {
                    self.input(replica, Input::Tick);
                }
            }
        }
        step
    }

    fn deliver(&mut self, letter: Letter) {
        if !self.cuts.contains(&(letter.envelope.from, letter.to)) {
            self.input(letter.to, Input::Peer(Box::new(letter.envelope)));
        }
    }

    fn input(&mut self, replica: ReplicaId, input: Input) {
        let machine = self.machines.get_mut(&replica).unwrap();
        if let Some(node) = &mut machine.node {
            node.step(self.now_ms, input);
            self.hand_over(replica);
        }
    }

    /// What came meanwhile is the next batch.
    fn hand_over(&mut self, replica: ReplicaId) {
        let machine = self.machines.get_mut(&replica).unwrap();
        let Some(node) = &mut machine.node else {
            return;
        };
        if machine.in_flight.is_none() && machine.released.is_empty() {
            machine.in_flight = node.hand_over(self.now_ms, EngineStats::default());
        }
        let ready = node.ready();
        self.release(replica, ready);
    }

    fn sync(&mut self, replica: ReplicaId) {
        let machine = self.machines.get_mut(&replica).unwrap();
        let Some(batch) = machine.in_flight.take() else {
            return;
        };
        if let Some(disk) = &mut machine.disk {
            batch.changes.iter().for_each(|change| disk.apply(change));
        }
        if let Some(node) = &mut machine.node {
            node.committed(batch.changes);
        }
        self.hand_over(replica);
    }

    /// Changes are seen from now on; everything else is to be performed.
    fn release(&mut self, replica: ReplicaId, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Persist(change) => self.made(replica, &change),
                Output::Halt(halt) => self.recorder.wrong.push(format!("{replica}: {halt}")),
                other => {
                    let machine = self.machines.get_mut(&replica).unwrap();
                    machine.released.push_back(other);
                }
            }
        }
    }

    fn made(&mut self, replica: ReplicaId, change: &Change) {
        self.recorder.made(self.clock, replica, change);
        if let Change::Record {
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
        } = change
        {
            let known = self.decided.entry(decided.slot).or_insert(decided.clone());
            // A replica that was behind may learn of a decision without its value.
            let ids = |of: &LogRecord| {
                of.decisions
                    .iter()
                    .map(|of| of.id.clone())
                    .collect::<Vec<_>>()
            };
            if ids(known) != ids(decided) {
                let (one, two) = (ids(known), ids(decided));
                let wrong = format!("I1: slot {} holds {one:?} and {two:?}", decided.slot);
                self.recorder.wrong.push(wrong);
            }
        }
    }

    fn perform(&mut self, replica: ReplicaId, output: Output) {
        match output {
            Output::Send { to, message } => self.send(replica, to, message),
            Output::Reply { token, reply, .. } => self.reply(token, reply),
            Output::Persist(_) | Output::Halt(_) => unreachable!("done when it was released"),
        }
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        self.check_durable(from, &message);
        self.sent.insert((from, kind(&message)));
        let machine = &self.machines[&from];
        let node = machine.node.as_ref().unwrap();
        let envelope = Envelope {
            from,
            incarnation: machine.incarnation,
            disk: node.founding().disk,
            ring: node.core.ring_hash(),
            message,
        };
        let letter = Letter { to, envelope };
        match self.mishap.take_if(|(of, _)| *of == from) {
            Some((_, Mishap::Lost)) => {}
            Some((_, Mishap::Delayed)) => self.late.push((u64::MAX, letter)),
            Some((_, Mishap::Duplicated)) => {
                self.late.push((self.now_ms + 1_000, letter.clone()));
                self.wire.push_back(letter);
            }
            None => self.wire.push_back(letter),
        }
    }

    /// I11: what a message implies is durable, and so stays promised (I10).
    fn check_durable(&mut self, from: ReplicaId, message: &Message) {
        let Some(disk) = &self.machines[&from].disk else {
            return;
        };
        let record = disk.record(RECORD);
        let updates = record.map(storage::core::record::Record::updates);
        let is_durable = match message {
            Message::Prepare { term, .. } | Message::Vote { term, .. } => {
                updates.is_some_and(|updates| updates.promised >= term.ballot)
            }
            Message::Committed { ballot, slot, .. } => updates.is_some_and(|updates| {
                let accepted = updates.accepted.as_ref();
                updates.decided >= *slot || accepted.is_some_and(|own| own.ballot >= *ballot)
            }),
            _ => true,
        };
        if !is_durable {
            let wrong = format!("I11: {from} sends what it may forget: {message:?}");
            self.recorder.wrong.push(wrong);
        }
    }

    /// Asks a replica; `place`: of the operation in the history.
    pub fn ask(
        &mut self,
        at: ReplicaId,
        place: usize,
        input: impl FnOnce(Token) -> Input,
    ) -> Token {
        let token = place as u64;
        let incarnation = self.machines[&at].incarnation;
        let call = Call {
            at,
            incarnation,
            place,
        };
        self.calls.insert(token, call);
        self.input(at, input(token));
        token
    }

    fn reply(&mut self, token: Token, reply: Result<Reply, Refusal>) {
        let Some(call) = self.calls.remove(&token) else {
            self.recorder
                .wrong
                .push(format!("{token} was answered twice"));
            return;
        };
        match reply.clone() {
            Ok(reply) => self.recorder.answered_by(call.place, self.clock, reply),
            Err(Refusal::Unknown) => {}
            Err(_) => self.recorder.refused(call.place),
        }
        self.replies.insert(token, reply);
    }

    /// Every client has its answer, but for those whose node has died.
    pub fn is_answered(&self) -> bool {
        let lives = |call: &Call| {
            let machine = &self.machines[&call.at];
            machine.node.is_some() && machine.incarnation == call.incarnation
        };
        !self.calls.values().any(lives)
    }

    /// All nodes are members in each other's eyes, hold the same and have nothing left to say.
    pub fn is_at_rest(&self) -> bool {
        let is_quiet = |machine: &Machine| {
            let is_idle = machine.in_flight.is_none() && machine.released.is_empty();
            machine.node.as_ref().is_some_and(|Node { core, .. }| {
                let is_there = |(_, member): (_, &Member)| {
                    !member.joining && !member.is_suspected(self.now_ms)
                };
                is_idle
                    && core.is_joined()
                    && core.unspread_count() + core.undecided_count() == 0
                    && core.members().iter().all(is_there)
            })
        };
        let hash = |machine: &Machine| Some(machine.node.as_ref()?.core.durable().hash(0));
        self.wire.is_empty()
            && self.is_answered()
            && self.machines.values().all(is_quiet)
            && self
                .machines
                .values()
                .map(hash)
                .collect::<BTreeSet<_>>()
                .len()
                == 1
    }

    /// Goes on until the condition holds; the number of steps.
    pub fn settle(&mut self, what: &str, until: impl Fn(&Self) -> bool) -> Result<usize, String> {
        let end_ms = self.now_ms + PATIENCE_MS;
        for steps in 0.. {
            let is_lost = !self.recorder.wrong.is_empty();
            if until(self) || is_lost {
                return Ok(steps);
            }
            if self.now_ms >= end_ms {
                break;
            }
            self.advance();
        }
        Err(format!(
            "not {what} within {PATIENCE_MS} ms: {}",
            self.state()
        ))
    }

    /// Goes on until the next step is this one.
    pub fn run_to(&mut self, wanted: impl Fn(&Step) -> bool) {
        let end_ms = self.now_ms + PATIENCE_MS;
        while !wanted(&self.next()) {
            assert!(
                self.now_ms < end_ms,
                "the step never came: {}",
                self.state()
            );
            self.advance();
        }
    }

    pub fn run_for(&mut self, duration_ms: u64) {
        let end_ms = self.now_ms + duration_ms;
        while self.now_ms < end_ms {
            self.advance();
        }
    }

    fn state(&self) -> String {
        let state = |(replica, machine): (&ReplicaId, &Machine)| {
            let Some(Node { core, .. }) = &machine.node else {
                return format!("{replica} is down");
            };
            format!(
                "{replica}: joined {} (waits for {:?}), unspread {}, undecided {}",
                core.is_joined(),
                core.waits_for(),
                core.unspread_count(),
                core.undecided_count()
            )
        };
        let states: Vec<_> = self.machines.iter().map(state).collect();
        states.join("; ")
    }

    /// All that is wrong in the end.
    pub fn verdict(&mut self) -> Vec<String> {
        let recorder = std::mem::take(&mut self.recorder);
        let core = |(replica, machine): (&ReplicaId, _)| Some((*replica, core_of(machine)?));
        let cores: Vec<_> = self.machines.iter().filter_map(core).collect();
        let (mut wrong, violations) = recorder.check(&cores);
        wrong.extend(violations.iter().map(ToString::to_string));
        wrong
    }
}

fn core_of(machine: &Machine) -> Option<&storage::core::Storage> {
    Some(&machine.node.as_ref()?.core)
}

#[cfg(feature = "planted-bugs")]
fn plant(node: &mut Node, bug: Option<Bug>) {
    if let Some(bug) = bug {
        node.core.plant(bug);
    }
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(_: &mut Node, bug: Option<Bug>) {
    assert_eq!(bug, None, "the feature planted-bugs plants them");
}
