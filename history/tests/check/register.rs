//! Random histories of a record with updates and linearizable reads only: of a sequential register whose operations are
//! stretched until they overlap, of the same with one answer changed, and with every answer by chance.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::types::Outcome;
use common::types::{RecordVersion, Version};
use history::{
    Action, Answer, History, Kind, Operation, ReadKind, RecordHistory, Test, Violation, check_all,
    linearizable,
};

use crate::told::{accept, history, id, operation, report};

/// Operations are stretched by up to this many distances between two.
const OVERLAP_MAX: u64 = 4;
const DISTANCE: u64 = 10;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).checked_rem(end).unwrap_or(0)
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// Few, so that they repeat.
    fn value(&mut self) -> Option<Bytes> {
        let values = [None, Some("a"), Some("b")];
        values[self.below(3) as usize].map(|text| Bytes::from_static(text.as_bytes()))
    }

    fn held(&mut self) -> RecordVersion {
        let step = self.below(4) as u32;
        RecordVersion {
            version: Version {
                step,
                ..Version::NULL
            },
            value: if step == 0 { None } else { self.value() },
        }
    }

    /// An outcome that a client could believe.
    fn outcome(&mut self, new: Option<&Bytes>) -> Outcome {
        let found = self.held();
        if self.one_in(3) {
            Outcome::Mismatch { found }
        } else {
            updated(found.version, new)
        }
    }
}

fn updated(base: Version, new: Option<&Bytes>) -> Outcome {
    Outcome::Updated {
        base,
        made: RecordVersion {
            version: base.successor(),
            value: new.cloned(),
        },
    }
}

/// What one operation does at its moment.
fn step(random: &mut Random, state: &mut RecordVersion, unique: u64, at: u64) -> Action {
    if random.one_in(4) {
        let (kind, result) = (ReadKind::Linearizable, state.clone());
        let answer = Some(Answer { at, result });
        return Action::Read { kind, answer };
    }
    let (old, new) = (random.value(), random.value());
    let test = match random.below(4) {
        0 => Test::Version(state.version),
        1 => Test::Value(old),
        _ => Test::Value(state.value.clone()),
    };
    let result = if test.passes(state.version, state.value.as_ref()) {
        let base = state.version;
        *state = RecordVersion {
            version: base.successor(),
            value: new.clone(),
        };
        updated(base, new.as_ref())
    } else {
        Outcome::Mismatch {
            found: state.clone(),
        }
    };
    Action::Update {
        id: id(&format!("u{unique}")),
        test,
        new,
        answer: Some(Answer { at, result }),
    }
}

/// Forgets the answer of an update.
fn lose_answer(operation: &mut Operation) {
    if let Action::Update { answer, .. } = &mut operation.action {
        *answer = None;
    }
}

/// Linearizable by construction: each operation takes effect at a moment of its own, between its invocation and its
/// answer. Some updates lose their answer, and some of these their effect.
fn sequential(random: &mut Random, length: u64) -> Vec<Operation> {
    let mut state = RecordVersion {
        version: Version::NULL,
        value: None,
    };
    let one_lost_of = 2 + random.below(5);
    let operations = (0..length).map(|unique| {
        let moment = (unique + OVERLAP_MAX) * DISTANCE;
        let mut stretch = || random.below(OVERLAP_MAX * DISTANCE);
        let (invoked_at, answered_at) = (moment - stretch(), moment + stretch());
        let before = state.clone();
        let action = step(random, &mut state, unique, answered_at);
        let mut operation = operation(invoked_at, action);
        if random.one_in(one_lost_of) {
            lose_answer(&mut operation);
            if random.one_in(2) && matches!(operation.action, Action::Update { .. }) {
                state = before;
            }
        }
        operation
    });
    operations.collect()
}

/// Changes one answer to a random one.
fn mutate(random: &mut Random, operations: &mut [Operation]) {
    let index = random.below(operations.len() as u64) as usize;
    match &mut operations[index].action {
        Action::Read {
            answer: Some(answer),
            ..
        } => answer.result = random.held(),
        Action::Update {
            new,
            answer: Some(answer),
            ..
        } => answer.result = random.outcome(new.as_ref()),
        _ => {}
    }
}

