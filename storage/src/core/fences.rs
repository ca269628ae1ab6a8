//! Which updates of tasks a node refuses: those of older attempts, and those of tasks that are over. Durable.
//!
//! Origins are paths; a fence holds for its path and all below it, so that one above another that is no higher is enough: a
//! run that is taken up again fences all of it once, and none of its tasks one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Included, Unbounded};

use common::types::{is_below, paths_to};

/// What the fences of one node take, at most: as many as a `map` may have tasks (100,000), which may all be tried again one by
/// one. Encoded they are about half of it, and so fit into one message with a record.
pub const FENCES_BYTES_MAX: usize = 12 << 20;
/// Ranges of forgotten origins that a node remembers; with more, it forgets the first in their order.
pub const FORGOTTEN_MAX: usize = 64;
/// The attempt that an origin that is over is said to be fenced by.
pub const OVER: u32 = u32::MAX;

/// Origins from `from` on and before `until`, but for those that are one of `except`, or below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Forgotten {
    pub from: String,
    pub until: String,
    pub except: BTreeSet<String>,
}

impl Forgotten {
    pub fn has(&self, origin: &str) -> bool {
        self.from.as_str() <= origin
            && origin < self.until.as_str()
            && !paths_to(origin).any(|path| self.except.contains(path))
    }

