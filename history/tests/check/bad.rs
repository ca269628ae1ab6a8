//! Histories that break a promise: each is rejected, for what is wrong with it and nothing else.

use std::collections::BTreeMap;

use common::types::Level::{All, Majority, One};
use common::types::Outcome;
use history::{Action, History, Kind, Test};

use crate::told::{
    at_replica, ends, failed, held, history, in_session, linearizable_read, pin, read, reject,
    report, succeeded, tried, tried_write, update, updated, updated_version, value, written,
};

/// A record with a plain write is not searched for a linearization: the rules of version order stand alone.
fn with_write(mut operations: Vec<history::Operation>) -> History {
    operations.push(written((90, 91), One, "90.9=later"));
    history(operations)
}

#[test]
fn lost_update() {
    let both = vec![
        updated((1, 2), "a", "-", "x", "0.0"),
        updated((3, 4), "b", "-", "y", "0.0"),
    ];
    reject(
        &history(both),
        &[Kind::TwoSuccessors, Kind::MissedUpdate, Kind::ReusedVersion],
    );
    let late = vec![
        updated((1, 2), "a", "-", "x", "0.0"),
        updated((3, 4), "b", "x", "y", "0.0+1"),
        failed((5, 6), "c", "z", "y", "0.0+1=x"),
    ];
    reject(&with_write(late), &[Kind::MissedUpdate]);
}

#[test]
fn two_successes_on_one_version_at_the_same_time() {
    reject(
        &with_write(vec![
            updated((1, 9), "a", "-", "x", "0.0"),
            updated((2, 8), "b", "-", "x", "0.0"),
        ]),
        &[Kind::TwoSuccessors],
    );
}

#[test]
fn stale_linearizable_read() {
    reject(
        &history(vec![
            updated((1, 2), "a", "-", "x", "0.0"),
            linearizable_read((3, 4), "0.0=-"),
        ]),
        &[Kind::StaleRead],
    );
}

#[test]
fn linearizable_reads_in_the_wrong_order() {
    reject(
        &with_write(vec![
            updated((1, 9), "a", "-", "x", "0.0"),
            linearizable_read((2, 3), "0.0+1=x"),
            linearizable_read((4, 5), "0.0=-"),
        ]),
        &[Kind::StaleRead],
    );
}

#[test]
fn linearizable_read_misses_a_write_that_a_majority_held() {
    reject(
        &history(vec![
            written((1, 2), Majority, "1.1=a"),
            linearizable_read((3, 4), "0.0=-"),
        ]),
        &[Kind::StaleRead],
    );
}

#[test]
fn update_misses_a_write_that_a_majority_held() {
    for level in [Majority, All] {
        reject(
            &history(vec![
                written((1, 2), level, "1.1=a"),
                updated((3, 4), "u", "-", "x", "0.0"),
            ]),
            &[Kind::MissedWrite],
        );
    }
}

#[test]
fn failed_update_misses_a_write_that_a_majority_held() {
    reject(
        &history(vec![
            written((1, 2), Majority, "1.1=a"),
            failed((3, 4), "u", "a", "x", "0.0=-"),
        ]),
        &[Kind::MissedWrite],
    );
}

#[test]
fn update_misses_a_decided_update_that_a_local_read_has_shown() {
    reject(
        &with_write(vec![
            updated((1, 9), "a", "-", "x", "0.0"),
            read((2, 3), "0.0+1=x"),
            failed((4, 5), "b", "y", "z", "0.0=-"),
        ]),
        &[Kind::MissedUpdate],
    );
}

#[test]
fn update_whose_version_is_not_the_successor() {
    let outcome = Outcome::Updated {
        base: held("0.0=-").version,
        made: held("1.1=x"),
    };
    let test = Test::Value(None);
    reject(
        &with_write(vec![update((1, Some(2)), "a", test, "x", Some(outcome))]),
        &[Kind::WrongVersion],
    );
}

