//! The worker as a machine without I/O: which task runs, waits, is stopped or ignored; what is told to whom.
//!
//! Absent: async, clocks, chance, the network, protobuf, operators. [`crate::server`] carries inputs and outputs.
//!
//! - [`event`]: inputs and outputs. - [`task`]: a task and its names. - [`memory`]: the tasks and cancelled runs of late.

mod event;
mod memory;
mod task;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub use event::{Account, Ended, Forward, Input, Output, Refusal, Report};
pub use task::{RunKey, Task, TaskKey, item_bytes};

use memory::Memory;

/// Tasks that wait for a slot.
pub const QUEUED_TASKS_MAX: usize = 1_024;
/// What they hold, together; the last one may go beyond it.
pub const QUEUED_BYTES_MAX: usize = 256 << 20;
/// Reports and requests to other nodes that are not acknowledged; no task is started beyond it.
pub const DELIVERIES_MAX: usize = 1_024;

/// Everything that a worker knows of its tasks.
pub struct Core {
    slots: usize,
    queue: VecDeque<Arc<Task>>,
    running: BTreeMap<TaskKey, Running>,
    started: u64,
    deliveries: usize,
    memory: Memory,
}

struct Running {
    task: Arc<Task>,
    started_ms: u64,
}

impl Core {
    /// `slots` tasks run at once.
    pub fn new(slots: usize) -> Self {
        Self {
            slots: slots.max(1),
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            started: 0,
            deliveries: 0,
            memory: Memory::default(),
        }
    }

    /// Takes one input. [`Output::Answer`] belongs to this input; only [`Input::Execute`] has one.
    pub fn step(&mut self, now_ms: u64, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Execute(task) => {
                let result = self.execute(now_ms, task, outputs);
                outputs.push(Output::Answer(result));
            }
            Input::Ended { key, end, account } => self.ended(now_ms, key, end, account, outputs),
            Input::CancelRun(run) => {
                self.memory.cancel(run);
                self.stop(outputs, |key| key.run == run);
            }
            Input::StopTask(task) => {
                self.memory.note(task);
                self.stop(outputs, |key| *key == task);
            }
            Input::Delivered => self.deliveries = self.deliveries.saturating_sub(1),
        }
        self.start(now_ms, outputs);
    }

    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How many tasks were ever given a slot.
    pub fn started(&self) -> u64 {
        self.started
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    pub fn deliveries(&self) -> usize {
        self.deliveries
    }

    fn execute(
        &mut self,
        now_ms: u64,
        task: Task,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let key = task.key;
        if self.memory.is_cancelled(key.run) {
            return Err(Refusal::Cancelled);
        }
        if task.deadline_ms <= now_ms {
            return Err(Refusal::Late);
        }
        if self.memory.makes_needless(key) {
            return Ok(());
        }
        if self.queue.len() >= QUEUED_TASKS_MAX {
            return Err(Refusal::QueueFull {
                tasks_max: QUEUED_TASKS_MAX,
            });
        }
        if self.queue.iter().map(|task| task.bytes()).sum::<usize>() >= QUEUED_BYTES_MAX {
            return Err(Refusal::QueueTooLarge {
                bytes_max: QUEUED_BYTES_MAX,
            });
        }
        self.memory.note(key);
        self.stop(outputs, |older| key.replaces(*older));
        self.queue.push_back(Arc::new(task));
        Ok(())
    }

    fn stop(&mut self, outputs: &mut Vec<Output>, which: impl Fn(&TaskKey) -> bool) {
        self.queue.retain(|task| !which(&task.key));
        self.running.retain(|key, _| {
            let stopped = which(key);
            if stopped {
                outputs.push(Output::Stop { key: *key });
            }
            !stopped
        });
    }

    /// Tells the scheduler, and hands the request to the next worker. Both go out at once: if this worker dies when
    /// only one of them has arrived, the scheduler sends what is missing.
    fn ended(
        &mut self,
        now_ms: u64,
        key: TaskKey,
        end: Ended,
        account: Account,
        outputs: &mut Vec<Output>,
    ) {
        // Stopped meanwhile: nobody waits for it.
        let Some(Running { task, started_ms }) = self.running.remove(&key) else {
            return;
        };
        let end = Arc::new(end);
        outputs.push(Output::Report(Report {
            task: task.clone(),
            queue_ms: started_ms.saturating_sub(task.arrived_ms),
            run_ms: now_ms.saturating_sub(started_ms),
            account,
            end: end.clone(),
        }));
        self.deliveries += 1;
        if matches!(*end, Ended::Returned { .. }) && task.next().is_some() {
            outputs.push(Output::Forward(Forward { task, end }));
            self.deliveries += 1;
        }
    }

    fn start(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        while self.running.len() < self.slots && self.deliveries < DELIVERIES_MAX {
            let Some(task) = self.queue.pop_front() else {
                return;
            };
            let left_ms = task.deadline_ms.saturating_sub(now_ms);
            // The run has expired while the task was waiting: nobody waits for it.
            if left_ms == 0 {
                continue;
            }
            let time_ms = task
                .timeout_ms()
                .map_or(left_ms, |timeout_ms| timeout_ms.min(left_ms));
            self.started += 1;
            self.running.insert(
                task.key,
                Running {
                    task: task.clone(),
                    started_ms: now_ms,
                },
            );
            outputs.push(Output::Start { task, time_ms });
        }
    }
}