/// Every order of every choice of the unknown operations is tried: slow, and nothing in common with the checker.
fn is_linearizable(operations: &[Operation]) -> bool {
    fn extend(state: &RecordVersion, left: &[&Operation]) -> bool {
        if left
            .iter()
            .all(|operation| operation.answered_at().is_none())
        {
            return true;
        }
        (0..left.len()).any(|index| {
            let mut others = left.to_vec();
            let next = others.remove(index);
            let is_too_early = others.iter().any(|other| {
                other
                    .answered_at()
                    .is_some_and(|answered_at| answered_at < next.invoked_at)
            });
            // An unknown operation is dropped, or takes effect here.
            let is_dropped = next.answered_at().is_none() && extend(state, &others);
            is_dropped
                || (!is_too_early && run(state, next).is_some_and(|state| extend(&state, &others)))
        })
    }
    /// None: this is not what it would have answered.
    fn run(state: &RecordVersion, operation: &Operation) -> Option<RecordVersion> {
        match &operation.action {
            Action::Read { answer, .. } => {
                (answer.as_ref()?.result == *state).then(|| state.clone())
            }
            Action::Update {
                test, new, answer, ..
            } => {
                let succeeds = match test {
                    Test::Value(old) => *old == state.value,
                    Test::Version(version) => *version == state.version,
                };
                let (outcome, after) = if succeeds {
                    let outcome = updated(state.version, new.as_ref());
                    let version = state.version.successor();
                    let value = new.clone();
                    (outcome, RecordVersion { version, value })
                } else {
                    let found = state.clone();
                    (Outcome::Mismatch { found }, state.clone())
                };
                let as_told = answer
                    .as_ref()
                    .is_none_or(|answer| answer.result == outcome);
                as_told.then_some(after)
            }
            Action::Write { .. } => None,
        }
    }
    let absent = RecordVersion {
        version: Version::NULL,
        value: None,
    };
    extend(&absent, &operations.iter().collect::<Vec<_>>())
}

fn checker_accepts(history: &History) -> bool {
    let records = RecordHistory::all(history);
    records
        .iter()
        .all(|record| linearizable::check(record).is_empty())
}

#[track_caller]
fn compare(seed: u64, operations: &[Operation]) -> bool {
    let history = history(operations.to_vec());
    let expected = is_linearizable(operations);
    let told: Vec<_> = operations.iter().map(ToString::to_string).collect();
    assert_eq!(
        checker_accepts(&history),
        expected,
        "seed {seed}:\n{}",
        told.join("\n")
    );
    // The rules of version order are never stricter than that.
    assert_eq!(check_all(&history).is_empty(), expected, "seed {seed}");
    expected
}

#[test]
fn the_search_agrees_with_brute_force() {
    let (mut good, mut mutated, mut by_chance) = (0, 0, 0);
    let seeds = 3_000;
    for seed in 0..seeds {
        let mut random = Random(seed);
        let length = 1 + random.below(6);
        let mut operations = sequential(&mut random, length);
        good += u64::from(compare(seed, &operations));
        mutate(&mut random, &mut operations);
        mutated += u64::from(compare(seed, &operations));
        for _ in 0..operations.len() {
            mutate(&mut random, &mut operations);
        }
        by_chance += u64::from(compare(seed, &operations));
    }
    assert_eq!(good, seeds, "a sequential register is linearizable");
    assert!(
        0 < mutated && mutated < seeds * 2 / 3,
        "{mutated} of {seeds}"
    );
    assert!(
        0 < by_chance && by_chance < mutated,
        "{by_chance} of {seeds}"
    );
}

/// 100 records of 100 operations each.
fn many(seed: u64, length: u64) -> BTreeMap<String, Vec<Operation>> {
    let mut random = Random(seed);
    let of = |record: u64| {
        let mut operations = sequential(&mut random, length);
        for operation in &mut operations {
            operation.record = format!("r{record}");
        }
        (format!("r{record}"), operations)
    };
    (0..100).map(of).collect()
}

#[test]
fn ten_thousand_good_operations_are_decided() {
    let records = many(1, 100).into_values();
    accept(&history(records.flatten().collect()));
}

#[test]
fn ten_thousand_bad_operations_are_decided() {
    let mut records = many(2, 100);
    let mut random = Random(2);
    for operations in records.values_mut() {
        mutate(&mut random, operations);
    }
    let history = history(records.into_values().flatten().collect());
    let by_versions = check_all(&history);
    let records = RecordHistory::all(&history);
    let by_search: Vec<_> = records.iter().flat_map(linearizable::check).collect();
    let rejected = |found: &[Violation]| -> BTreeSet<String> {
        found
            .iter()
            .map(|violation| violation.record.clone())
            .collect()
    };
    assert!(
        by_search
            .iter()
            .all(|violation| violation.kind == Kind::NotLinearizable)
    );
    assert_eq!(rejected(&by_versions), rejected(&by_search));
    assert!(by_search.len() > 20, "{}", by_search.len());
}

#[test]
fn ten_thousand_operations_of_one_record_are_decided() {
    let mut random = Random(3);
    let mut operations = sequential(&mut random, 10_000);
    accept(&history(operations.clone()));
    for _ in 0..3 {
        mutate(&mut random, &mut operations);
    }
    let (kinds, report) = report(&history(operations));
    assert!(
        !kinds.is_empty() && !kinds.contains(&Kind::Undecided),
        "{report}"
    );
}