#[test]
fn the_last_step_has_no_successor() {
    let outcome = Outcome::Updated {
        base: held("1.1+4294967295=a").version,
        made: held("1.1+4294967295=x"),
    };
    let test = Test::Value(value("a"));
    let mut history = history(vec![update((1, Some(2)), "a", test, "x", Some(outcome))]);
    let initial = vec![held("1.1+4294967295=a")];
    history.initial.insert("r".to_owned(), initial);
    reject(&history, &[Kind::WrongVersion, Kind::ReusedVersion]);
}

#[test]
fn plain_write_with_the_version_of_an_update() {
    reject(
        &history(vec![written((1, 2), One, "1.1+1=a")]),
        &[Kind::WrongVersion],
    );
}

#[test]
fn update_that_compared_another_value() {
    reject(
        &history(vec![
            written((1, 2), All, "1.1=a"),
            updated((3, 4), "u", "b", "c", "1.1"),
        ]),
        &[Kind::WrongTest],
    );
}

#[test]
fn update_that_compared_another_version() {
    let outcome = Some(succeeded("1.1", "x"));
    let test = Test::Version(held("2.2=-").version);
    reject(
        &history(vec![
            written((1, 2), All, "1.1=a"),
            update((3, Some(4)), "u", test, "x", outcome),
        ]),
        &[Kind::WrongTest],
    );
}

#[test]
fn update_that_failed_though_it_found_what_it_tests_for() {
    reject(
        &history(vec![
            written((1, 2), All, "1.1=a"),
            failed((3, 4), "u", "a", "b", "1.1=a"),
        ]),
        &[Kind::WrongTest],
    );
}

#[test]
fn phantom_read() {
    reject(&history(vec![read((1, 2), "1.1=a")]), &[Kind::Phantom]);
}

#[test]
fn read_of_a_write_before_it_was_asked_for() {
    reject(
        &history(vec![read((1, 2), "1.1=a"), written((3, 4), One, "1.1=a")]),
        &[Kind::Phantom],
    );
}

#[test]
fn update_of_a_version_that_nobody_made() {
    reject(
        &with_write(vec![updated_version((1, 2), "u", "1.1", "a")]),
        &[Kind::Phantom],
    );
    reject(
        &with_write(vec![updated((1, 2), "u", "-", "a", "1.1")]),
        &[Kind::Phantom],
    );
}

#[test]
fn one_unknown_write_that_became_two_versions() {
    reject(
        &history(vec![
            tried_write(1, "a"),
            read((2, 3), "1.1=a"),
            read((4, 5), "2.1=a"),
        ]),
        &[Kind::Phantom],
    );
}

#[test]
fn an_unknown_write_was_not_asked_for_yet() {
    reject(
        &history(vec![read((1, 2), "1.1=a"), tried_write(3, "a")]),
        &[Kind::Phantom],
    );
}

#[test]
fn phantom_in_a_final_state() {
    reject(
        &ends(
            history(vec![written((1, 2), One, "1.1=a")]),
            &[("0.0", &["1.1=a", "2.1=b"])],
        ),
        &[Kind::Phantom],
    );
}

#[test]
fn version_reused_for_another_value() {
    reject(
        &history(vec![written((1, 2), One, "1.1=a"), read((3, 4), "1.1=b")]),
        &[Kind::ReusedVersion],
    );
}

#[test]
fn version_given_to_two_writes() {
    reject(
        &history(vec![
            written((1, 9), One, "1.1=a"),
            written((2, 8), One, "1.1=a"),
        ]),
        &[Kind::ReusedVersion],
    );
}

#[test]
fn absent_record_with_a_value() {
    reject(
        &history(vec![read((1, 2), "0.0=a")]),
        &[Kind::ReusedVersion],
    );
}

#[test]
fn repeated_id_with_two_outcomes() {
    reject(
        &with_write(vec![
            updated((1, 2), "a", "-", "x", "0.0"),
            failed((3, 4), "a", "-", "x", "0.0+1=x"),
        ]),
        &[Kind::DifferentAnswers],
    );
}

