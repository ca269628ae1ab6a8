//! A cluster of cores under lost messages, cuts and a crash, seen by its clients: the checkers find nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use common::types::CommitMode::{FailStop, Majority};
use common::types::{CommitMode, RecordVersion, ReplicaId, Version};
use history::{Action, Answer, FinalState, History, Operation, ReadKind, Test, check_all};
use storage::core::message::Outcome;
use storage::core::{Level, Reply, Token};

use crate::told::{id, operation};
use crate::world::{World, bytes};

const STEPS: u64 = 60;
const RECORDS: [&str; 3] = ["r", "s", "t"];

type Cuts = Rc<RefCell<BTreeSet<(ReplicaId, ReplicaId)>>>;

struct Clients {
    world: World,
    cuts: Cuts,
    victim: ReplicaId,
    history: History,
    /// Operations that wait for an answer.
    open: BTreeMap<Token, usize>,
    /// Updates, to be repeated.
    asked: Vec<(String, Option<String>)>,
}

impl Clients {
    fn new(seed: u64, commit: CommitMode) -> Self {
        let mut world = World::new(3, commit, seed);
        let cuts = Cuts::default();
        let cut = cuts.clone();
        world.filter = Box::new(move |from, to, _| !cut.borrow().contains(&(from, to)));
        let victim = 1 + world.random(3) as ReplicaId;
        Self {
            world,
            cuts,
            victim,
            history: History::default(),
            open: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    fn note(&mut self, at: ReplicaId, record: &str, token: Token, action: Action) {
        let mut operation = operation(self.world.now_ms, action);
        record.clone_into(&mut operation.record);
        operation.replica = Some(at);
        self.open.insert(token, self.history.operations.len());
        self.history.operations.push(operation);
    }

    fn read(&mut self, at: ReplicaId, record: &str) -> Option<String> {
        let token = self.world.start_read(at, record, None, 0);
        let kind = ReadKind::Local;
        self.note(at, record, token, Action::Read { kind, answer: None });
        let Ok(Reply::Read(found)) = &self.world.replies[&token] else {
            panic!("a member refuses a read")
        };
        let text = found.value.as_ref();
        text.map(|value| String::from_utf8_lossy(value).into_owned())
    }

    fn write(&mut self, at: ReplicaId, record: &str, text: &str, level: Level) {
        let token = self.world.start_write(at, record, text, level);
        let (value, answer) = (Some(bytes(text)), None);
        let action = Action::Write {
            value,
            level,
            answer,
        };
        self.note(at, record, token, action);
    }

    fn update(&mut self, at: ReplicaId, index: usize) {
        let (record, old) = self.asked[index].clone();
        let new = format!("u{index}");
        let token = self
            .world
            .start_update(at, index as u64, &record, old.as_deref(), &new);
        let mut id = id("test");
        id.sequence = index as u64;
        let action = Action::Update {
            id,
            test: Test::Value(old.as_deref().map(bytes)),
            new: Some(bytes(&new)),
            answer: None,
        };
        self.note(at, &record, token, action);
    }

    /// Takes the answers that have come. A refusal may follow an attempt, so that the outcome is unknown.
    fn collect(&mut self) {
        let now_ms = self.world.now_ms;
        let replies = &self.world.replies;
        let operations: &mut Vec<Operation> = &mut self.history.operations;
        self.open.retain(|token, index| {
            let Some(reply) = replies.get(token) else {
                return true;
            };
            let at = now_ms;
            match (reply, &mut operations[*index].action) {
                (Ok(Reply::Read(found)), Action::Read { answer, .. }) => {
                    let result = found.clone();
                    *answer = Some(Answer { at, result });
                }
                (Ok(Reply::Written(version)), Action::Write { answer, .. }) => {
                    let result = *version;
                    *answer = Some(Answer { at, result });
                }
                (Ok(Reply::Update(outcome)), Action::Update { answer, .. }) => {
                    let result = outcome.clone();
                    *answer = Some(Answer { at, result });
                }
                (Err(_), _) => {}
                other => panic!("{other:?}"),
            }
            false
        });
    }

    fn client_step(&mut self, step: u64) {
        let joined = |replica: &ReplicaId| self.world.nodes[replica].core.is_joined();
        let members: Vec<_> = self.world.alive().into_iter().filter(joined).collect();
        let at = members[self.world.random(members.len() as u64) as usize];
        let record = RECORDS[self.world.random(3) as usize];
        let old = self.read(at, record);
        let level = [Level::One, Level::Majority, Level::All][self.world.random(3) as usize];
        match self.world.random(5) {
            // Its writes die with its memory and their numbers are given again.
            0 | 1 if at != self.victim => self.write(at, record, &format!("w{step}"), level),
            2 if !self.asked.is_empty() => {
                let index = self.world.random(self.asked.len() as u64) as usize;
                self.update(at, index);
            }
            _ => {
                self.asked.push((record.to_owned(), old));
                self.update(at, self.asked.len() - 1);
            }
        }
        let (from, to) = (1 + self.world.random(3), 1 + self.world.random(3));
        match self.world.random(8) {
            0 => drop(self.cuts.borrow_mut().insert((from as u32, to as u32))),
            1 | 2 => self.cuts.borrow_mut().clear(),
            _ => {}
        }
    }

    fn run(&mut self, commit: CommitMode) {
        let crash_at = self.world.random(STEPS);
        for step in 0..STEPS {
            if step == crash_at {
                self.world.crash(self.victim);
                self.history.lost.insert(self.victim);
                if commit == FailStop {
                    self.world.certify(self.victim);
                }
            }
            if step == crash_at + 10 {
                self.world.start(self.victim, false);
            }
            self.client_step(step);
            for _ in 0..self.world.random(60) {
                self.world.run_for(1);
                self.collect();
            }
        }
        self.cuts.borrow_mut().clear();
        if !self.world.nodes.contains_key(&self.victim) {
            self.world.certify(self.victim);
        }
        self.world.converge();
        self.collect();
    }

    fn finals(&mut self) {
        for record in RECORDS {
            let states = self.world.nodes.iter().map(|(replica, node)| {
                let (versions, truncated) = node.core.history(record).unwrap();
                let oldest = versions.last().map(|held| held.version);
                let floor = oldest.filter(|_| truncated).unwrap_or(Version::NULL);
                (*replica, FinalState { versions, floor })
            });
            let states = states.collect();
            self.history.finals.insert(record.to_owned(), states);
        }
    }
}

/// What the clients of one random schedule have seen.
fn schedule(seed: u64) -> History {
    let commit = if seed.is_multiple_of(2) {
        FailStop
    } else {
        Majority
    };
    let mut clients = Clients::new(seed, commit);
    clients.run(commit);
    clients.finals();
    clients.history
}

#[track_caller]
fn accept(seed: u64, history: &History) {
    let lines: Vec<_> = check_all(history).iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "seed {seed}:\n{}", lines.join("\n"));
}

#[test]
fn a_cluster_under_faults_raises_no_alarm() {
    for seed in 0..60 {
        accept(seed, &schedule(seed));
    }
}

/// Breaks a history; false: it has nothing to break.
type Sabotage = fn(&mut History) -> bool;

const SABOTAGES: [(&str, Sabotage); 4] = [
    ("a replica lacks the newest version", |history| {
        let states = history.finals.values_mut().flatten();
        let newest = |(_, state): (_, &mut FinalState)| {
            let newest = state.versions.iter().map(|held| held.version).max();
            let kept = state.versions.len();
            state.versions.retain(|held| Some(held.version) != newest);
            state.versions.len() < kept
        };
        states.take(1).any(newest)
    }),
    ("a write that was seen was never asked for", |history| {
        let states = &mut history.finals["r"].values();
        let seen = states.next().unwrap().versions.clone();
        let is_seen = |operation: &Operation| {
            matches!(operation.action, Action::Write { .. })
                && operation.record == "r"
                && seen
                    .iter()
                    .any(|held| Some(held.version) == operation.version())
        };
        let operations = history.operations.len();
        history.operations.retain(|operation| !is_seen(operation));
        history.operations.len() < operations
    }),
    ("an update forgets the ones before", |history| {
        let mut last = None;
        for operation in &mut history.operations {
            if let Action::Update {
                answer: Some(Answer { result, .. }),
                ..
            } = &mut operation.action
                && let Outcome::Updated { base, made } = result
                && base.step > 0
            {
                last = Some((base, made));
            }
        }
        last.is_some_and(|(base, made)| {
            base.step -= 1;
            made.version = base.successor();
            true
        })
    }),
    ("a failed update says that it succeeded", |history| {
        history.operations.iter_mut().any(|operation| {
            let Action::Update {
                answer: Some(Answer { result, .. }),
                new,
                ..
            } = &mut operation.action
            else {
                return false;
            };
            let Outcome::Mismatch { found } = result else {
                return false;
            };
            let base = found.version;
            let (version, value) = (base.successor(), new.clone());
            let made = RecordVersion { version, value };
            *result = Outcome::Updated { base, made };
            true
        })
    }),
];

#[test]
fn a_cluster_that_breaks_a_promise_is_found_out() {
    for (what, sabotage) in SABOTAGES {
        let mut found = 0;
        for seed in 0..20 {
            let mut history = schedule(seed);
            if sabotage(&mut history) {
                assert!(!check_all(&history).is_empty(), "seed {seed}: {what}");
                found += 1;
            }
        }
        assert!(found > 3, "{what}: in {found} schedules");
    }
}
