//! The smallest part of a record's history that still shows a violation, as far as a bounded search finds it.
//!
//! Parts are left out, large ones first, while the same violation stays: the same sentence about the same operations,
//! which was true of the whole history. That there is no order of the operations has no such sentence. There only what
//! cannot have been the cause is left out: what was asked for later than everything else, what changed nothing, and what
//! went before a version, which then stands in for it.

use common::types::{Outcome, RecordVersion, Version};

use crate::operation::{Action, History, Operation};
use crate::record::RecordHistory;
use crate::violation::{Kind, Violation};
use crate::{check_record, malformed};

/// Operations that all tries together may look at.
const LOOKS_MAX: usize = 2_000_000;
/// Steps of all searches together, and of one.
const STEPS_MAX: usize = 20_000_000;
const STEPS_OF_ONE_MAX: usize = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smallest {
    pub history: History,
    /// It ran out of time: there may be a smaller one.
    pub is_cut_short: bool,
}

pub fn smallest(history: &History, violation: &Violation) -> Smallest {
    let mut search = Search {
        violation,
        best: of_record(history, violation),
        looks_left: LOOKS_MAX,
        steps_left: STEPS_MAX,
        is_cut_short: false,
    };
    match violation.kind {
        Kind::Undecided => {}
        Kind::NotLinearizable => search.shrink_order(),
        _ => search.shrink(),
    }
    Smallest {
        history: search.best,
        is_cut_short: search.is_cut_short,
    }
}

/// A contradiction in a session may be between records.
fn of_record(history: &History, violation: &Violation) -> History {
    let mut part = history.clone();
    let record = &violation.record;
    if violation.kind != Kind::Malformed {
        part.operations
            .retain(|operation| operation.record == *record);
    }
    part.initial.retain(|id, _| id == record);
    part.finals.retain(|id, _| id == record);
    part
}

struct Search<'v> {
    violation: &'v Violation,
    best: History,
    looks_left: usize,
    steps_left: usize,
    is_cut_short: bool,
}

impl Search<'_> {
    /// Takes over a part that still shows it.
    fn accept(&mut self, part: History) -> bool {
        let (cost, steps) = (
            part.operations.len() + 1,
            STEPS_OF_ONE_MAX.min(self.steps_left),
        );
        if self.looks_left < cost || steps == 0 {
            self.is_cut_short = true;
            return false;
        }
        self.looks_left -= cost;
        let mut left = steps;
        let shows = match self.violation.kind {
            Kind::Malformed => malformed::check(&part).contains(self.violation),
            kind => RecordHistory::all(&part).iter().any(|record| {
                let found = check_record(record, &mut left);
                found.iter().any(|found| {
                    found == self.violation || found.kind == kind && kind == Kind::NotLinearizable
                })
            }),
        };
        self.steps_left -= steps - left;
        if shows {
            self.best = part;
        }
        shows
    }

    fn shrink(&mut self) {
        for (id, states) in self.best.finals.clone() {
            for replica in states.keys() {
                let mut part = self.best.clone();
                part.finals
                    .get_mut(&id)
                    .map(|states| states.remove(replica));
                part.finals.retain(|_, states| !states.is_empty());
                self.accept(part);
            }
        }
        let versions = self
            .best
            .initial
            .values()
            .flatten()
            .cloned()
            .collect::<Vec<_>>();
        for version in versions {
            let mut part = self.best.clone();
            for versions in part.initial.values_mut() {
                versions.retain(|held| *held != version);
            }
            self.accept(part);
        }
        self.leave_out(|_| true);
    }

    /// Halves, then quarters, and so on, until no single one can be left out.
    fn leave_out(&mut self, may_go: impl Fn(&Operation) -> bool) {
        let mut size = self.best.operations.len();
        while size > 0 && !self.is_cut_short {
            let mut shrunk = false;
            let mut start = 0;
            while start < self.best.operations.len() && !self.is_cut_short {
                let mut part = self.best.clone();
                let mut index = 0;
                part.operations.retain(|operation| {
                    let is_inside = (start..start + size).contains(&index);
                    index += 1;
                    !(is_inside && may_go(operation))
                });
                let is_less = part.operations.len() < self.best.operations.len();
                if is_less && self.accept(part) {
                    shrunk = true;
                } else {
                    start += size;
                }
            }
            if size == 1 && shrunk {
                continue;
            }
            size /= 2;
        }
    }

    fn shrink_order(&mut self) {
        let mut part = self.best.clone();
        part.finals.clear();
        // Local reads are no part of the order.
        self.accept(part);
        let times: Vec<u64> = self
            .best
            .operations
            .iter()
            .map(|operation| operation.invoked_at)
            .collect();
        // The first time up to which it is wrong.
        let (mut good, mut bad) = (0, times.len());
        while good + 1 < bad {
            let middle = good.midpoint(bad);
            let end = times.get(middle).copied().unwrap_or(u64::MAX);
            let mut part = self.best.clone();
            part.operations
                .retain(|operation| operation.invoked_at < end);
            if self.accept(part) {
                bad = middle;
            } else {
                good = middle;
            }
        }
        self.start_later();
        self.leave_out(|operation| match &operation.action {
            Action::Read { .. } => true,
            Action::Update { answer, .. } => {
                let answer = answer.as_ref().map(|answer| &answer.result);
                matches!(answer, Some(Outcome::Mismatch { .. }))
            }
            Action::Write { .. } => false,
        });
    }

    /// With a version that was made in place of what led to it; the latest that will do.
    fn start_later(&mut self) {
        let mut made: Vec<RecordVersion> = Vec::new();
        for operation in &self.best.operations {
            if let Action::Update {
                answer: Some(answer),
                new,
                ..
            } = &operation.action
                && let Outcome::Updated { made: at, .. } = &answer.result
            {
                let value = new.clone();
                made.push(RecordVersion {
                    version: at.version,
                    value,
                });
            }
        }
        made.sort();
        let (mut good, mut bad) = (0, made.len());
        while good < bad {
            let middle = good.midpoint(bad);
            let mut part = self.best.clone();
            let Some(start) = made.get(middle) else {
                return;
            };
            let is_later =
                |version: Option<Version>| version.is_none_or(|version| version > start.version);
            part.operations
                .retain(|operation| is_later(operation.version()));
            part.initial
                .insert(self.violation.record.clone(), vec![start.clone()]);
            if self.accept(part) {
                good = middle + 1;
            } else {
                bad = middle;
            }
        }
    }
}
