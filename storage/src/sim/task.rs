//! One attempt at a task, as a worker executes it: a little deterministic program, its reads and updates, and what an
//! earlier attempt did.
//!
//! The program reads a switch, which says which of two counters to take; adds one to that, in a loop of comparisons;
//! and leaves a mark. So a task has had its effect once when the counters have grown by one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::types::{RecordId, RecordVersion, ReplicaId, TaskMark, UpdateId, Version, Wanted};

use crate::core::fence::{Collected, Fence};
use crate::core::message::{Ask, Outcome, Update};
use crate::core::retained::Did;
use crate::core::{Input, Level, Refusal, Reply, Token};
use common::chance::Chance;

pub const SWITCH: &str = "task-switch";
pub const COUNTERS: [&str; 2] = ["task-counter-0", "task-counter-1"];
const READ_WAIT_MS: u64 = 500;

type Versions = BTreeMap<RecordId, Version>;

/// What a task is, in every attempt.
#[derive(Debug, Clone)]
pub struct Task {
    pub origin: String,
    /// The switch counts, and so all nodes have to answer a fence: an update that is under way only at one which does not may
    /// still be decided under its id, and of the other counter. Otherwise a majority is enough.
    pub is_switched: bool,
    /// Nodes that forget give the numbers of plain writes again.
    pub leaves_mark: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Fence,
    Switch,
    Count(RecordId),
    Add(RecordId, RecordVersion),
    Mark,
    Done,
}

/// How an attempt has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Done,
    /// Another attempt has taken its place, or the task is over.
    Fenced,
    /// A version that it has to see was discarded.
    Discarded,
    Wrong(String),
}

#[derive(Debug)]
pub struct Attempt {
    pub task: Task,
    pub number: u32,
    step: Step,
    answered: BTreeSet<ReplicaId>,
    past: BTreeMap<u64, (RecordId, Did, Versions)>,
    sequence: u64,
    pins: Versions,
    noted: Versions,
}

impl Attempt {
    pub fn new(task: Task, number: u32) -> Self {
        Self {
            task,
            number,
            step: if number > 1 {
                Step::Fence
            } else {
                Step::Switch
            },
            answered: BTreeSet::new(),
            past: BTreeMap::new(),
            sequence: 0,
            pins: Versions::new(),
            noted: Versions::new(),
        }
    }

    /// What it asks next, and whom.
    pub fn ask(
        &mut self,
        token: Token,
        replicas: &[ReplicaId],
        chance: &mut Chance,
    ) -> Result<(ReplicaId, Input), End> {
        if matches!(self.step, Step::Fence) && self.is_fenced(replicas) {
            self.step = Step::Switch;
            self.see_noted();
        }
        self.repeat()?;
        let unanswered = |replica: &&ReplicaId| {
            !matches!(self.step, Step::Fence) || !self.answered.contains(replica)
        };
        let may_ask: Vec<ReplicaId> = replicas.iter().filter(unanswered).copied().collect();
        let replica = chance.one_of(&may_ask).copied().unwrap_or(1);
        let input = match &self.step {
            Step::Fence => Input::Fence {
                token,
                fence: Fence {
                    path: self.task.origin.clone(),
                    attempt: self.number,
                    after: None,
                },
            },
            Step::Switch => self.read(token, SWITCH),
            Step::Count(counter) => self.read(token, counter),
            Step::Add(counter, found) => {
                let update = Update {
                    id: self.id(),
                    record: counter.clone(),
                    ask: Ask::IfVersionIs {
                        old: found.version,
                        new: Some(Bytes::from((number_of(found) + 1).to_string())),
                    },
                    task: Some(self.mark()),
                };
                Input::UpdateIf { token, update }
            }
            Step::Mark => Input::Write {
                token,
                id: self.id(),
                record: mark_of(&self.task),
                value: Some(Bytes::from(self.task.origin.clone())),
                level: Level::One,
                above: Version::NULL,
                task: Some(self.mark()),
            },
            Step::Done => return Err(End::Done),
        };
        Ok((replica, input))
    }

    fn read(&self, token: Token, record: &str) -> Input {
        let pin = self.pins.get(record).copied();
        Input::Read {
            token,
            record: record.to_owned(),
            wanted: pin.map_or(Wanted::NEWEST, Wanted::Exactly),
            wait_ms: READ_WAIT_MS,
        }
    }

    fn id(&self) -> UpdateId {
        UpdateId {
            origin: self.task.origin.clone(),
            sequence: self.sequence,
        }
    }

    /// What it has read goes along as text: `record=version …`.
    fn mark(&self) -> TaskMark {
        let read = |(record, version): (&RecordId, &Version)| format!("{record}={version}");
        let noted: Vec<String> = self.noted.iter().map(read).collect();
        TaskMark {
            attempt: self.number,
            note: noted.join(" ").into(),
        }
    }

    /// It has taken the place of earlier attempts.
    pub fn has_fenced(&self) -> bool {
        self.number > 1 && !matches!(self.step, Step::Fence)
    }

