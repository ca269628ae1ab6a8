//! Random schedules of a cluster of cores: clients that repeat themselves, lost messages, cuts that heal, a crash, and
//! mostly a restart. A failure names its seed, which replays it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod world;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use common::types::CommitMode::{FailStop, Majority};
use common::types::{CommitMode, ReplicaId, Version};
use storage::core::message::Outcome;
use storage::core::{Level, Refusal, Reply, Token};
use world::{World, bytes};

const STEPS: u64 = 60;

/// Links that are cut, one way each.
type Cuts = Rc<RefCell<BTreeSet<(ReplicaId, ReplicaId)>>>;

struct Asked {
    at: ReplicaId,
    token: Token,
}

/// An update, and everywhere it was asked for.
struct Updating {
    record: String,
    old: Option<String>,
    asked: Vec<Asked>,
}

struct Schedule {
    seed: u64,
    commit: CommitMode,
    world: World,
    cuts: Cuts,
    /// Its plain writes die with its memory and their numbers are given again, so it makes none until then.
    victim: ReplicaId,
    updates: Vec<Updating>,
    /// The newest version that was read, by replica and record.
    read: BTreeMap<(ReplicaId, String), Version>,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let commit = if seed.is_multiple_of(2) {
            FailStop
        } else {
            Majority
        };
        let mut world = World::new(3, commit, seed);
        let cuts = Cuts::default();
        // Of a thousand messages so many are lost.
        let loss = [0, 20, 200][world.random(3) as usize];
        let (cut, mut chance) = (cuts.clone(), seed);
        world.filter = Box::new(move |from, to, _| {
            // Knuth's MMIX generator.
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % 1_000 >= loss && !cut.borrow().contains(&(from, to))
        });
        let victim = 1 + world.random(3) as ReplicaId;
        Self {
            seed,
            commit,
            world,
            cuts,
            victim,
            updates: Vec::new(),
            read: BTreeMap::new(),
        }
    }

    fn any_member(&mut self) -> ReplicaId {
        let joined = |replica: &ReplicaId| self.world.nodes[replica].core.is_joined();
        let members: Vec<_> = self.world.alive().into_iter().filter(joined).collect();
        members[self.world.random(members.len() as u64) as usize]
    }

    fn crash(&mut self) {
        let victim = self.victim;
        self.world.crash(victim);
        if self.commit == FailStop {
            self.world.certify(victim);
        }
        self.read.retain(|(replica, _), _| *replica != victim);
    }

    fn cut_or_heal(&mut self) {
        let (from, to) = (1 + self.world.random(3), 1 + self.world.random(3));
        let mut cuts = self.cuts.borrow_mut();
        match self.world.random(8) {
            0 => drop(cuts.insert((from as ReplicaId, to as ReplicaId))),
            1 | 2 => cuts.clear(),
            _ => {}
        }
    }

    /// I7: what is read at a replica never gets older.
    fn read(&mut self, at: ReplicaId, record: &str) -> Option<String> {
        let token = self.world.start_read(at, record, None, 0);
        let Ok(Reply::Read(found)) = self.world.reply(token) else {
            panic!("seed {}: a member refuses a read", self.seed)
        };
        let last = self.read.entry((at, record.to_owned())).or_default();
        assert!(*last <= found.version, "seed {}: I7 at {at}", self.seed);
        *last = found.version;
        found
            .value
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    fn ask(&mut self, at: ReplicaId, id: usize) {
        let update = &mut self.updates[id];
        let (old, new) = (update.old.as_deref(), format!("u{id}"));
        let token = self
            .world
            .start_update(at, id as u64, &update.record, old, &new);
        update.asked.push(Asked { at, token });
    }

    fn client_step(&mut self, step: u64) {
        let at = self.any_member();
        let record = format!("r{}", self.world.random(3));
        let old = self.read(at, &record);
        match self.world.random(5) {
            0 if at != self.victim => {
                self.world
                    .start_write(at, &record, &format!("w{step}"), Level::One);
            }
            1 if !self.updates.is_empty() => {
                let id = self.world.random(self.updates.len() as u64) as usize;
                self.ask(at, id);
            }
            _ => {
                let asked = Vec::new();
                self.updates.push(Updating { record, old, asked });
                self.ask(at, self.updates.len() - 1);
            }
        }
    }

    fn run(&mut self) {
        let crash_at = self.world.random(STEPS);
        let restart_at = crash_at + 1 + self.world.random(STEPS);
        for step in 0..STEPS {
            if step == crash_at {
                self.crash();
            }
            if step == restart_at {
                self.world.start(self.victim, false);
            }
            self.cut_or_heal();
            self.client_step(step);
            let pause_ms = self.world.random(60);
            self.world.run_for(pause_ms);
        }
        self.cuts.borrow_mut().clear();
        if !self.world.nodes.contains_key(&self.victim) {
            self.world.certify(self.victim);
        }
    }

    /// I5: the answers to one update, which are all alike.
    fn outcome(&mut self, id: usize) -> Option<Outcome> {
        let mut outcome = None;
        for Asked { at, token } in &self.updates[id].asked {
            // A dead node answers nobody, and what it was asked before its restart it does not know.
            let is_lost = *at == self.victim && !self.world.replies.contains_key(token);
            if is_lost {
                continue;
            }
            match self.world.reply(*token) {
                Ok(Reply::Update(this)) => {
                    let first = outcome.get_or_insert_with(|| this.clone());
                    assert_eq!(*first, this, "seed {}: I5 of {id}", self.seed);
                }
                Err(Refusal::NoQuorum(_) | Refusal::Joining) => {}
                other => panic!("seed {}: {id}: {other:?}", self.seed),
            }
        }
        outcome
    }

    fn check(&mut self) {
        let seed = self.seed;
        let mut bases = BTreeMap::new();
        let mut successes = Vec::new();
        for id in 0..self.updates.len() {
            let Some(Outcome::Updated { base, made }) = self.outcome(id) else {
                continue;
            };
            let record = self.updates[id].record.clone();
            let value = Some(bytes(&format!("u{id}")));
            assert_eq!(made.version, base.successor(), "seed {seed}: I3");
            assert_eq!(made.value, value, "seed {seed}: I5");
            assert_eq!(
                bases.insert((record.clone(), base), id),
                None,
                "seed {seed}: I2"
            );
            successes.push((record, made));
        }
        self.world.converge();
        for (record, made) in successes {
            for node in self.world.nodes.values() {
                let (versions, truncated) = node.core.history(&record).unwrap();
                let oldest = versions.last().unwrap().version;
                let is_kept = versions.contains(&made) || (truncated && made.version < oldest);
                assert!(
                    is_kept,
                    "seed {seed}: I4: {record} {} is lost",
                    made.version
                );
            }
        }
    }

    /// I5 after everything: every replica gives the answers that were given before.
    fn repeat_all(&mut self) {
        for id in 0..self.updates.len() {
            for at in self.world.alive() {
                self.ask(at, id);
            }
            self.outcome(id);
        }
        self.world.converge();
    }
}

/// `STORAGE_SEEDS=A..B` runs others.
#[test]
fn random_schedules_with_a_crash_keep_the_invariants() {
    let seeds = std::env::var("STORAGE_SEEDS").unwrap_or("0..150".to_owned());
    let (first, end) = seeds.split_once("..").unwrap();
    for seed in first.parse().unwrap()..end.parse().unwrap() {
        // Shown when the test fails.
        println!("seed {seed}");
        let mut schedule = Schedule::new(seed);
        schedule.run();
        schedule.check();
        schedule.repeat_all();
    }
}
