//! A cluster of cores in one thread with virtual time: latency, cuts, crashes and restarts from a seed.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use common::chance::Chance;
use common::fabric::Address;
use common::placement::Placement;
use common::types::{
    CommitMode, PartitionId, RecordVersion, ReplicaId, Ring, UpdateId, Version, Wanted,
};
use storage::core::durable::{Durable, Founding};
use storage::core::message::{Ask, Message, Outcome, Update};
use storage::core::scan::Scan;
use storage::core::watch::Watch;
use storage::core::{
    Change, Envelope, Input, Level, Output, Refusal, Reply, Start, Storage, Token,
};

pub const TICK_MS: u64 = 25;
/// Virtual time after which a condition is given up.
pub const PATIENCE_MS: u64 = 600_000;

pub struct Node {
    pub core: Storage,
    pub incarnation: u64,
}

struct Letter {
    from: ReplicaId,
    to: ReplicaId,
    incarnation: u64,
    message: Message,
}

/// Looks at a message before it is sent; false loses it.
type Filter = Box<dyn FnMut(ReplicaId, ReplicaId, &Message) -> bool>;

pub struct World {
    pub now_ms: u64,
    pub nodes: BTreeMap<ReplicaId, Node>,
    ring: Ring,
    delay_ms: u64,
    jitter_ms: u64,
    chance: Chance,
    letters: BTreeMap<(u64, u64), Letter>,
    /// One link delivers in order, as the fabric does.
    last_due_ms: BTreeMap<(ReplicaId, ReplicaId), u64>,
    sequence: u64,
    pub filter: Filter,
    pub replies: BTreeMap<Token, Result<Reply, Refusal>>,
    asked_at: BTreeMap<Token, ReplicaId>,
    /// Every version that any node ever made visible, by record.
    pub made: BTreeMap<(String, Version), Option<Bytes>>,
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl World {
    /// `nodes` replicas, each record on all of them.
    pub fn new(nodes: u32, commit: CommitMode, seed: u64) -> Self {
        let members = (1..=nodes).map(|id| {
            (
                format!("s{id}"),
                Address::parse(&format!("localhost:{id}")).unwrap(),
            )
        });
        let ring = Ring::new(members.collect(), Some(nodes), commit, 10).unwrap();
        let mut world = Self {
            now_ms: 0,
            nodes: BTreeMap::new(),
            ring,
            delay_ms: 0,
            jitter_ms: 20,
            chance: Chance::new(seed),
            letters: BTreeMap::new(),
            last_due_ms: BTreeMap::new(),
            sequence: 0,
            filter: Box::new(|_, _, _| true),
            replies: BTreeMap::new(),
            asked_at: BTreeMap::new(),
            made: BTreeMap::new(),
        };
        (1..=nodes).for_each(|replica| world.start(replica, true));
        world
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.chance.below(below)
    }

    pub fn start(&mut self, replica: ReplicaId, fresh: bool) {
        self.start_with(replica, fresh, &[]);
    }

    /// A node whose data has seen these changes.
    pub fn start_with(&mut self, replica: ReplicaId, fresh: bool, changes: &[Change]) {
        self.sequence += 1;
        let mut durable = Durable::new(Founding {
            replica,
            ring: self.ring.clone(),
            disk: 0,
            replaces: false,
            incarnation: self.sequence,
        });
        let start = if fresh {
            durable.apply(&Change::Joined);
            Start::Fresh
        } else {
            Start::Restarted
        };
        for change in changes {
            durable.apply(change);
        }
        let core = Storage::new(self.now_ms, self.delay_ms, durable, start);
        self.nodes.insert(
            replica,
            Node {
                core,
                incarnation: self.sequence,
            },
        );
    }

    /// The node dies at once; messages that have left it still arrive.
    pub fn crash(&mut self, replica: ReplicaId) {
        self.nodes.remove(&replica).unwrap();
    }

    pub fn certify(&mut self, dead: ReplicaId) {
        self.certify_incarnation(dead, 0);
    }

    /// One life of the replica has ended; the certificate may come when the next one runs already.
    pub fn certify_incarnation(&mut self, dead: ReplicaId, incarnation: u64) {
        for replica in self.alive() {
            let certificate = Input::CertifyDeath {
                token: None,
                replica: dead,
                incarnation,
            };
            self.step(replica, certificate);
        }
    }

    /// The replicas of a record in ring order: the first one believed alive coordinates.
    pub fn replicas(&self, record: &str) -> Vec<ReplicaId> {
        Placement::new(&self.ring).replicas_of(record).to_vec()
    }

    /// A message that was under way for long arrives now.
    pub fn deliver(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        let incarnation = self.nodes[&from].incarnation;
        self.take(from, to, incarnation, message);
    }

    fn take(&mut self, from: ReplicaId, to: ReplicaId, incarnation: u64, message: Message) {
        let envelope = Envelope {
            from,
            incarnation,
            disk: 0,
            ring: self.ring.settings_hash(),
            message,
        };
        self.step(to, Input::Peer(Box::new(envelope)));
    }

    pub fn alive(&self) -> Vec<ReplicaId> {
        self.nodes.keys().copied().collect()
    }

    pub fn coordinator(&self, record: &str) -> ReplicaId {
        self.nodes[&1]
            .core
            .coordinator_of(self.now_ms, record)
            .unwrap()
    }

    fn step(&mut self, replica: ReplicaId, input: Input) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        let mut outputs = Vec::new();
        node.core.step(self.now_ms, input, &mut outputs);
        node.core.step(self.now_ms, Input::Flush, &mut outputs);
        let incarnation = node.incarnation;
        for output in outputs {
            match output {
                Output::Persist(change) => self.note(&change),
                Output::Reply { token, reply, .. } => drop(self.replies.insert(token, reply)),
                Output::Halt(halt) => panic!("{replica}: {halt}"),
                Output::Send { to, message } => {
                    if (self.filter)(replica, to, &message) {
                        let latency_ms = self.delay_ms + 1 + self.random(self.jitter_ms);
                        let last_ms = self.last_due_ms.entry((replica, to)).or_default();
                        *last_ms = (self.now_ms + latency_ms).max(*last_ms);
                        self.sequence += 1;
                        let letter = Letter {
                            from: replica,
                            to,
                            incarnation,
                            message,
                        };
                        self.letters.insert((*last_ms, self.sequence), letter);
                    }
                }
            }
        }
    }

