//! Is there an order of a record's updates and linearizable reads that respects real time and explains every answer?
//!
//! The search of Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993), for each record by itself, which is
//! enough (Herlihy and Wing, *Linearizability*, 1990), with the memory of Lowe (*Testing for linearizability*, 2017):
//! what was taken and the state that it led to are visited once. The register knows its version, so nearly always one
//! operation at most fits. One of unknown outcome is taken where it helps, or never.
//!
//! Says nothing about records with plain writes: one of level `one` may sort before what was there (STORAGE.md §2).
//! What still holds for them is in [`crate::order`]. Local reads are left out; they may be stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use bytes::Bytes;
use common::types::{RecordVersion, Version};

use crate::operation::{Operation, ReadKind, Test};
use crate::record::{RecordHistory, Update};
use crate::versions::is_successor;
use crate::violation::{Kind, Violation, text};
use common::types::Outcome;

/// Operations looked at and words of sets copied, for one record, before the search gives up: about a second, and a
/// few hundred megabytes.
pub const STEPS_MAX: usize = 20_000_000;
/// A word that is copied stays in memory, so it counts for more than a look.
const STEPS_PER_WORD: usize = 2;
/// Operations that the message about a failure shows.
const EVIDENCE_MAX: usize = 8;

pub fn check(record: &RecordHistory) -> Vec<Violation> {
    check_within(record, &mut { STEPS_MAX })
}

/// Takes from the steps what it needs, of which there may be fewer than [`STEPS_MAX`].
pub fn check_within(record: &RecordHistory, steps_left: &mut usize) -> Vec<Violation> {
    if record.writes().next().is_some() {
        return Vec::new();
    }
    let calls = calls(record);
    let steps = *steps_left;
    let mut search = Search::new(&calls, steps);
    let verdict = search.run(initial(record));
    *steps_left = search.steps_left;
    let violation = match verdict {
        Verdict::Linearizable => None,
        Verdict::Undecided => Some(record.violation(
            Kind::Undecided,
            format!(
                "gave up the search for an order of {} operations after {steps} steps",
                calls.len()
            ),
            &[],
        )),
        Verdict::Stuck(stuck) => Some(explain(record, &calls, &stuck)),
    };
    violation.into_iter().collect()
}

/// What the register holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State<'a> {
    version: Version,
    value: Option<&'a Bytes>,
}

impl<'a> From<&'a RecordVersion> for State<'a> {
    fn from(held: &'a RecordVersion) -> Self {
        Self {
            version: held.version,
            value: held.value.as_ref(),
        }
    }
}

/// An operation as the search sees it.
struct Call<'a> {
    invoked_at: u64,
    /// None: its outcome is unknown, and it may be left out.
    answered_at: Option<u64>,
    effect: Effect<'a>,
    operation: &'a Operation,
}

enum Effect<'a> {
    /// A read, or an update that failed with this test.
    Found {
        found: State<'a>,
        failed: Option<&'a Test>,
    },
    /// An update that has succeeded.
    Made {
        test: &'a Test,
        base: Version,
        made: State<'a>,
    },
    /// An update of unknown outcome; when its test fails it does nothing.
    Unknown {
        test: &'a Test,
        new: Option<&'a Bytes>,
    },
}

impl<'a> Effect<'a> {
    /// The state after it, if this is how it can go in this state.
    fn apply(&self, state: State<'a>) -> Option<State<'a>> {
        match *self {
            Self::Found { found, failed } => {
                let passes = failed.is_some_and(|test| test.passes(state.version, state.value));
                (state == found && !passes).then_some(state)
            }
            Self::Made { test, base, made } => {
                let fits = state.version == base
                    && is_successor(base, made.version)
                    && test.passes(state.version, state.value);
                fits.then_some(made)
            }
            Self::Unknown { test, new } => {
                let version = Version {
                    step: state.version.step.checked_add(1)?,
                    ..state.version
                };
                let passes = test.passes(state.version, state.value);
                passes.then_some(State {
                    version,
                    value: new,
                })
            }
        }
    }
}

fn initial<'a>(record: &RecordHistory<'a>) -> State<'a> {
    let newest = record.initial().iter().max_by_key(|held| held.version);
    newest.map_or(
        State {
            version: Version::NULL,
            value: None,
        },
        State::from,
    )
}

