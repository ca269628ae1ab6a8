//! The tasks of one `map` or `reduce` of a run: what each of them gets, who is at it, and what it left.
//!
//! Invariants: a task waits, or somebody is at it, or it is done; the attempts at one task are on different workers; what
//! a task left is what the first of its attempts left that ended well.

use std::collections::{BTreeMap, BTreeSet};

use common::types::{Dealing, Item, Part, Pin, partition_of_key};

use super::event::StageSpec;
use super::run::{Checkpoint, Progress};

/// Tasks of one stage.
pub const TASKS_MAX: usize = 100_000;
/// Attempts at one task at the same time: a slow one is started a second time.
const ATTEMPTS_AT_ONCE_MAX: usize = 2;
/// An attempt is slow when it takes this many times as long as those that are done took on average, and this long.
const SLOW_TIMES: u64 = 2;
const SLOW_MS: u64 = 1_000;

#[derive(Debug, Clone, PartialEq)]
pub struct Tasks {
    all: Vec<Task>,
    waiting: BTreeSet<u32>,
    running: BTreeSet<u32>,
    done: usize,
    /// How long the attempts took that made what is done, together.
    done_ms: u64,
    /// Of the items that tasks get and of those that they left here.
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Task {
    items: Vec<Item>,
    /// As in [`super::run::Stage::tries`].
    tries: u32,
    /// The number of the newest attempt.
    begun: u32,
    attempts: Vec<Attempt>,
    output: Option<Output>,
    /// What it had read when it was done before: others may have had items of it, so it reads the same again.
    seen: Vec<Pin>,
    /// Rather not this worker: an attempt failed there.
    avoid: Option<String>,
}

/// One attempt under way. Each task counts its own, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub number: u32,
    pub worker: String,
    pub since_ms: u64,
    /// It may not have arrived: when to send it again.
    pub resend_ms: Option<u64>,
}

/// What a task left.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub left: Left,
    pub pins: Vec<Pin>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    Items(Vec<Item>),
    /// They wait at this worker.
    Held {
        worker: String,
        attempt: u32,
    },
}

/// What a worker took along when it was lost.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Attempts at tasks that nobody else is at.
    pub attempts: Vec<(u32, Attempt)>,
    /// How many tasks were done and have to be done again.
    pub undone: usize,
}

impl Tasks {
    /// Deals the items of the stage before. Those that wait at workers are not among them.
    /// Their attempts count from `first_attempt`.
    pub fn new(spec: &StageSpec, items: Vec<Item>, first_attempt: u32) -> Result<Self, String> {
        let dealt = match spec.dealing {
            Dealing::Whole => vec![items],
            Dealing::Chunks => chunks(items, spec.chunk.max(1)),
            Dealing::Partitions(partitions) => partitions_of(items, partitions.max(1))?,
        };
        let Some(count) = u32::try_from(dealt.len())
            .ok()
            .filter(|_| dealt.len() <= TASKS_MAX)
        else {
            return Err(format!(
                "{} tasks are more than {TASKS_MAX}: give it the option chunk=N, so that a task gets more items",
                dealt.len()
            ));
        };
        let bytes = dealt.iter().map(|items| items_bytes(items)).sum();
        let task = |items| Task {
            items,
            tries: 1,
            begun: first_attempt - 1,
            ..Task::default()
        };
        Ok(Self {
            all: dealt.into_iter().map(task).collect(),
            waiting: (0..count).collect(),
            running: BTreeSet::new(),
            done: 0,
            done_ms: 0,
            bytes,
        })
    }

    pub fn is_done(&self) -> bool {
        self.done == self.all.len()
    }

