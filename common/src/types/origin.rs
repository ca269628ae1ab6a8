//! Origins of updates, which are paths: `run/0000000000000001/000000000000002a/0001/0002/00000003`.
//!
//! Their parts have a fixed width, so that the order of paths is that of the numbers, and a range of runs is a range of
//! paths. The storage knows nothing of their meaning: for it, naming a path means all below it as well.

use std::fmt;

use bytes::Bytes;

/// The bytes of what a task may keep with one update.
pub const NOTE_BYTES_MAX: usize = 256 << 10;
/// Paths that a `Forget` may leave out.
pub const EXCEPT_MAX: usize = 16_384;

/// Which attempt at a task makes an update, and what it wants to find with it later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskMark {
    /// From 1.
    pub attempt: u32,
    /// At most [`NOTE_BYTES_MAX`].
    pub note: Bytes,
}

/// Attempts of a run under one scheduler, in bits: one that takes it up again counts from higher up.
const ATTEMPT_BITS: u32 = 20;
/// Recoveries of a run whose attempts can be told apart.
pub const RECOVERIES_MAX: u32 = (1 << (u32::BITS - ATTEMPT_BITS)) - 2;

/// The first attempt number after so many recoveries.
pub fn first_attempt(recoveries: u32) -> u32 {
    (recoveries << ATTEMPT_BITS) + 1
}

/// How often the run of this attempt was recovered before.
pub fn recoveries_before(attempt: u32) -> u32 {
    attempt.saturating_sub(1) >> ATTEMPT_BITS
}

/// A run, by the scheduler that has counted it; displayed as the path of all its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunOrigin {
    pub scheduler_incarnation: u64,
    pub run: u64,
}

/// A task of a run; displayed as the origin of its updates, the same in every attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskOrigin {
    pub run: RunOrigin,
    /// The first of the stages that are handed on from worker to worker, of which this is one; below 65,536.
    pub segment: u32,
    /// Index into the chain, below 65,536.
    pub stage: u32,
    /// Index among the tasks of the stage.
    pub task: u32,
}

/// An update that a leading scheduler makes for itself, as the attempt that is its ballot: one that takes the lease
/// fences all before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaderOrigin {
    pub ballot: u32,
    /// Of the scheduler: two may have had the same chance.
    pub incarnation: u64,
    pub update: u64,
}

impl LeaderOrigin {
    /// The path of all.
    pub const ALL: &str = "lead";
    /// Before all, but not the path of all.
    pub const FIRST: &str = "lead/";
    /// Of no update, behind all: who fences it with its own ballot learns whether it still leads.
    pub const STILL: &str = "lead/still";
}

impl fmt::Display for LeaderOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ballot,
            incarnation,
            update,
        } = self;
        write!(
            f,
            "{}/{ballot:08x}/{incarnation:016x}/{update:016x}",
            Self::ALL
        )
    }
}

impl RunOrigin {
    /// Before all runs, and after all.
    pub const FIRST: &str = "run/";
    pub const END: &str = "run0";
}

impl fmt::Display for RunOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scheduler_incarnation,
            run,
        } = self;
        write!(f, "run/{scheduler_incarnation:016x}/{run:016x}")
    }
}

impl fmt::Display for TaskOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, task, .. } = self;
        write!(f, "{}/{stage:04x}/{task:08x}", self.segment())
    }
}

impl TaskOrigin {
    /// The path of all tasks of its segment.
    pub fn segment(&self) -> String {
        format!("{}/{:04x}", self.run, self.segment)
    }
}

/// True when `origin` is `path`, or below it.
pub fn is_below(origin: &str, path: &str) -> bool {
    origin
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The origin itself and all paths that it is below, the longest first.
pub fn paths_to(origin: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(origin), |path| Some(path.rsplit_once('/')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(run: u64, stage: u32, task: u32) -> String {
        let run = RunOrigin {
            scheduler_incarnation: 7,
            run,
        };
        let segment = 1;
        TaskOrigin {
            run,
            segment,
            stage,
            task,
        }
        .to_string()
    }

    #[test]
    fn attempts_tell_how_often_their_run_was_recovered() {
        for recoveries in [0, 1, RECOVERIES_MAX] {
            let first = first_attempt(recoveries);
            assert_eq!(recoveries_before(first), recoveries);
            assert_eq!(recoveries_before(first + 100_000), recoveries);
        }
        assert_eq!(first_attempt(0), 1);
    }

    #[test]
    fn the_order_of_origins_is_that_of_the_numbers() {
        let ordered = [(1, 2, 3), (1, 2, 10), (1, 16, 0), (2, 0, 0), (16, 0, 0)];
        let ordered = ordered.map(|(run, stage, task)| origin(run, stage, task));
        assert!(ordered.is_sorted());
        assert!(ordered.iter().all(|path| RunOrigin::FIRST < path.as_str()));
        assert!(ordered.iter().all(|path| path.as_str() < RunOrigin::END));
        assert_eq!(
            ordered[1],
            "run/0000000000000007/0000000000000001/0001/0002/0000000a"
        );
    }

    #[test]
    fn a_path_means_itself_and_what_is_below_it() {
        assert!(is_below("a/b", "a/b"));
        assert!(is_below("a/b/c", "a/b"));
        assert!(!is_below("a/bc", "a/b"));
        assert!(!is_below("a", "a/b"));
        assert_eq!(paths_to("a/b/c").collect::<Vec<_>>(), ["a/b/c", "a/b", "a"]);
    }
}
