//! One play: an update among the replicas of a record, a fault at a moment of it, and what must be true afterwards.
//!
//! The update turns `a` into `b`. After the fault everything heals; the update is repeated at another replica, read, and
//! followed by a further one; then `storage::check` judges all that was seen (I1 to I12).

use std::fmt;

use bytes::Bytes;
use common::types::{ReplicaId, UpdateId, Version, Wanted};
use history::{Action, Operation, ReadKind, Test};
use storage::core::message::{Ask, Outcome, Update};
use storage::core::planted::Bug;
use storage::core::{Input, Level, Refusal, Reply, Token};

use crate::steps::{Cluster, Mishap, Mode, RECORD, Step};

/// Long enough for a silent node to be suspected, and for another one to take over.
const LATER_MS: u64 = 4_000;

/// Tries of one question, within that time.
const TRIES_MAX: u64 = 8;

/// Places in ring order.
pub const COORDINATOR: usize = 0;
pub const SECOND: usize = 1;
pub const THIRD: usize = 2;

/// Where the update is asked for, and what else goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    AtCoordinator,
    /// At the second replica, which forwards it.
    Forwarded,
    /// Forwarded, and a plain write comes to the third replica.
    BesideWrite,
    /// Forwarded, and another update of the same value comes to the third replica.
    BesideUpdate,
}

impl Work {
    pub const ALL: [Self; 4] = [
        Self::AtCoordinator,
        Self::Forwarded,
        Self::BesideWrite,
        Self::BesideUpdate,
    ];

    fn place(self) -> usize {
        usize::from(self != Self::AtCoordinator)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    AtOnce,
    /// When the others have gone on.
    Later,
    /// When everything else is over.
    AfterAll,
}

/// What happens to a replica, or is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `keeps`: what was written but not synced survives.
    Crash {
        keeps: bool,
        back: Back,
    },
    Cut {
        outgoing: bool,
        incoming: bool,
    },
    /// To the message that it sends next.
    Message(Mishap),
    Write,
    /// Another update of the same value.
    Update,
    /// The same update again.
    Repeat,
}

#[derive(Debug, Clone, Copy)]
pub struct Play {
    pub mode: Mode,
    pub nodes: u32,
    pub work: Work,
    /// The place of the replica to which it happens.
    pub role: usize,
    pub fault: Fault,
    /// Done wrong by all nodes; only with the feature `planted-bugs`.
    pub bug: Option<Bug>,
}

impl fmt::Display for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            COORDINATOR => "coordinator",
            SECOND if self.work != Work::AtCoordinator => "forwarder",
            SECOND => "participant 1",
            _ => "participant 2",
        };
        let Self {
            mode, work, fault, ..
        } = self;
        write!(f, "{mode}, {work:?}, {role}, {fault:?}")
    }
}

/// Before which step the fault happens.
pub type Moment<'a> = &'a mut dyn FnMut(&Step) -> bool;

struct Stage {
    cluster: Cluster,
    places: Vec<ReplicaId>,
    asked_at: ReplicaId,
    first: Token,
    /// Updates beside the first one: they compete for the same value.
    rivals: Vec<&'static str>,
    /// Plain writes compete with everything.
    has_writes: bool,
    /// The replica that was asked was cut off: it has seen no quorum, and then does not know the outcome.
    is_asked_alone: bool,
}

/// A cluster at rest whose record holds `a`, and the update on its way.
fn begin(play: &Play, traces: bool) -> Result<Stage, String> {
    let mut cluster = Cluster::new(play.mode, play.nodes, play.bug);
    let places = cluster.places();
    cluster.settle("at rest", Cluster::is_at_rest)?;
    write(&mut cluster, places[COORDINATOR], "a", Level::All);
    cluster.settle("at rest", Cluster::is_at_rest)?;
    cluster.traces = traces;
    let asked_at = places[play.work.place()];
    let first = update(&mut cluster, asked_at, "b", "a");
    let mut stage = Stage {
        cluster,
        places,
        asked_at,
        first,
        rivals: Vec::new(),
        has_writes: false,
        is_asked_alone: false,
    };
    match play.work {
        Work::AtCoordinator | Work::Forwarded => {}
        Work::BesideWrite => stage.inflict(Fault::Write, THIRD),
        Work::BesideUpdate => stage.inflict(Fault::Update, THIRD),
    }
    Ok(stage)
}

