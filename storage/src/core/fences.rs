//! Which updates of tasks a node refuses: those of older attempts, and those of tasks that are over. Durable.
//!
//! Origins are paths; a fence holds for its path and all below it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Included, Unbounded};

use common::types::{is_below, paths_to};

/// Fences of one node, at most.
pub const FENCES_MAX: usize = 65_536;
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
    /// By path, the attempt below which all are refused.
    fences: BTreeMap<String, u32>,
    /// In the order of `from`.
    forgotten: Vec<Forgotten>,
}

impl Fences {
    /// Never goes back.
    pub(super) fn raise(&mut self, path: &str, attempt: u32) {
        let fence = self.fences.entry(path.to_owned()).or_default();
        *fence = attempt.max(*fence);
    }

    pub(super) fn forget(&mut self, new: &Forgotten) {
        self.fences.retain(|path, _| !new.has(path));
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
        let fences = paths_to(origin).filter_map(|path| self.fences.get(path).copied());
        fences.max().filter(|fence| attempt < *fence)
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
        &self.fences
    }

    pub fn forgotten(&self) -> &[Forgotten] {
        &self.forgotten
    }

    pub fn of(
        fences: impl IntoIterator<Item = (String, u32)>,
        forgotten: impl IntoIterator<Item = Forgotten>,
    ) -> Self {
        Self {
            fences: fences.into_iter().collect(),
            forgotten: forgotten.into_iter().collect(),
        }
    }
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
