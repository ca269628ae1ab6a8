//! Tasks in a simulation: workers that die at random, or are only taken for dead and go on beside the attempt that takes
//! their place; and in the end each task must have had its effect once.
//!
//! They draw from a generator of their own, and their records are theirs alone: no part of the history.

use std::collections::BTreeMap;

use common::types::{CommitMode, ReplicaId, TaskMark, UpdateId, Version};

use super::cluster::Cluster;
use super::task::{Attempt, COUNTERS, End, SWITCH, Task, mark_of, number_of};
use crate::core::fences::Forgotten;
use crate::core::message::{Ask, Update};
use crate::core::record::Record;
use crate::core::{Input, Output, Refusal, Reply, Storage, Token};
use common::chance::Chance;

/// Of requests by tasks; below those of the watcher.
const TOKEN_MIN: Token = 1 << 47;
const TOKEN_END: Token = 1 << 48;
/// An answer is waited for this long.
const PATIENCE_MS: u64 = 6_000;
const REST_MS_MAX: u64 = 120;
/// After so many questions of a hundred a worker dies.
const DEATH_PERCENT: u64 = 12;
/// And is only taken for dead.
const STRAY_PERCENT: u64 = 50;
const ATTEMPTS_MAX: u32 = 6;
/// After so many questions of a hundred by an attempt that has fenced the ones before, one of those asks for an update of
/// which it knows nothing: none such may be decided, whatever its coordinator has heard of the fence.
const PROBE_PERCENT: u64 = 25;
const PROBED: &str = "task-probed";

/// What tasks have come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Account {
    pub completed: u64,
    /// A version was discarded that they had to see; they may have had their effect.
    pub abandoned: u64,
    /// Attempts that took the place of others.
    pub retries: u64,
}

#[derive(Debug)]
pub struct Tasks {
    chance: Chance,
    token: Token,
    durable: bool,
    /// Not under fail-stop, where who is left may be one that missed the fence.
    probing: bool,
    slots: Vec<Slot>,
    /// The latest switch known, and the question for it that waits.
    switch: Version,
    switch_token: Token,
    /// Questions of attempts that were fenced before, by the tasks' origins.
    probes: BTreeMap<Token, String>,
    marked: Vec<Task>,
    pub account: Account,
    wrong: Vec<String>,
}

/// Where one task after the other is executed.
#[derive(Debug, Default)]
struct Slot {
    number: u64,
    current: Option<Worker>,
    /// Taken for dead.
    strays: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    attempt: Attempt,
    call: Option<Call>,
    due_ms: u64,
    end: Option<End>,
}

#[derive(Debug)]
struct Call {
    token: Token,
    to: ReplicaId,
    until_ms: u64,
}

type Asked = Vec<(ReplicaId, Input)>;

impl Tasks {
    pub fn new(seed: u64, slots: u64, durable: bool, commit: CommitMode) -> Self {
        Self {
            chance: Chance::new(seed ^ 0x7A5C),
            token: TOKEN_MIN,
            durable,
            probing: durable && commit == CommitMode::Majority,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            switch: Version::NULL,
            switch_token: 0,
            probes: BTreeMap::new(),
            marked: Vec::new(),
            account: Account::default(),
            wrong: Vec::new(),
        }
    }