/// The steps of a play without its fault, until the cluster is at rest; and the replicas by place.
pub fn rehearse(play: &Play) -> Result<(Vec<Step>, Vec<ReplicaId>), String> {
    let mut stage = begin(play, false)?;
    let mut steps = Vec::new();
    while !stage.cluster.is_at_rest() {
        steps.push(stage.cluster.advance());
    }
    Ok((steps, stage.places))
}

/// Plays it. The error says what was wrong.
pub fn perform(play: &Play, moment: Moment, traces: bool) -> Result<(), String> {
    let mut stage = begin(play, traces)?;
    while !moment(&stage.cluster.next()) {
        if stage.cluster.is_at_rest() {
            return Err("the moment of the fault never came".to_owned());
        }
        stage.cluster.advance();
    }
    if traces {
        println!("now: {play}");
    }
    stage.inflict(play.fault, play.role);
    stage.go_on()?;
    let outcome = stage.follow_up()?;
    stage.end(play)?;
    // Nothing else was there: it must have been made, once.
    let is_made = matches!(outcome, Outcome::Updated { .. });
    if !is_made && stage.rivals.is_empty() && !stage.has_writes {
        return Err(format!("the update ended with {outcome:?}"));
    }
    Ok(())
}

impl Stage {
    /// The fault happens, and ends when its time has come, unless that is after all else.
    fn inflict(&mut self, fault: Fault, role: usize) {
        let cluster = &mut self.cluster;
        let at = self.places[role];
        match fault {
            Fault::Crash { keeps, back } => {
                let incarnation = cluster.crash(at, keeps);
                // Who has no disk relies on being certified dead before its successor is there.
                let is_late = back == Back::AtOnce && cluster.mode != Mode::Memory;
                if is_late {
                    cluster.start(at);
                }
                cluster.certify(at, incarnation);
                match back {
                    Back::AtOnce if is_late => {}
                    Back::AtOnce => cluster.start(at),
                    Back::Later => {
                        cluster.run_for(LATER_MS);
                        cluster.start(at);
                    }
                    Back::AfterAll => {}
                }
            }
            Fault::Cut { outgoing, incoming } => {
                cluster.cut(at, outgoing, incoming);
                cluster.run_for(LATER_MS);
                cluster.cuts.clear();
                self.is_asked_alone = at == self.asked_at;
            }
            Fault::Message(mishap) => cluster.mishap = Some((at, mishap)),
            Fault::Write => {
                self.has_writes = true;
                write(cluster, at, "w", Level::Majority);
            }
            Fault::Update => {
                let new = ["c", "d"][self.rivals.len()];
                self.rivals.push(new);
                update(cluster, at, new, "a");
            }
            Fault::Repeat => drop(update(cluster, at, "b", "a")),
        }
    }

    /// Until everybody who waits for an answer has one. The rest goes on while nodes are still busy with the fault.
    fn go_on(&mut self) -> Result<(), String> {
        self.look();
        let cluster = &mut self.cluster;
        cluster.settle("all answered", Cluster::is_answered)?;
        self.look();
        match self.cluster.replies.get(&self.first) {
            Some(Err(Refusal::Unknown)) if self.is_asked_alone => Ok(()),
            Some(Err(refusal)) => Err(format!("the update was refused: {refusal}")),
            _ => Ok(()),
        }
    }

    /// Every replica is read.
    fn look(&mut self) {
        for at in self.cluster.alive() {
            look(&mut self.cluster, at);
        }
    }

    /// The updates are repeated elsewhere, and a further one is made of what is read then. Returns the outcome of the
    /// first.
    fn follow_up(&mut self) -> Result<Outcome, String> {
        let is_elsewhere = |at: &&ReplicaId| **at != self.asked_at && self.cluster.is_alive(**at);
        let elsewhere = *self.places.iter().find(is_elsewhere).unwrap();
        let first = self.outcome(elsewhere, "b", "a")?;
        for new in self.rivals.clone() {
            self.outcome(elsewhere, new, "a")?;
        }
        let found = match self.insist(|cluster| read(cluster, elsewhere))? {
            Reply::Read(found) | Reply::Update(Outcome::Mismatch { found }) => found,
            other => return Err(format!("a read was answered by {other:?}")),
        };
        let old = String::from_utf8(found.value.unwrap_or_default().to_vec()).unwrap();
        let at = *self.cluster.alive().last().unwrap();
        match self.outcome(at, "z", &old)? {
            Outcome::Updated { .. } => Ok(first),
            Outcome::Mismatch { found } => {
                Err(format!("a further update of {old} found {found:?}"))
            }
        }
    }

