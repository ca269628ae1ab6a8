//! What a state of the model is made of: real cores on their durable data, and letters on their way.

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use common::fabric::Address;
use common::placement::Placement;
use common::types::{CommitMode, RecordVersion, ReplicaId, Ring, UpdateId, Version};
use storage::core::durable::{Durable, Founding};
use storage::core::message::{Ballot, Message};
use storage::core::planted::Bug;
use storage::core::record::{Record, RecordChange};
use storage::core::updates::Updates;
use storage::core::{Change, Envelope, Input, Output, Start, Storage};
use storage::hold::Hold;
use xxhash_rust::xxh3::Xxh3;

use crate::config::{Config, Fault};

pub const RECORD: &str = "r";
/// More than every patience of the core: whatever was due before is due after it, and whoever was silent is suspected.
/// Less than what makes clients give up, however often a node's time is over.
const TIMEOUT_MS: u64 = 7_000;
/// The version that every node has at the beginning.
pub const FIRST: Version = Version {
    number: 1,
    replica: 1,
    step: 0,
};
/// Nothing is ever discarded.
const VERSIONS_MAX: u32 = 1_000;

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn update_id(sequence: u64) -> UpdateId {
    let origin = "u".to_owned();
    UpdateId { origin, sequence }
}

pub fn fingerprint(of: &impl Hash) -> u64 {
    let mut hasher = Xxh3::new();
    of.hash(&mut hasher);
    hasher.finish()
}

pub fn ring(nodes: u32, commit: CommitMode) -> Ring {
    let address = |id| Address::parse(&format!("localhost:{id}")).unwrap();
    let members = (1..=nodes).map(|id| (format!("s{id}"), address(id)));
    let ring = Ring::new(members.collect(), Some(nodes), commit, VERSIONS_MAX).unwrap();
    Ring {
        partitions: 1,
        ..ring
    }
}

/// The replicas in ring order: the first coordinates.
pub fn places(ring: &Ring) -> Vec<ReplicaId> {
    Placement::new(ring).replicas_of(RECORD).to_vec()
}

/// A message on its way.
#[derive(Debug)]
pub struct Letter {
    pub to: ReplicaId,
    pub envelope: Envelope,
    pub fingerprint: u64,
}

impl Letter {
    pub fn new(to: ReplicaId, envelope: Envelope) -> Self {
        let fingerprint = fingerprint(&(to, &envelope));
        Self {
            to,
            envelope,
            fingerprint,
        }
    }

    /// Lost as well as delivered: ballots and slots only rise, so it will never matter again. Not so under a planted
    /// bug that makes them fall.
    pub fn is_moot_at(&self, node: &Node) -> bool {
        let Updates {
            promised, decided, ..
        } = node.updates();
        match &self.envelope.message {
            Message::Prepare { term, .. } | Message::Vote { term, .. } => term.ballot < *promised,
            Message::Commit { ballot, .. } => ballot < promised,
            Message::Committed { ballot, slot, .. } => ballot < promised || slot <= decided,
            _ => false,
        }
    }
}

/// A disk that takes its time.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    pub hold: Hold,
    pub changes: Vec<Change>,
}

/// A storage node: the core, and what it would find after a crash.
#[derive(Clone)]
pub struct Node {
    pub core: Storage,
    /// The changes that were made durable, and no other.
    pub durable: Durable,
    pub is_alive: bool,
    /// What waits for its disk; absent: what it orders is durable at once.
    pub lag: Option<Lag>,
    /// Its clock stands still until its patience is over: messages take no time.
    now_ms: u64,
    /// The latest life heard of each replica, by its id less one.
    heard: Vec<u64>,
    fingerprint: u64,
}

impl Node {
    pub fn new(config: &Config, ring: &Ring, replica: ReplicaId) -> Self {
        let mut durable = Durable::new(Founding {
            replica,
            ring: ring.clone(),
            disk: u64::from(replica),
            replaces: false,
            incarnation: 1,
        });
        let disk = |replica| Change::Disk {
            replica,
            disk: u64::from(replica),
        };
        let others = ring.nodes.iter().map(|node| node.replica);
        let value = Some(bytes("a"));
        let first = RecordVersion {
            version: FIRST,
            value,
        };
        let first = Change::Record {
            record: RECORD.to_owned(),
            change: RecordChange::Merge(first),
        };
        let changes = others.filter(|other| *other != replica).map(disk);
        let changes = changes.chain([Change::Joined, first]);
        changes.for_each(|change| durable.apply(&change));
        let mut node = Self {
            core: start(config, 0, &durable, Start::Fresh),
            durable,
            is_alive: true,
            lag: None,
            now_ms: 0,
            heard: vec![1; ring.nodes.len()],
            fingerprint: 0,
        };
        let outputs = node.hear_all();
        assert!(outputs.is_empty(), "before anything happened: {outputs:?}");
        node.seal();
        node
    }