    fn is_fenced(&self, replicas: &[ReplicaId]) -> bool {
        let needed = if self.task.is_switched {
            replicas.len()
        } else {
            replicas.len() / 2 + 1
        };
        self.answered.len() >= needed
    }

    /// Reads before the next update see what they saw then.
    fn see_noted(&mut self) {
        self.noted.clear();
        if let Some((_, (_, _, noted))) = self.past.first_key_value() {
            self.pins.extend(noted.clone());
        }
    }

    /// Goes through what was done already.
    fn repeat(&mut self) -> Result<(), End> {
        while let Step::Add(..) | Step::Mark = self.step {
            let Some((record, did, _)) = self.past.remove(&self.sequence) else {
                return Ok(());
            };
            let outcome = match (&self.step, did) {
                (Step::Add(counter, _), Did::Update { outcome, is_cut }) if *counter == record => {
                    if is_cut {
                        return Err(End::Discarded);
                    }
                    Some(outcome)
                }
                (Step::Mark, Did::Write(_)) => None,
                (step, did) => {
                    let origin = &self.task.origin;
                    let wrong = format!("{origin}: {step:?} was {did:?} of {record} before");
                    return Err(End::Wrong(wrong));
                }
            };
            self.done(outcome);
        }
        Ok(())
    }

    /// Its next update has this outcome; absent: it was a write.
    fn done(&mut self, outcome: Option<Outcome>) {
        self.sequence += 1;
        self.see_noted();
        self.step = match (&self.step, outcome) {
            (Step::Add(counter, _), Some(Outcome::Mismatch { found })) => {
                self.pins.insert(counter.clone(), found.version);
                Step::Add(counter.clone(), found)
            }
            (Step::Add(..), _) if self.task.leaves_mark => Step::Mark,
            _ => Step::Done,
        };
    }

    /// `by`: who was asked.
    pub fn answered(&mut self, by: ReplicaId, reply: Result<Reply, Refusal>) -> Result<(), End> {
        match (&self.step, reply) {
            (_, Err(Refusal::Fenced { attempt, .. })) if attempt > self.number => Err(End::Fenced),
            (_, Err(Refusal::Fenced { attempt, .. })) => {
                let origin = &self.task.origin;
                let wrong = format!("{origin}: attempt {attempt} fenced attempt {}", self.number);
                Err(End::Wrong(wrong))
            }
            (_, Err(Refusal::Discarded { .. })) => Err(End::Discarded),
            // Asked again, elsewhere.
            (_, Err(_)) => Ok(()),
            (Step::Fence, Ok(Reply::Collected(collected))) => self.collect(by, collected),
            (Step::Switch, Ok(Reply::Read(found))) => {
                self.saw(SWITCH, found.version);
                let is_second = self.task.is_switched && number_of(&found) % 2 == 1;
                let [first, second] = COUNTERS;
                let counter = if is_second { second } else { first };
                self.step = Step::Count(counter.to_owned());
                Ok(())
            }
            (Step::Count(counter), Ok(Reply::Read(found))) => {
                let counter = counter.clone();
                self.saw(&counter, found.version);
                self.step = Step::Add(counter, found);
                Ok(())
            }
            (Step::Add(..), Ok(Reply::Update(outcome))) => {
                self.done(Some(outcome));
                Ok(())
            }
            (Step::Mark, Ok(Reply::Written(_))) => {
                self.done(None);
                Ok(())
            }
            (step, Ok(reply)) => Err(End::Wrong(format!("{step:?} was answered by {reply:?}"))),
        }
    }

    fn saw(&mut self, record: &str, version: Version) {
        if self.pins.insert(record.to_owned(), version).is_none() {
            self.noted.insert(record.to_owned(), version);
        }
    }

    fn collect(&mut self, by: ReplicaId, collected: Collected) -> Result<(), End> {
        for (record, retained) in collected.retained {
            let note = String::from_utf8_lossy(&retained.note).into_owned();
            let read = |read: &str| {
                let (record, version) = read.split_once('=')?;
                Some((record.to_owned(), version.parse().ok()?))
            };
            let noted: Option<Versions> = note.split_whitespace().map(read).collect();
            let Some(noted) = noted else {
                return Err(End::Wrong(format!("the note `{note}` is none of a task's")));
            };
            let is_whole = !matches!(retained.did, Did::Update { is_cut: true, .. });
            let known = self.past.entry(retained.id.sequence);
            let known = known.or_insert_with(|| (record, retained.did.clone(), noted));
            if is_whole {
                known.1 = retained.did;
            }
        }
        self.answered.insert(by);
        Ok(())
    }
}

pub fn mark_of(task: &Task) -> RecordId {
    format!("task-mark-{}", task.origin)
}

/// What a counter has come to.
pub fn number_of(found: &RecordVersion) -> u64 {
    let text = found.value.as_deref().map(String::from_utf8_lossy);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