    fn outcome(&mut self, at: ReplicaId, new: &'static str, old: &str) -> Result<Outcome, String> {
        match self.insist(|cluster| update(cluster, at, new, old))? {
            Reply::Update(outcome) => Ok(outcome),
            other => Err(format!("an update was answered by {other:?}")),
        }
    }

    /// Asks until it is answered: a node that has just come back, or was cut off, refuses at first.
    fn insist(&mut self, ask: impl Fn(&mut Cluster) -> Token) -> Result<Reply, String> {
        for _ in 0..TRIES_MAX {
            let token = ask(&mut self.cluster);
            let is_answered = |cluster: &Cluster| cluster.replies.contains_key(&token);
            self.cluster.settle("answered", is_answered)?;
            match self.cluster.replies.get(&token) {
                Some(Ok(reply)) => return Ok(reply.clone()),
                Some(Err(_)) => self.cluster.run_for(LATER_MS / TRIES_MAX),
                None => break,
            }
        }
        Err("refused again and again".to_owned())
    }

    /// Whoever is missing comes back, what was delayed arrives, and everything is alike.
    fn end(&mut self, play: &Play) -> Result<(), String> {
        let at = self.places[play.role];
        if !self.cluster.is_alive(at) {
            self.cluster.start(at);
        }
        self.cluster.settle("at rest", Cluster::is_at_rest)?;
        self.cluster.release_delayed();
        if self.has_writes && self.cluster.mode != Mode::Memory {
            // Whoever has forgotten what it wrote gives its number again.
            write(&mut self.cluster, at, "y", Level::One);
        }
        self.cluster.run_for(LATER_MS / TRIES_MAX);
        self.cluster.settle("at rest", Cluster::is_at_rest)?;
        let wrong = self.cluster.verdict();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(wrong.join("\n"))
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn id(of: &str) -> UpdateId {
    UpdateId {
        origin: of.to_owned(),
        sequence: 1,
    }
}

/// Notes the question; the place of the operation in the history.
fn note(cluster: &mut Cluster, replica: Option<ReplicaId>, action: Action) -> usize {
    let operation = Operation {
        process: "client".to_owned(),
        session: None,
        record: RECORD.to_owned(),
        replica,
        invoked_at: cluster.clock,
        action,
    };
    cluster.recorder.asked(operation)
}

/// The update that makes `new` of `old`; its id is that of `new`.
pub fn update(cluster: &mut Cluster, at: ReplicaId, new: &str, old: &str) -> Token {
    let (old, new, id) = (Some(bytes(old)), Some(bytes(new)), id(new));
    let action = Action::Update {
        id: id.clone(),
        test: Test::Value(old.clone()),
        new: new.clone(),
        answer: None,
    };
    let place = note(cluster, None, action);
    let update = Update {
        id,
        record: RECORD.to_owned(),
        ask: Ask::IfValueIs { old, new },
        task: None,
    };
    cluster.ask(at, place, |token| Input::UpdateIf { token, update })
}

/// A linearizable read.
pub fn read(cluster: &mut Cluster, at: ReplicaId) -> Token {
    let action = Action::Read {
        kind: ReadKind::Linearizable,
        answer: None,
    };
    let place = note(cluster, None, action);
    let update = Update {
        id: id("read"),
        record: RECORD.to_owned(),
        ask: Ask::Read,
        task: None,
    };
    cluster.ask(at, place, |token| Input::UpdateIf { token, update })
}

/// The newest version at one replica.
pub fn look(cluster: &mut Cluster, at: ReplicaId) -> Token {
    let action = Action::Read {
        kind: ReadKind::Local,
        answer: None,
    };
    let place = note(cluster, Some(at), action);
    cluster.ask(at, place, |token| Input::Read {
        token,
        record: RECORD.to_owned(),
        wanted: Wanted::NEWEST,
        wait_ms: 0,
    })
}

pub fn write(cluster: &mut Cluster, at: ReplicaId, value: &str, level: Level) -> Token {
    let (value, above) = (Some(bytes(value)), Version::NULL);
    let action = Action::Write {
        value: value.clone(),
        // Under fail-stop updates go on without a majority that has died: only all replicas bind them.
        level: match (level, cluster.mode) {
            (Level::Majority, Mode::FailStop | Mode::Memory) => Level::One,
            (level, _) => level,
        },
        answer: None,
    };
    let place = note(cluster, Some(at), action);
    cluster.ask(at, place, |token| Input::Write {
        token,
        id: UpdateId {
            origin: "write".to_owned(),
            sequence: token,
        },
        record: RECORD.to_owned(),
        value,
        level,
        above,
        task: None,
    })
}