    /// I8: a version names one value for ever.
    fn note(&mut self, change: &storage::core::Change) {
        for (record, made) in storage::core::client::visible(change) {
            let known = self
                .made
                .entry((record.clone(), made.version))
                .or_insert_with(|| made.value.clone());
            assert_eq!(
                *known, made.value,
                "I8: {record} {} names two values",
                made.version
            );
        }
    }

    /// Takes the world to the next event: a message or a tick of all nodes.
    fn advance(&mut self) {
        let tick_ms = (self.now_ms / TICK_MS + 1) * TICK_MS;
        match self
            .letters
            .first_key_value()
            .map(|((due_ms, _), _)| *due_ms)
        {
            Some(due_ms) if due_ms < tick_ms => {
                let ((due_ms, _), letter) = self.letters.pop_first().unwrap();
                self.now_ms = due_ms;
                let Letter {
                    from,
                    to,
                    incarnation,
                    message,
                } = letter;
                self.take(from, to, incarnation, message);
            }
            _ => {
                self.now_ms = tick_ms;
                self.alive()
                    .into_iter()
                    .for_each(|replica| self.step(replica, Input::Tick));
            }
        }
    }

    pub fn run_for(&mut self, duration_ms: u64) {
        let end_ms = self.now_ms + duration_ms;
        while self.now_ms < end_ms {
            self.advance();
        }
    }

