//! A watcher in a simulation: it goes from replica to replica with the places that it was given, and in the end must
//! have been told the newest version of every record.
//!
//! It draws from a generator of its own and never ends a batch of a node, so that the rest of a run is as it would be
//! without it.

use std::collections::BTreeMap;

use common::types::{PartitionId, RecordId, RecordVersion, ReplicaId};

use super::cluster::Cluster;
use crate::core::watch::{News, Place, Watch};
use crate::core::{Input, Output, Refusal, Reply, Storage, Token};
use crate::node::Node;
use common::chance::Chance;

/// Of requests by the watcher; no client gets that far.
const TOKEN_MIN: Token = 1 << 48;
/// An answer is waited for this long.
const PATIENCE_MS: u64 = 3_000;
const WAIT_MS_MAX: u64 = 2_000;
const REST_MS_MAX: u64 = 300;
/// Few versions in one answer, so that answers are cut everywhere.
const LIMIT_MAX: u64 = 4;
/// It stays with a replica more often than not.
const SWITCH_PERCENT: u64 = 25;
/// More pages than this are never needed in the end.
const PAGES_MAX: u64 = 100_000;

#[derive(Debug)]
pub struct Watcher {
    chance: Chance,
    places: BTreeMap<PartitionId, Place>,
    /// The newest that it was told of each record.
    view: BTreeMap<RecordId, RecordVersion>,
    replica: ReplicaId,
    token: Token,
    is_waiting: bool,
    due_ms: u64,
}

impl Watcher {
    pub fn new(seed: u64, partitions: u32) -> Self {
        Self {
            chance: Chance::new(seed ^ 0xEE),
            places: (0..partitions).map(|id| (id, Place::Beginning)).collect(),
            view: BTreeMap::new(),
            replica: 1,
            token: TOKEN_MIN,
            is_waiting: false,
            due_ms: 0,
        }
    }

    /// When it is time, the replica that is asked next.
    fn turns_to(&mut self, now_ms: u64, replicas: &[ReplicaId]) -> Option<ReplicaId> {
        if now_ms < self.due_ms {
            return None;
        }
        if self.is_waiting || self.chance.percent(SWITCH_PERCENT) {
            self.replica = *self.chance.one_of(replicas)?;
        }
        self.due_ms = now_ms + PATIENCE_MS;
        Some(self.replica)
    }

    fn ask(&mut self, now_ms: u64, node: &mut Node) {
        self.token += 1;
        self.is_waiting = true;
        let wait_ms = self.chance.below(WAIT_MS_MAX);
        node.step(now_ms, self.request(wait_ms));
    }

    fn request(&mut self, wait_ms: u64) -> Input {
        let limit = self.chance.between(1, LIMIT_MAX);
        Input::Watch {
            token: self.token,
            watch: Watch {
                prefix: String::new(),
                places: self.places.clone(),
                limit: usize::try_from(limit).unwrap_or(1),
            },
            wait_ms,
        }
    }

    /// Takes its answers out of a node's outputs.
    pub fn hear(&mut self, now_ms: u64, outputs: Vec<Output>) -> Vec<Output> {
        let mut others = Vec::with_capacity(outputs.len());
        for output in outputs {
            match output {
                Output::Reply { token, reply, .. } if token >= TOKEN_MIN => {
                    self.answered(now_ms, token, reply);
                }
                other => others.push(other),
            }
        }
        others
    }

    fn answered(&mut self, now_ms: u64, token: Token, reply: Result<Reply, Refusal>) {
        // An answer that comes too late is not heard.
        if token != self.token {
            return;
        }
        // Who was refused asks another.
        self.is_waiting = reply.is_err();
        self.due_ms = now_ms + self.chance.below(REST_MS_MAX);
        if let Ok(Reply::Watch(news)) = reply {
            self.take(news);
        }
    }

    fn take(&mut self, news: News) {
        for told in news.told {
            let known = self.view.get(&told.record);
            if known.is_none_or(|known| known.version < told.made.version) {
                self.view.insert(told.record, told.made);
            }
        }
        self.places.extend(news.places);
    }

    /// Reads to the end at one replica; what it was told then differs from what that has, if so.
    fn finish(&mut self, now_ms: u64, core: &mut Storage) -> Option<String> {
        for _ in 0..PAGES_MAX {
            let before = self.places.clone();
            let mut outputs = Vec::new();
            core.step(now_ms, self.request(0), &mut outputs);
            let [
                Output::Reply {
                    reply: Ok(Reply::Watch(news)),
                    ..
                },
            ] = &mut *outputs
            else {
                return Some(format!("the watcher was answered by {outputs:?}"));
            };
            self.take(std::mem::take(news));
            if self.places == before {
                return self.difference(core);
            }
        }
        Some("the watcher never came to an end".to_owned())
    }

    fn difference(&self, core: &Storage) -> Option<String> {
        let records = core.durable().records().iter();
        let newest = records.map(|(id, record)| (id, record.newest()));
        let mut newest = newest.filter(|(_, newest)| !newest.version.is_null());
        let missed = |(id, newest): (&RecordId, RecordVersion)| {
            let told = self.view.get(id);
            (told != Some(&newest)).then(|| {
                format!("the watcher was told {told:?} of {id}, of which the newest is {newest:?}")
            })
        };
        newest.find_map(missed)
    }
}

impl Cluster {
    /// The watcher asks a node, if there is one.
    pub fn watch(&mut self) {
        let replicas = self.replicas();
        let Some(replica) = self.watcher.turns_to(self.now_ms, &replicas) else {
            return;
        };
        let machine = self.machines.get_mut(&replica);
        if let Some(life) = machine.and_then(|machine| machine.life.as_mut()) {
            self.watcher.ask(self.now_ms, &mut life.node);
        }
    }

    /// What the watcher has missed, if so.
    pub fn end_of_watch(&mut self) -> Option<String> {
        let machine = self.machines.values_mut().next()?;
        let core = &mut machine.life.as_mut()?.node.core;
        self.watcher.finish(self.now_ms, core)
    }
}