    pub fn progress(&self) -> Progress {
        Progress {
            tasks: self.all.len(),
            done: self.done,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn running(&self) -> usize {
        self.running.len()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next task that nobody is at, and the worker that had better not get it.
    pub fn next(&self) -> Option<(u32, Option<&str>)> {
        let task = *self.waiting.first()?;
        Some((task, self.task(task)?.avoid.as_deref()))
    }

    fn task(&self, task: u32) -> Option<&Task> {
        self.all.get(task as usize)
    }

    fn task_mut(&mut self, task: u32) -> Option<&mut Task> {
        self.all.get_mut(task as usize)
    }

    /// Begins an attempt at a task; its number.
    pub fn begin(&mut self, task: u32, worker: String, now_ms: u64) -> Option<u32> {
        let of = self.all.get_mut(task as usize)?;
        of.begun += 1;
        of.attempts.push(Attempt {
            number: of.begun,
            worker,
            since_ms: now_ms,
            resend_ms: None,
        });
        self.waiting.remove(&task);
        self.running.insert(task);
        Some(of.begun)
    }

    /// Attempts under way, with their tasks.
    pub fn under_way(&self) -> impl Iterator<Item = (u32, &Attempt)> {
        self.running.iter().copied().flat_map(|task| {
            let attempts = self.task(task).map_or(&[][..], |task| &task.attempts);
            attempts.iter().map(move |attempt| (task, attempt))
        })
    }

    pub fn attempt_mut(&mut self, task: u32, number: u32) -> Option<&mut Attempt> {
        let mut attempts = self.task_mut(task)?.attempts.iter_mut();
        attempts.find(|attempt| attempt.number == number)
    }

    /// Takes out an attempt that has come to its end, if it is under way. The task then waits, unless somebody else is
    /// at it.
    pub fn end(&mut self, task: u32, number: u32) -> Option<Attempt> {
        let attempts = &mut self.task_mut(task)?.attempts;
        let place = attempts
            .iter()
            .position(|attempt| attempt.number == number)?;
        let attempt = attempts.remove(place);
        if attempts.is_empty() {
            self.running.remove(&task);
            self.waiting.insert(task);
        }
        Some(attempt)
    }

    /// The task is done; its other attempts, which are of no use any more.
    pub fn finish(&mut self, task: u32, output: Output, took_ms: u64) -> Vec<Attempt> {
        self.waiting.remove(&task);
        self.running.remove(&task);
        let Some(of) = self.all.get_mut(task as usize) else {
            return Vec::new();
        };
        if let Left::Items(items) = &output.left {
            self.bytes += items_bytes(items);
        }
        of.output = Some(output);
        self.done += 1;
        self.done_ms += took_ms;
        std::mem::take(&mut of.attempts)
    }

    /// Counts one more try at the task, preferably elsewhere; false when there were `tries_max` already.
    pub fn try_again(&mut self, task: u32, tries_max: u32, avoid: &str) -> bool {
        self.task_mut(task).is_some_and(|task| {
            let may = task.tries < tries_max;
            task.tries += u32::from(may);
            task.avoid = Some(avoid.to_owned());
            may
        })
    }

    /// Whether somebody is at the task, or it is done.
    pub fn is_cared_for(&self, task: u32) -> bool {
        !self.waiting.contains(&task)
    }

    /// Forgets what was at this worker.
    pub fn lose(&mut self, worker: &str) -> Loss {
        let attempts: Vec<(u32, u32)> = self
            .under_way()
            .filter(|(_, attempt)| attempt.worker == worker)
            .map(|(task, attempt)| (task, attempt.number))
            .collect();
        let mut loss = Loss::default();
        for (task, number) in attempts {
            loss.attempts
                .extend(self.end(task, number).map(|attempt| (task, attempt)));
        }
        let held: Vec<Part> = (0..)
            .zip(&self.all)
            .filter_map(|(task, of)| match &of.output.as_ref()?.left {
                Left::Held {
                    worker: at,
                    attempt,
                } if at == worker => {
                    let attempt = *attempt;
                    Some(Part { task, attempt })
                }
                _ => None,
            })
            .collect();
        loss.undone = held.into_iter().filter(|part| self.undo(*part)).count();
        loss
    }

    /// What this attempt left is gone: the task has to be done again. False when somebody else's has taken its place.
    pub fn undo(&mut self, Part { task, attempt }: Part) -> bool {
        let Some(of) = self.task_mut(task) else {
            return false;
        };
        let is_held = matches!(&of.output, Some(Output { left: Left::Held { attempt: by, .. }, .. }) if *by == attempt);
        if is_held {
            of.seen = of.output.take().map_or_else(Vec::new, |output| output.pins);
            self.done -= 1;
            self.waiting.insert(task);
        }
        is_held
    }

    /// What a task begins with, where the stage before has left this.
    pub fn checkpoint(&self, task: u32, before: &Checkpoint) -> Checkpoint {
        let (items, seen) = self
            .task(task)
            .map_or_else(Default::default, |of| (of.items.clone(), &of.seen[..]));
        let pins = if seen.is_empty() {
            before.pins.clone()
        } else {
            merge([&before.pins[..], seen].into_iter())
        };
        Checkpoint { items, pins }
    }

    /// What all tasks left here, in their order, and the pins with which the next stage begins. Items that wait at
    /// workers stay there.
    pub fn gather(&mut self, before: &[Pin]) -> Checkpoint {
        let outputs = self.all.iter().filter_map(|task| task.output.as_ref());
        let pins = merge(std::iter::once(before).chain(outputs.map(|output| &output.pins[..])));
        let mut items = Vec::new();
        for task in &mut self.all {
            if let Some(Output {
                left: Left::Items(left),
                ..
            }) = &mut task.output
            {
                items.append(left);
            }
        }
        self.bytes = self.bytes.saturating_sub(items_bytes(&items));
        Checkpoint { items, pins }
    }

    /// Where the items wait that were left at workers.
    pub fn held(&self) -> BTreeMap<&str, Vec<Part>> {
        let mut held: BTreeMap<&str, Vec<Part>> = BTreeMap::new();
        for (task, of) in (0..).zip(&self.all) {
            if let Some(Output {
                left: Left::Held { worker, attempt },
                ..
            }) = &of.output
            {
                let attempt = *attempt;
                held.entry(worker).or_default().push(Part { task, attempt });
            }
        }
        held
    }

    /// Tasks that take long, now that the rest is done or under way, with the workers that are at them.
    pub fn slow(&self, now_ms: u64) -> Vec<(u32, String)> {
        if !self.waiting.is_empty() || self.done == 0 {
            return Vec::new();
        }
        let average_ms = self.done_ms / self.done as u64;
        let slow_ms = SLOW_MS.max(SLOW_TIMES * average_ms);
        let is_slow = |attempt: &&Attempt| now_ms.saturating_sub(attempt.since_ms) > slow_ms;
        let slow = |task: &u32| {
            let attempts = &self.task(*task)?.attempts;
            let is_last = attempts.len() < ATTEMPTS_AT_ONCE_MAX;
            let attempt = attempts.first().filter(|_| is_last).filter(is_slow)?;
            Some((*task, attempt.worker.clone()))
        };
        self.running.iter().filter_map(slow).collect()
    }
}

fn chunks(items: Vec<Item>, chunk: usize) -> Vec<Vec<Item>> {
    let mut items = items.into_iter();
    let chunks = std::iter::from_fn(|| {
        let chunk: Vec<Item> = items.by_ref().take(chunk).collect();
        (!chunk.is_empty()).then_some(chunk)
    });
    chunks.collect()
}

fn partitions_of(items: Vec<Item>, partitions: u32) -> Result<Vec<Vec<Item>>, String> {
    let mut dealt = vec![Vec::new(); partitions as usize];
    for item in items {
        let key = item.key.as_deref().ok_or("an item for it has no key")?;
        if let Some(partition) = dealt.get_mut(partition_of_key(key, partitions) as usize) {
            partition.push(item);
        }
    }
    Ok(dealt)
}

fn items_bytes(items: &[Item]) -> usize {
    let bytes = |item: &Item| {
        size_of::<Item>() + item.value.len() + item.key.as_ref().map_or(0, String::len)
    };
    items.iter().map(bytes).sum()
}

/// The newest version of each record that any of them has seen. What was touched counts before what was only heard of.
fn merge<'a>(pins: impl Iterator<Item = &'a [Pin]>) -> Vec<Pin> {
    let mut newest: BTreeMap<&str, &Pin> = BTreeMap::new();
    for pin in pins.flatten() {
        let rank = |pin: &Pin| (!pin.is_floor, pin.version);
        let known = newest.entry(&pin.record).or_insert(pin);
        if rank(pin) > rank(known) {
            *known = pin;
        }
    }
    newest.into_values().cloned().collect()
}