    /// None is under way.
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(|slot| slot.current.is_none())
    }

    /// All that is asked now. `closing`: no task begins, and no worker dies.
    fn act(&mut self, now_ms: u64, replicas: &[ReplicaId], closing: bool) -> Asked {
        let mut asked = Asked::new();
        let mut slots = std::mem::take(&mut self.slots);
        for (place, slot) in slots.iter_mut().enumerate() {
            if slot.current.is_none() && !closing {
                self.begin(now_ms, place, slot);
                asked.extend(self.flip(replicas));
            }
            self.run_strays(now_ms, replicas, slot, &mut asked);
            self.run_current(now_ms, replicas, slot, closing, &mut asked);
        }
        self.slots = slots;
        asked
    }

    fn begin(&mut self, now_ms: u64, place: usize, slot: &mut Slot) {
        slot.number += 1;
        let task = Task {
            origin: format!("run/{place:02}/{:08}", slot.number),
            is_switched: self.durable && self.chance.percent(50),
            leaves_mark: self.durable,
        };
        slot.current = Some(self.worker(now_ms, Attempt::new(task, 1)));
    }

    fn worker(&mut self, now_ms: u64, attempt: Attempt) -> Worker {
        Worker {
            attempt,
            call: None,
            due_ms: now_ms + self.chance.below(REST_MS_MAX),
            end: None,
        }
    }

    /// Somebody turns the switch.
    fn flip(&mut self, replicas: &[ReplicaId]) -> Option<(ReplicaId, Input)> {
        let replica = *self.chance.one_of(replicas)?;
        self.token += 1;
        self.switch_token = self.token;
        let id = UpdateId {
            origin: "switch".to_owned(),
            sequence: self.token,
        };
        let update = Update {
            id,
            record: SWITCH.to_owned(),
            ask: Ask::IfVersionIs {
                old: self.switch,
                new: Some(self.chance.below(2).to_string().into()),
            },
            task: None,
        };
        let token = self.token;
        Some((replica, Input::UpdateIf { token, update }))
    }

    fn run_strays(
        &mut self,
        now_ms: u64,
        replicas: &[ReplicaId],
        slot: &mut Slot,
        asked: &mut Asked,
    ) {
        for mut worker in std::mem::take(&mut slot.strays) {
            match self.turn(now_ms, replicas, &mut worker) {
                Ok(input) => {
                    asked.extend(input);
                    slot.strays.push(worker);
                }
                Err(End::Wrong(wrong)) => self.wrong.push(wrong),
                Err(_) => {}
            }
        }
    }

    fn run_current(
        &mut self,
        now_ms: u64,
        replicas: &[ReplicaId],
        slot: &mut Slot,
        closing: bool,
        asked: &mut Asked,
    ) {
        let Some(mut worker) = slot.current.take() else {
            return;
        };
        match self.turn(now_ms, replicas, &mut worker) {
            Ok(None) => slot.current = Some(worker),
            Ok(Some(input)) => {
                asked.push(input);
                asked.extend(self.probe(replicas, &worker.attempt));
                let may_die = !closing && worker.attempt.number < ATTEMPTS_MAX;
                if may_die && self.chance.percent(DEATH_PERCENT) {
                    self.replace(now_ms, slot, worker);
                } else {
                    slot.current = Some(worker);
                }
            }
            Err(end) => {
                self.ended(&worker.attempt, end);
                asked.extend(self.forget(&worker.attempt.task, replicas));
                if closing || self.chance.percent(50) {
                    slot.strays.clear();
                }
            }
        }
    }

    /// An attempt whose place this one has taken goes on.
    fn probe(&mut self, replicas: &[ReplicaId], attempt: &Attempt) -> Option<(ReplicaId, Input)> {
        if !self.probing || !attempt.has_fenced() || !self.chance.percent(PROBE_PERCENT) {
            return None;
        }
        let replica = *self.chance.one_of(replicas)?;
        self.token += 1;
        let token = self.token;
        let origin = attempt.task.origin.clone();
        self.probes.insert(token, origin.clone());
        let update = Update {
            id: UpdateId {
                origin,
                sequence: token,
            },
            record: PROBED.to_owned(),
            ask: Ask::IfValueIs {
                old: None,
                new: Some("probed".into()),
            },
            task: Some(TaskMark {
                attempt: attempt.number - 1,
                note: Vec::new().into(),
            }),
        };
        Some((replica, Input::UpdateIf { token, update }))
    }

    fn replace(&mut self, now_ms: u64, slot: &mut Slot, worker: Worker) {
        let (task, number) = (worker.attempt.task.clone(), worker.attempt.number + 1);
        self.account.retries += 1;
        slot.current = Some(self.worker(now_ms, Attempt::new(task, number)));
        if self.chance.percent(STRAY_PERCENT) {
            slot.strays.push(worker);
        }
    }

    /// What a worker asks now, if it is its turn.
    fn turn(
        &mut self,
        now_ms: u64,
        replicas: &[ReplicaId],
        worker: &mut Worker,
    ) -> Result<Option<(ReplicaId, Input)>, End> {
        if let Some(end) = worker.end.take() {
            return Err(end);
        }
        let waits = worker
            .call
            .as_ref()
            .is_some_and(|call| now_ms < call.until_ms);
        if waits || now_ms < worker.due_ms {
            return Ok(None);
        }
        self.token += 1;
        let token = self.token;
        let (to, input) = worker.attempt.ask(token, replicas, &mut self.chance)?;
        let until_ms = now_ms + PATIENCE_MS;
        worker.call = Some(Call {
            token,
            to,
            until_ms,
        });
        Ok(Some((to, input)))
    }

    fn ended(&mut self, attempt: &Attempt, end: End) {
        match end {
            End::Done => {
                self.account.completed += 1;
                if attempt.task.leaves_mark {
                    self.marked.push(attempt.task.clone());
                }
            }
            End::Discarded => self.account.abandoned += 1,
            End::Fenced => {
                let origin = &attempt.task.origin;
                self.wrong
                    .push(format!("{origin}: the last attempt was fenced"));
            }
            End::Wrong(wrong) => self.wrong.push(wrong),
        }
    }

    /// A task is over: some nodes are told to forget it, and all before it in its slot.
    fn forget(&mut self, task: &Task, replicas: &[ReplicaId]) -> Asked {
        let (slot, _) = task.origin.rsplit_once('/').unwrap_or_default();
        let range = Forgotten {
            from: format!("{slot}/"),
            until: format!("{}/~", task.origin),
            except: [].into(),
        };
        let mut asked = Asked::new();
        for replica in replicas {
            if self.chance.percent(40) {
                self.token += 1;
                let (token, range) = (self.token, range.clone());
                asked.push((*replica, Input::Forget { token, range }));
            }
        }
        asked
    }

    /// Takes its answers out of a node's outputs.
    pub fn hear(&mut self, now_ms: u64, outputs: Vec<Output>) -> Vec<Output> {
        let mut others = Vec::with_capacity(outputs.len());
        for output in outputs {
            match output {
                Output::Reply { token, reply, .. } if (TOKEN_MIN..TOKEN_END).contains(&token) => {
                    self.answered(now_ms, token, reply);
                }
                other => others.push(other),
            }
        }
        others
    }

    fn answered(&mut self, now_ms: u64, token: Token, reply: Result<Reply, Refusal>) {
        if token == self.switch_token {
            if let Ok(Reply::Update(outcome)) = &reply {
                self.switch = outcome.newest().version;
            }
            return;
        }
        if let Some(origin) = self.probes.remove(&token) {
            if let Ok(Reply::Update(_)) = reply {
                let wrong = format!("{origin}: an update that a fenced attempt began was decided");
                self.wrong.push(wrong);
            }
            return;
        }
        let slots = self.slots.iter_mut();
        let mut workers = slots.flat_map(|slot| slot.current.iter_mut().chain(&mut slot.strays));
        // An answer that comes too late is not heard.
        let is_asked = |worker: &&mut Worker| {
            let call = worker.call.as_ref();
            call.is_some_and(|call| call.token == token)
        };
        if let Some(worker) = workers.find(is_asked)
            && let Some(call) = worker.call.take()
        {
            worker.due_ms = now_ms + self.chance.below(REST_MS_MAX);
            worker.end = worker.attempt.answered(call.to, reply).err();
        }
    }

    /// What is wrong with what the tasks did, as one node has it in the end.
    fn judge(&mut self, core: &Storage) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.wrong);
        let newest = |record: &str| core.durable().record(record).map(Record::newest);
        let count = |counter| newest(counter).map_or(0, |found| number_of(&found));
        let counted: u64 = COUNTERS.into_iter().map(count).sum();
        let Account {
            completed,
            abandoned,
            ..
        } = self.account;
        if !(completed..=completed + abandoned).contains(&counted) {
            wrong.push(format!(
                "{completed} tasks were completed and {abandoned} abandoned, and {counted} had their effect"
            ));
        }
        for task in &self.marked {
            let mark = newest(&mark_of(task)).and_then(|found| found.value);
            if mark.as_deref() != Some(task.origin.as_bytes()) {
                wrong.push(format!("{} has left the mark {mark:?}", task.origin));
            }
        }
        wrong
    }
}

impl Cluster {
    /// The workers ask what they have to.
    pub fn work(&mut self) {
        let replicas = self.replicas();
        for (replica, input) in self.tasks.act(self.now_ms, &replicas, self.is_closing) {
            self.note(|| format!("{replica} asked by a task: {input:?}"));
            self.step(replica, input);
        }
    }

    /// What is wrong with what the tasks did.
    pub fn end_of_work(&mut self) -> Vec<String> {
        let machine = self
            .machines
            .values()
            .find_map(|machine| machine.life.as_ref());
        machine.map_or_else(Vec::new, |life| self.tasks.judge(&life.node.core))
    }
}