/// In order of invocation.
fn calls<'a>(record: &RecordHistory<'a>) -> Vec<Call<'a>> {
    let reads = record.reads();
    let reads = reads.filter(|(kind, _)| *kind == ReadKind::Linearizable);
    let reads = reads.map(|(_, read)| Call {
        invoked_at: read.operation.invoked_at,
        answered_at: Some(read.at),
        effect: Effect::Found {
            found: read.result.into(),
            failed: None,
        },
        operation: read.operation,
    });
    let updates = record.updates.iter().filter_map(update);
    let mut calls: Vec<_> = reads.chain(updates).collect();
    calls.sort_by_key(|call| call.invoked_at);
    calls
}

fn update<'a>(update: &Update<'a>) -> Option<Call<'a>> {
    let (test, new) = (update.test, update.new);
    let answer = update.answers.first();
    let effect = match answer.map(|answer| answer.result) {
        None => Effect::Unknown { test, new },
        Some(Outcome::Mismatch { found }) => Effect::Found {
            found: found.into(),
            failed: Some(test),
        },
        Some(Outcome::Updated { base, made }) => Effect::Made {
            test,
            base: *base,
            made: State {
                version: made.version,
                value: new,
            },
        },
    };
    Some(Call {
        invoked_at: update.invoked_at,
        answered_at: answer.map(|answer| answer.at),
        effect,
        operation: answer
            .map(|answer| answer.operation)
            .or(update.calls.first().copied())?,
    })
}

/// Calls that were taken, by their index.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Taken(Vec<u64>);

impl Taken {
    fn none(calls: usize) -> Self {
        Self(vec![0; calls.div_ceil(64)])
    }

    fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    fn contains(&self, index: usize) -> bool {
        let word = self.0.get(index / 64);
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// The next index from this one on that is not taken.
    fn next_left(&self, from: usize) -> usize {
        let mut index = from;
        while let Some(word) = self.0.get(index / 64) {
            let left = !word >> (index % 64);
            if left != 0 {
                return index + left.trailing_zeros() as usize;
            }
            index = (index / 64 + 1) * 64;
        }
        index
    }
}

/// How far an order has come.
#[derive(Clone)]
struct Progress<'a> {
    taken: Taken,
    /// Answered calls that are not taken.
    left: usize,
    state: State<'a>,
}

enum Verdict<'a> {
    Linearizable,
    /// No order explains all; this one came farthest.
    Stuck(Progress<'a>),
    Undecided,
}

struct Search<'c, 'a> {
    calls: &'c [Call<'a>],
    /// Versions that an answered update has made, so that none of unknown outcome has.
    claimed: BTreeSet<Version>,
    /// What answered operations have seen at a version.
    seen: BTreeMap<Version, Option<&'a Bytes>>,
    /// Nobody has seen a newer one, so it explains nothing to make one.
    newest_seen: Version,
    steps_left: usize,
}

