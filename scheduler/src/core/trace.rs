//! What became of a run's tasks, and what it waits for: for people who want to know.

use common::types::CallLog;

use super::Core;
use super::run::{Progress, Run, RunNumber, TimesMs};

/// Attempts that are remembered of one run, the newest.
pub const TRACED_TASKS_MAX: usize = 10_000;

/// One attempt at a stage, or at a task of a `map` or `reduce`, that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedTask {
    /// Index into the chain.
    pub stage: usize,
    /// Absent: the stage is a plain one.
    pub task: Option<u32>,
    pub attempt: u32,
    pub worker: String,
    pub times_ms: TimesMs,
    /// Absent: it returned items.
    pub error: Option<String>,
    pub calls: CallLog,
}

impl TracedTask {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let error = self.error.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.worker.len() + error + self.calls.bytes()
    }
}

impl Core {
    /// What the run waits for, or that it has ended; for people.
    pub fn waits_for(&self, now_ms: u64, number: RunNumber) -> Option<String> {
        let run = self.runs.get(number)?;
        if !run.is_running() {
            return Some(format!("run {number} has ended: {}", run.state));
        }
        let what = self.next_step(now_ms, run);
        let left_ms = run.deadline_ms.saturating_sub(now_ms);
        Some(format!(
            "run {number} {what}; its deadline is in {left_ms} ms"
        ))
    }

    fn next_step(&self, now_ms: u64, run: &Run) -> String {
        let Some(stage) = run.stages.get(run.frontier()) else {
            return "waits for the report of its last stage".to_owned();
        };
        let (class, order) = (&stage.spec.class, stage.spec.order);
        if let Some(tasks) = &stage.tasks {
            let Progress { tasks: all, done } = tasks.progress();
            let (running, waiting) = (tasks.running(), tasks.waiting());
            return format!(
                "waits for stage {order} ({class}): of {all} tasks {done} are done, {running} are at workers, {waiting} wait for a worker with room"
            );
        }
        let Some(worker) = &stage.worker else {
            return format!("waits for a worker that has operator {class} (stage {order})");
        };
        if let Some(resend) = &run.resend {
            let in_ms = resend.at_ms.saturating_sub(now_ms);
            return format!(
                "waits to be sent to worker {worker} again, in {in_ms} ms: stage {order} ({class}) has not reached it"
            );
        }
        let attempt = stage.attempt;
        let place = format!("stage {order} ({class}) on worker {worker}, attempt {attempt}");
        match self.workers.named(worker) {
            Some(at) if at.outstanding > at.slots => format!(
                "waits for {place}: perhaps for a slot, for the worker has {} tasks and {} slots",
                at.outstanding, at.slots
            ),
            _ => format!("waits for the end of {place}"),
        }
    }
}
