//! The tasks and the cancelled runs of late, so that repeats and stragglers do no harm. Bounded: the oldest are
//! forgotten.

use std::collections::{BTreeSet, VecDeque};

use super::task::{RunKey, TaskKey};

/// Tasks that are remembered.
const TASKS_MAX: usize = 65_536;
/// Cancelled runs that are remembered.
const CANCELLED_RUNS_MAX: usize = 16_384;

#[derive(Default)]
pub struct Memory {
    tasks: Recent<TaskKey>,
    cancelled: Recent<RunKey>,
}

impl Memory {
    pub fn note(&mut self, task: TaskKey) {
        self.tasks.insert(task, TASKS_MAX);
    }

    pub fn cancel(&mut self, run: RunKey) {
        self.cancelled.insert(run, CANCELLED_RUNS_MAX);
    }

    pub fn is_cancelled(&self, run: RunKey) -> bool {
        self.cancelled.set.contains(&run)
    }

    /// True when this task, or a newer attempt that replaces it, was here before.
    pub fn makes_needless(&self, task: TaskKey) -> bool {
        let last = TaskKey {
            attempt: u32::MAX,
            stage: u32::MAX,
            ..task
        };
        let mut same_task = self.tasks.set.range(task..=last);
        same_task.any(|known| *known == task || known.replaces(task))
    }
}

/// A set that forgets its oldest members.
struct Recent<T> {
    set: BTreeSet<T>,
    order: VecDeque<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            set: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T: Copy + Ord> Recent<T> {
    fn insert(&mut self, member: T, members_max: usize) {
        if !self.set.insert(member) {
            return;
        }
        self.order.push_back(member);
        if self.order.len() > members_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = Recent::default();
        for member in [1, 2, 2, 3, 4] {
            recent.insert(member, 3);
        }
        assert_eq!(recent.set, BTreeSet::from([2, 3, 4]));
        assert_eq!(recent.order.len(), 3);
    }
}