impl<'c, 'a> Search<'c, 'a> {
    fn new(calls: &'c [Call<'a>], steps_left: usize) -> Self {
        let mut search = Self {
            calls,
            claimed: BTreeSet::new(),
            seen: BTreeMap::new(),
            newest_seen: Version::NULL,
            steps_left,
        };
        for call in calls {
            let tested = match call.effect {
                Effect::Found { found, .. } => {
                    search.seen.insert(found.version, found.value);
                    found.version
                }
                Effect::Made { base, made, test } => {
                    search.claimed.insert(made.version);
                    if let Test::Value(old) = test {
                        search.seen.insert(base, old.as_ref());
                    }
                    base
                }
                Effect::Unknown { .. } => continue,
            };
            search.newest_seen = search.newest_seen.max(tested);
        }
        search
    }

    fn run(&mut self, initial: State<'a>) -> Verdict<'a> {
        let answered = self.calls.iter().filter(|call| call.answered_at.is_some());
        let start = Progress {
            taken: Taken::none(self.calls.len()),
            left: answered.count(),
            state: initial,
        };
        let mut farthest = start.clone();
        let mut visited = BTreeSet::new();
        let mut open = vec![start];
        while let Some(mut progress) = open.pop() {
            let Some(next) = self.advance(&mut progress) else {
                return Verdict::Undecided;
            };
            if progress.left == 0 {
                return Verdict::Linearizable;
            }
            match next.as_slice() {
                [] if progress.left < farthest.left => farthest = progress,
                [] => {}
                [(only, after)] => {
                    progress.take(*only, self.calls);
                    progress.state = *after;
                    open.push(progress);
                }
                // Ways that meet do so here at the latest.
                _ if visited.insert((progress.taken.clone(), progress.state)) => {
                    open.extend(next.iter().map(|(index, after)| {
                        let mut branch = progress.clone();
                        branch.take(*index, self.calls);
                        branch.state = *after;
                        branch
                    }));
                }
                _ => {}
            }
        }
        Verdict::Stuck(farthest)
    }

    /// Takes what fits and changes nothing: to take it at once excludes no order. Returns the updates that fit next,
    /// with the states after them; None when the steps are used up.
    fn advance(&mut self, progress: &mut Progress<'a>) -> Option<Vec<(usize, State<'a>)>> {
        let mut next = Vec::new();
        let mut unknown = BTreeMap::new();
        let mut first_answer_at = u64::MAX;
        let mut index = progress.taken.next_left(0);
        while let Some(call) = self.calls.get(index) {
            // Later ones wait for a call that was answered before they were invoked.
            if call.invoked_at > first_answer_at {
                break;
            }
            self.steps_left = self.steps_left.checked_sub(1)?;
            let after = call.effect.apply(progress.state);
            match (&call.effect, after) {
                (Effect::Found { .. }, Some(_)) => progress.take(index, self.calls),
                (Effect::Made { .. }, Some(after)) => next.push((index, after)),
                (Effect::Unknown { test, .. }, Some(after)) if self.helps(after) => {
                    // Of those that lead to the same, one that fits nowhere else is best, then the earliest.
                    let best = unknown.entry(after).or_insert(index);
                    if matches!(test, Test::Version(_)) {
                        *best = index;
                    }
                }
                _ => {}
            }
            if !progress.taken.contains(index) {
                first_answer_at = first_answer_at.min(call.answered_at.unwrap_or(u64::MAX));
            }
            index = progress.taken.next_left(index + 1);
        }
        next.extend(unknown.into_iter().map(|(after, index)| (index, after)));
        if next.len() > 1 {
            let words = progress.taken.0.len() * (next.len() + 1);
            self.steps_left = self.steps_left.checked_sub(words * STEPS_PER_WORD)?;
        }
        Some(next)
    }

    /// True if an update of unknown outcome may have led to this state, and somebody may have seen that it did.
    fn helps(&self, after: State) -> bool {
        let as_seen = self.seen.get(&after.version);
        after.version <= self.newest_seen
            && !self.claimed.contains(&after.version)
            && as_seen.is_none_or(|value| *value == after.value)
    }
}

impl Progress<'_> {
    fn take(&mut self, index: usize, calls: &[Call]) {
        self.taken.insert(index);
        let call = calls.get(index);
        self.left -= usize::from(call.is_some_and(|call| call.answered_at.is_some()));
    }
}

fn explain(record: &RecordHistory, calls: &[Call], stuck: &Progress) -> Violation {
    let State { version, value } = stuck.state;
    let message = format!(
        "no order of the operations explains their answers; the best one leaves {} out and ends with {version} = {}, \
         where none of these fits",
        stuck.left,
        text(value)
    );
    let left = calls
        .iter()
        .enumerate()
        .filter(|(index, call)| call.answered_at.is_some() && !stuck.taken.contains(*index));
    let evidence: Vec<&dyn Display> = left
        .map(|(_, call)| call.operation as &dyn Display)
        .take(EVIDENCE_MAX)
        .collect();
    record.violation(Kind::NotLinearizable, message, &evidence)
}