#[test]
fn id_executed_twice() {
    reject(
        &with_write(vec![
            updated((1, 2), "a", "-", "x", "0.0"),
            updated((3, 4), "b", "x", "-", "0.0+1"),
            updated((5, 6), "a", "-", "x", "0.0+2"),
        ]),
        &[Kind::ExecutedTwice],
    );
}

#[test]
fn id_executed_a_second_time_behind_its_back() {
    reject(
        &history(vec![
            updated((1, 2), "a", "-", "x", "0.0"),
            updated((3, 4), "b", "x", "-", "0.0+1"),
            linearizable_read((5, 6), "0.0+3=x"),
        ]),
        &[Kind::Phantom],
    );
}

#[test]
fn session_does_not_read_its_own_write() {
    let initial = written((1, 2), All, "1.1=a");
    let mut operations = in_session(vec![written((3, 4), One, "2.1=b"), read((5, 6), "1.1=a")]);
    operations.insert(0, initial);
    reject(&history(operations), &[Kind::OwnWriteUnseen]);
}

#[test]
fn session_does_not_read_its_own_update() {
    reject(
        &history(in_session(vec![
            updated((1, 2), "a", "-", "x", "0.0"),
            read((3, 4), "0.0=-"),
        ])),
        &[Kind::OwnWriteUnseen],
    );
}

#[test]
fn session_goes_backwards() {
    let mut operations = in_session(vec![read((5, 6), "2.2=b"), read((7, 8), "1.1=a")]);
    operations.insert(0, written((1, 2), One, "1.1=a"));
    operations.insert(0, written((3, 4), One, "2.2=b"));
    reject(&history(operations), &[Kind::ReadWentBack]);
}

#[test]
fn run_reads_another_version_than_it_has_pinned() {
    let mut operations = in_session(vec![read((5, 6), "1.1=a"), read((7, 8), "2.2=b")]);
    operations.insert(0, written((1, 2), One, "1.1=a"));
    operations.insert(0, written((3, 4), One, "2.2=b"));
    let mut history = history(operations);
    pin(&mut history);
    reject(&history, &[Kind::NotRepeatable]);
}

#[test]
fn write_below_what_its_session_has_seen() {
    let mut operations = in_session(vec![
        read((5, 6), "2.2=b"),
        // Newer by its replica, but its number was not raised.
        written((7, 8), One, "2.1=c"),
    ]);
    operations.insert(0, written((3, 4), One, "2.2=b"));
    reject(&history(operations), &[Kind::WriteBelowSeen]);
}

#[test]
fn replica_shows_an_older_version_than_before() {
    reject(
        &history(vec![
            written((1, 2), One, "1.1=a"),
            at_replica(2, read((3, 4), "1.1=a")),
            at_replica(2, read((5, 6), "0.0=-")),
        ]),
        &[Kind::ReplicaWentBack],
    );
}

#[test]
fn replica_numbers_go_back() {
    reject(
        &history(vec![
            written((1, 2), One, "5.1=a"),
            written((3, 4), One, "4.1=b"),
        ]),
        &[Kind::ReplicaWentBack],
    );
}

#[test]
fn acknowledged_write_is_missing_in_the_end() {
    reject(
        &ends(
            history(vec![
                written((1, 2), One, "1.1=a"),
                written((3, 4), One, "2.1=b"),
            ]),
            &[("0.0", &["2.1=b"]), ("0.0", &["2.1=b"])],
        ),
        &[Kind::Missing],
    );
}

#[test]
fn acknowledged_update_is_missing_in_the_end() {
    reject(
        &ends(
            history(vec![updated((1, 2), "a", "-", "x", "0.0")]),
            &[("0.0", &[])],
        ),
        &[Kind::Missing],
    );
}