    fn covers(&self, other: &Self) -> bool {
        self.from <= other.from && other.until <= self.until
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Fences {
    /// By path, the attempt below which all are refused; each is higher than those above it.
    raised: BTreeMap<String, u32>,
    /// What they take.
    bytes: usize,
    /// In the order of `from`.
    forgotten: Vec<Forgotten>,
}

impl Fences {
    /// Never goes back.
    pub(super) fn raise(&mut self, path: &str, attempt: u32) {
        if self.holds(path, attempt) {
            return;
        }
        let is_lower = |(_, fence): &(&str, &u32)| **fence <= attempt;
        let lower = below(&self.raised, path).filter(is_lower);
        for path in lower.map(|of| of.0.to_owned()).collect::<Vec<_>>() {
            self.raised.remove(&path);
            self.bytes -= bytes_of(&path);
        }
        self.bytes += bytes_of(path);
        self.raised.insert(path.to_owned(), attempt);
    }

    /// True when all below this attempt are refused there already.
    pub fn holds(&self, path: &str, attempt: u32) -> bool {
        self.attempt_at(path).is_some_and(|fence| fence >= attempt)
    }

    /// By the fences at the path and above it.
    fn attempt_at(&self, path: &str) -> Option<u32> {
        let fences = paths_to(path).filter_map(|path| self.raised.get(path).copied());
        fences.max()
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes < FENCES_BYTES_MAX
    }

    pub(super) fn forget(&mut self, new: &Forgotten) {
        self.raised.retain(|path, _| !new.has(path));
        self.bytes = self.raised.keys().map(|path| bytes_of(path)).sum();
        self.forgotten.retain(|known| !new.covers(known));
        let place = self.forgotten.partition_point(|of| of.from <= new.from);
        self.forgotten.insert(place, new.clone());
        if self.forgotten.len() > FORGOTTEN_MAX {
            self.forgotten.remove(0);
        }
    }

    /// The attempt that has taken the place of this one at the origin; [`OVER`]: the task is over.
    pub fn fenced_by(&self, origin: &str, attempt: u32) -> Option<u32> {
        if self.forgotten.iter().any(|range| range.has(origin)) {
            return Some(OVER);
        }
        self.attempt_at(origin).filter(|fence| attempt < *fence)
    }

    pub fn knows(&self, range: &Forgotten) -> bool {
        self.forgotten.contains(range)
    }

    /// True when nothing of the range is news, but perhaps its exceptions.
    pub fn covers(&self, range: &Forgotten) -> bool {
        self.forgotten.iter().any(|known| known.covers(range))
    }

    /// By path.
    pub fn fences(&self) -> &BTreeMap<String, u32> {
        &self.raised
    }

    pub fn forgotten(&self) -> &[Forgotten] {
        &self.forgotten
    }

    pub fn of(
        fences: impl IntoIterator<Item = (String, u32)>,
        forgotten: impl IntoIterator<Item = Forgotten>,
    ) -> Self {
        let mut all = Self {
            forgotten: forgotten.into_iter().collect(),
            ..Self::default()
        };
        for (path, attempt) in fences {
            all.raise(&path, attempt);
        }
        all
    }
}

/// What a fence takes in memory, about.
fn bytes_of(path: &str) -> usize {
    64 + path.len()
}

/// The part of `paths`, in their order, that is `path` or below it.
pub fn below<'a, T>(
    paths: &'a BTreeMap<String, T>,
    path: &'a str,
) -> impl Iterator<Item = (&'a str, &'a T)> {
    let from_there = paths.range::<str, _>((Included(path), Unbounded));
    let begins = from_there.take_while(move |(known, _)| known.starts_with(path));
    let begins = begins.map(|(known, value)| (known.as_str(), value));
    begins.filter(move |(known, _)| is_below(known, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: &str, until: &str, except: &[&str]) -> Forgotten {
        Forgotten {
            from: from.to_owned(),
            until: until.to_owned(),
            except: except.iter().map(|path| (*path).to_owned()).collect(),
        }
    }

    #[test]
    fn a_fence_refuses_older_attempts_of_its_path_and_of_what_is_below() {
        let mut fences = Fences::default();
        fences.raise("run/1", 3);
        fences.raise("run/1", 2);
        fences.raise("run/1/0", 4);
        assert_eq!(fences.fenced_by("run/1/0", 3), Some(4));
        assert_eq!(fences.fenced_by("run/1/0", 4), None);
        assert_eq!(fences.fenced_by("run/1/1", 2), Some(3));
        assert_eq!(fences.fenced_by("run/1/1", 3), None);
        assert_eq!(fences.fenced_by("run/10", 1), None);
    }

    #[test]
    fn a_fence_is_kept_once() {
        let mut fences = Fences::default();
        let paths = |fences: &Fences| fences.fences().keys().cloned().collect::<Vec<_>>();
        fences.raise("run/1/0", 2);
        fences.raise("run/1/1", 9);
        fences.raise("run/10", 2);
        fences.raise("run/1", 4);
        // Those below that are no higher need not be kept, and never come back.
        assert_eq!(paths(&fences), ["run/1", "run/1/1", "run/10"]);
        fences.raise("run/1/2", 4);
        assert!(fences.holds("run/1/2", 4) && !fences.holds("run/1/2", 5));
        assert_eq!(paths(&fences), ["run/1", "run/1/1", "run/10"]);
        assert_eq!(fences.fenced_by("run/1/0", 3), Some(4));
        let kept = fences.fences().clone();
        assert_eq!(Fences::of(kept.into_iter().rev(), []), fences);
        assert_eq!(
            fences.bytes,
            paths(&fences)
                .iter()
                .map(|path| bytes_of(path))
                .sum::<usize>()
        );
        fences.forget(&range("run/1", "run/2", &[]));
        assert_eq!(fences.bytes, 0);
    }

    #[test]
    fn there_is_room_for_a_fence_of_each_task_of_a_map() {
        let mut fences = Fences::default();
        for task in 0..100_000 {
            assert!(fences.has_room(), "not for task {task}");
            fences.raise(
                &format!("run/{0:016x}/{0:016x}/{0:04x}/{0:04x}/{task:08x}", 1),
                2,
            );
        }
        let others = (0..).take_while(|task| {
            fences.raise(&format!("other/{task:016x}"), 2);
            fences.has_room()
        });
        assert!(others.count() < 100_000);
    }

    #[test]
    fn what_is_forgotten_is_refused_but_for_exceptions() {
        let mut fences = Fences::default();
        fences.raise("run/1", 3);
        fences.raise("run/2", 3);
        fences.forget(&range("run/0", "run/3", &["run/2"]));
        assert_eq!(fences.fenced_by("run/1/0", 9), Some(OVER));
        assert_eq!(fences.fenced_by("run/2/0", 3), None);
        assert_eq!(fences.fenced_by("run/3", 1), None);
        assert_eq!(fences.fences().len(), 1);
        fences.forget(&range("run/0", "run/4", &[]));
        assert_eq!(fences.forgotten().len(), 1, "the later one covers it");
        assert_eq!(fences.fenced_by("run/2/0", 3), Some(OVER));
    }

    #[test]
    fn ranges_are_bounded() {
        let mut fences = Fences::default();
        for number in 0..=FORGOTTEN_MAX {
            fences.forget(&range(
                &format!("{number:04}"),
                &format!("{number:04}/"),
                &[],
            ));
        }
        assert_eq!(fences.forgotten().len(), FORGOTTEN_MAX);
        assert_eq!(fences.fenced_by("0000", 1), None);
        assert_eq!(fences.fenced_by("0001", 1), Some(OVER));
    }

    #[test]
    fn below_a_path_are_its_parts_and_not_its_longer_neighbours() {
        let paths = ["a", "a!", "a/b", "a/c", "ab"];
        let paths: BTreeMap<_, _> = paths.map(|path| (path.to_owned(), path.len())).into();
        let found: Vec<_> = below(&paths, "a").map(|(path, _)| path).collect();
        assert_eq!(found, ["a", "a/b", "a/c"]);
    }
}