    pub fn replica(&self) -> ReplicaId {
        self.durable.founding.replica
    }

    pub fn incarnation(&self) -> u64 {
        self.durable.founding.incarnation
    }

    pub fn record(&self) -> &Record {
        self.durable.record(RECORD).unwrap()
    }

    /// As they will be found after a crash.
    pub fn updates(&self) -> &Updates {
        self.record().updates()
    }

    pub fn promised(&self) -> Ballot {
        self.updates().promised
    }

    /// To be called when all changes of a step were made: the node is not changed in place afterwards.
    pub fn seal(&mut self) {
        let volatile = (&self.core, self.now_ms, &self.heard);
        let lag = self.lag.as_ref().map(|lag| format!("{lag:?}"));
        self.fingerprint = fingerprint(&(volatile, &self.durable, self.is_alive, lag));
    }

    /// Lets the core take an input and end the batch.
    pub fn step(&mut self, input: Input) -> Vec<Output> {
        if let Input::Peer(envelope) = &input {
            let heard = self.heard_of(envelope.from);
            *heard = envelope.incarnation.max(*heard);
        }
        let mut outputs = Vec::new();
        self.core.step(self.now_ms, input, &mut outputs);
        self.core.step(self.now_ms, Input::Flush, &mut outputs);
        outputs
    }

    /// The node's patience is over with whatever it waits for, and it takes those before it in ring order for dead: it is
    /// the one to coordinate. Then it hears of them.
    pub fn time_out(&mut self) -> Vec<Output> {
        self.now_ms += TIMEOUT_MS;
        let replicas = self.durable.placement.replicas_of(RECORD).to_vec();
        let behind = replicas
            .into_iter()
            .skip_while(|other| *other != self.replica());
        let mut outputs = self.hear(behind.skip(1).collect());
        outputs.extend(self.step(Input::Tick));
        outputs.extend(self.hear_all());
        outputs
    }

    fn heard_of(&mut self, replica: ReplicaId) -> &mut u64 {
        &mut self.heard[replica as usize - 1]
    }

    fn others(&self) -> Vec<ReplicaId> {
        let replicas = (1..).take(self.heard.len());
        replicas.filter(|other| *other != self.replica()).collect()
    }

    /// A heartbeat of each other node, as equal as can be: the repair of lasting differences is left to simulation.
    fn hear_all(&mut self) -> Vec<Output> {
        self.hear(self.others())
    }

    fn hear(&mut self, others: Vec<ReplicaId>) -> Vec<Output> {
        let mut outputs = Vec::new();
        for from in others {
            let message = Message::Heartbeat {
                gossip_delay_ms: 0,
                joining: false,
                replaces: false,
                hash: self.core.durable().hash(0),
            };
            let heartbeat = Envelope {
                from,
                incarnation: *self.heard_of(from),
                disk: u64::from(from),
                ring: self.core.ring().settings_hash(),
                message,
            };
            outputs.extend(self.step(Input::Peer(Box::new(heartbeat))));
        }
        outputs
    }

    pub fn envelope(&self, message: Message) -> Envelope {
        Envelope {
            from: self.replica(),
            incarnation: self.incarnation(),
            disk: u64::from(self.replica()),
            ring: self.core.ring().settings_hash(),
            message,
        }
    }

    /// A new life on the durable data.
    pub fn restart(&mut self, config: &Config) -> Vec<Output> {
        let mut founding = self.durable.founding.clone();
        founding.incarnation += 1;
        self.durable.apply(&Change::Founded(founding));
        self.is_alive = true;
        self.lag = None;
        self.core = start(config, self.now_ms, &self.durable, Start::Restarted);
        if config.fault == Fault::Return {
            // What it has to ask for leaves with its first tick.
            self.step(Input::Tick)
        } else {
            self.hear_all()
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("replica", &self.replica())
            .field("is_alive", &self.is_alive)
            .field("record", self.record())
            .finish_non_exhaustive()
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.fingerprint.hash(hasher);
    }
}

fn start(config: &Config, now_ms: u64, durable: &Durable, start: Start) -> Storage {
    let mut core = Storage::new(now_ms, 0, durable.clone(), start);
    // A fresh node has no number to give again.
    let is_early = start == Start::Fresh && config.bug == Some(Bug::NumberReusedAfterRestart);
    if let Some(bug) = config.bug.filter(|_| !is_early) {
        plant(&mut core, bug);
    }
    core
}

#[cfg(feature = "planted-bugs")]
fn plant(core: &mut Storage, bug: Bug) {
    core.plant(bug);
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(_: &mut Storage, bug: Bug) {
    panic!("{bug:?} needs the feature `planted-bugs`");
}