    #[track_caller]
    pub fn run_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let end_ms = self.now_ms + PATIENCE_MS;
        while !condition(self) {
            assert!(
                self.now_ms < end_ms,
                "not within {PATIENCE_MS} ms of virtual time: {what}"
            );
            self.advance();
        }
    }

    pub fn ask(&mut self, at: ReplicaId, input: impl FnOnce(Token) -> Input) -> Token {
        self.sequence += 1;
        let token = self.sequence;
        self.asked_at.insert(token, at);
        self.step(at, input(token));
        token
    }

    pub fn start_update(
        &mut self,
        at: ReplicaId,
        id: u64,
        record: &str,
        old: Option<&str>,
        new: &str,
    ) -> Token {
        let ask = Ask::IfValueIs {
            old: old.map(bytes),
            new: Some(bytes(new)),
        };
        self.start_asking(at, id, record, ask)
    }

    #[track_caller]
    pub fn update_version(
        &mut self,
        at: ReplicaId,
        id: u64,
        record: &str,
        old: Version,
        new: &str,
    ) -> Outcome {
        let new = Some(bytes(new));
        let token = self.start_asking(at, id, record, Ask::IfVersionIs { old, new });
        match self.reply(token) {
            Ok(Reply::Update(outcome)) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// As [`read`](Self::read).
    #[track_caller]
    pub fn read_linearizable(&mut self, at: ReplicaId, id: u64, record: &str) -> String {
        let token = self.start_asking(at, 1_000 + id, record, Ask::Read);
        match self.reply(token) {
            Ok(Reply::Read(found) | Reply::Update(Outcome::Mismatch { found })) => show(&found),
            other => panic!("{other:?}"),
        }
    }

    fn start_asking(&mut self, at: ReplicaId, id: u64, record: &str, ask: Ask) -> Token {
        let id = UpdateId {
            origin: "test".to_owned(),
            sequence: id,
        };
        let update = Update {
            id,
            record: record.to_owned(),
            ask,
            task: None,
        };
        self.ask(at, |token| Input::UpdateIf { token, update })
    }

    pub fn start_write(&mut self, at: ReplicaId, record: &str, value: &str, level: Level) -> Token {
        self.start_writing(at, record, Some(bytes(value)), level)
    }

    pub fn start_delete(&mut self, at: ReplicaId, record: &str) -> Token {
        self.start_writing(at, record, None, Level::One)
    }

    fn start_writing(
        &mut self,
        at: ReplicaId,
        record: &str,
        value: Option<Bytes>,
        level: Level,
    ) -> Token {
        let record = record.to_owned();
        self.ask(at, |token| Input::Write {
            token,
            id: UpdateId {
                origin: "write".to_owned(),
                sequence: token,
            },
            record,
            value,
            level,
            above: Version::NULL,
            task: None,
        })
    }

    pub fn start_read(
        &mut self,
        at: ReplicaId,
        record: &str,
        version: Option<&str>,
        wait_ms: u64,
    ) -> Token {
        let exactly = |version: &str| Wanted::Exactly(version.parse().unwrap());
        let wanted = version.map_or(Wanted::NEWEST, exactly);
        let record = record.to_owned();
        self.ask(at, |token| Input::Read {
            token,
            record,
            wanted,
            wait_ms,
        })
    }

    pub fn start_read_not_older(
        &mut self,
        at: ReplicaId,
        record: &str,
        not_older: Version,
        wait_ms: u64,
    ) -> Token {
        let (record, wanted) = (record.to_owned(), Wanted::Newest { not_older });
        self.ask(at, |token| Input::Read {
            token,
            record,
            wanted,
            wait_ms,
        })
    }

    pub fn start_watch(&mut self, at: ReplicaId, watch: Watch, wait_ms: u64) -> Token {
        self.ask(at, |token| Input::Watch {
            token,
            watch,
            wait_ms,
        })
    }

    pub fn start_scan(&mut self, at: ReplicaId, scan: Scan) -> Token {
        self.ask(at, |token| Input::Scan { token, scan })
    }

    pub fn partitions(&self) -> Range<PartitionId> {
        0..self.ring.partitions
    }

    /// From now on nothing can be kept at a node, or everything again.
    pub fn read_only(&mut self, at: ReplicaId, reason: Option<&str>) {
        self.step(at, Input::ReadOnly(reason.map(str::to_owned)));
    }

    #[track_caller]
    pub fn reply(&mut self, token: Token) -> Result<Reply, Refusal> {
        self.run_until("an answer", |world| world.replies.contains_key(&token));
        self.replies[&token].clone()
    }

    #[track_caller]
    pub fn update(
        &mut self,
        at: ReplicaId,
        id: u64,
        record: &str,
        old: Option<&str>,
        new: &str,
    ) -> Outcome {
        let token = self.start_update(at, id, record, old, new);
        match self.reply(token) {
            Ok(Reply::Update(outcome)) => outcome,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn write(&mut self, at: ReplicaId, record: &str, value: &str, level: Level) -> Version {
        let token = self.start_write(at, record, value, level);
        match self.reply(token) {
            Ok(Reply::Written(version)) => version,
            other => panic!("{other:?}"),
        }
    }

    /// `VERSION=VALUE` of the newest version at a replica, or `-`.
    #[track_caller]
    pub fn read(&mut self, at: ReplicaId, record: &str) -> String {
        let token = self.start_read(at, record, None, 0);
        match self.reply(token) {
            Ok(Reply::Read(found)) => show(&found),
            other => panic!("{other:?}"),
        }
    }

    /// All live nodes are members, have nothing left to say, and hold the same versions.
    #[track_caller]
    pub fn converge(&mut self) {
        let at_rest = |node: &Node| {
            node.core.is_joined()
                && node.core.unspread_count() == 0
                && node.core.undecided_count() == 0
        };
        let contents = |node: &Node| {
            node.core
                .list("")
                .map(|(id, all)| (id.clone(), all))
                .collect::<Vec<_>>()
        };
        let end_ms = self.now_ms + PATIENCE_MS;
        loop {
            // Looking is dear, so it is not done after every message.
            self.run_for(4 * TICK_MS);
            let distinct: BTreeSet<_> = self.nodes.values().map(contents).collect();
            if distinct.len() <= 1 && self.nodes.values().all(at_rest) {
                return;
            }
            let state = |(replica, node): (&ReplicaId, &Node)| {
                format!(
                    "{replica}: joined {}, unspread {}, undecided {}",
                    node.core.is_joined(),
                    node.core.unspread_count(),
                    node.core.undecided_count()
                )
            };
            assert!(
                self.now_ms < end_ms,
                "no convergence within {PATIENCE_MS} ms of virtual time; {} contents; {:?}",
                distinct.len(),
                self.nodes.iter().map(state).collect::<Vec<_>>()
            );
        }
    }
}

pub fn show(found: &RecordVersion) -> String {
    match &found.value {
        Some(value) => format!("{}={}", found.version, String::from_utf8_lossy(value)),
        None => "-".to_owned(),
    }
}

pub fn made(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Updated { made, .. } => show(made),
        Outcome::Mismatch { found } => format!("mismatch {}", show(found)),
    }
}