#[test]
fn what_was_read_of_an_unknown_update_is_missing_in_the_end() {
    reject(
        &ends(
            history(vec![tried(1, "a", "-", "x"), read((2, 3), "0.0+1=x")]),
            &[("0.0", &[])],
        ),
        &[Kind::Missing],
    );
}

#[test]
fn record_is_missing_in_the_end() {
    let mut history = history(vec![written((1, 2), One, "1.1=a")]);
    history.finals.insert("other".to_owned(), BTreeMap::new());
    reject(&history, &[Kind::Missing]);
}

#[test]
fn a_write_of_level_all_outlives_the_replica_that_made_it() {
    let mut history = ends(
        history(vec![written((1, 2), All, "1.1=a")]),
        &[("0.0", &[]), ("0.0", &[])],
    );
    history.lost.insert(1);
    reject(&history, &[Kind::Missing]);
}

#[test]
fn replicas_differ_in_the_end() {
    reject(
        &ends(
            history(vec![tried_write(1, "a")]),
            &[("0.0", &[]), ("0.0", &["1.1=a"])],
        ),
        &[Kind::Diverged],
    );
}

#[test]
fn only_the_search_sees_that_no_order_is_possible() {
    // Version 0.0+2 must come from the unknown update, whose test fails on 0.0+1: all rules of version order hold.
    let operations = |old| {
        vec![
            tried(1, "unknown", old, "b"),
            updated((2, 3), "a", "-", "a", "0.0"),
            updated((4, 5), "c", "b", "c", "0.0+2"),
        ]
    };
    reject(&history(operations("z")), &[Kind::NotLinearizable]);
    crate::told::accept(&history(operations("a")));
}

#[test]
fn only_the_search_sees_that_an_unknown_update_is_needed_twice() {
    // Between 0.0+1 and 0.0+4 are three unknown versions, of which nobody has seen the value.
    reject(
        &history(vec![
            tried(1, "p", "a", "b"),
            tried(1, "q", "b", "a"),
            tried(1, "s", "c", "a"),
            updated((2, 3), "a", "-", "a", "0.0"),
            updated((4, 5), "c", "a", "c", "0.0+4"),
        ]),
        &[Kind::NotLinearizable],
    );
}

#[test]
fn a_search_without_end_is_given_up() {
    // Ways through a complete graph of values that use no edge twice: the last update needs one edge too many.
    let values = ["-", "a", "b", "c", "d", "e", "f"];
    let edges = values
        .iter()
        .flat_map(|from| values.iter().map(move |to| (from, to)));
    let mut operations: Vec<_> = edges
        .filter(|(from, to)| from != to)
        .map(|(from, to)| tried(1, &format!("{from}{to}"), from, to))
        .collect();
    operations.push(updated_version((2, 3), "last", "0.0+43", "z"));
    reject(&history(operations), &[Kind::Undecided]);
}

#[test]
fn malformed_histories_are_not_checked() {
    reject(&history(vec![read((2, 1), "9.9=x")]), &[Kind::Malformed]);
    reject(
        &history(in_session(vec![
            read((1, 9), "9.9=x"),
            read((2, 3), "0.0=-"),
        ])),
        &[Kind::Malformed],
    );
    let mut calls = vec![tried(1, "a", "-", "x"), tried(2, "a", "-", "x")];
    if let Action::Update { new, .. } = &mut calls[1].action {
        *new = value("y");
    }
    reject(&history(calls), &[Kind::Malformed]);
}

#[test]
fn a_violation_shows_what_happened() {
    let mut missed = updated((3, 4), "run", "-", "x", "0.0");
    missed.replica = Some(2);
    let (_, report) = report(&history(vec![written((1, 2), Majority, "1.1=a"), missed]));
    let expected = "\
missed write: record `r`: 0.0 was tested or read after 1.1 was there
  client-1 at 1..2: write \"a\", level majority → 1.1
  client-3 at 3..4, replica 2: update run/0 of absent to \"x\" → 0.0+1 on 0.0";
    assert_eq!(report, expected);
}
