//! Histories that a correct storage can have: no false alarm.

use common::types::Level::{All, Majority, One};
use history::{Action, History, ReadKind};

use crate::told::{
    accept, at_replica, ends, failed, held, history, in_session, linearizable_read, pin, read,
    tried, tried_write, updated, updated_version, value, written,
};

#[test]
fn nothing_happened() {
    accept(&History::default());
}

#[test]
fn updates_one_after_another() {
    accept(&history(vec![
        linearizable_read((1, 2), "0.0=-"),
        updated((3, 4), "a", "-", "x", "0.0"),
        updated_version((5, 6), "b", "0.0+1", "y"),
        failed((7, 8), "c", "x", "z", "0.0+2=y"),
        updated((9, 10), "d", "y", "-", "0.0+2"),
        updated((11, 12), "e", "-", "x", "0.0+3"),
        linearizable_read((13, 14), "0.0+4=x"),
    ]));
}

#[test]
fn concurrent_updates_and_reads_in_another_order_than_asked() {
    accept(&history(vec![
        updated((1, 9), "a", "x", "y", "0.0+1"),
        updated((2, 8), "b", "-", "x", "0.0"),
        linearizable_read((3, 7), "0.0+2=y"),
        linearizable_read((4, 7), "0.0=-"),
        failed((5, 10), "c", "-", "z", "0.0+1=x"),
    ]));
}

#[test]
fn what_ends_when_another_begins_is_concurrent() {
    accept(&history(vec![
        updated((1, 5), "a", "-", "x", "0.0"),
        linearizable_read((5, 6), "0.0=-"),
    ]));
}

#[test]
fn values_that_repeat_are_told_apart_by_version() {
    accept(&history(vec![
        updated((1, 20), "a", "-", "x", "0.0"),
        updated((1, 20), "b", "x", "x", "0.0+2"),
        updated((1, 20), "c", "x", "x", "0.0+1"),
        updated((1, 20), "d", "x", "-", "0.0+3"),
        updated((1, 20), "e", "-", "x", "0.0+4"),
    ]));
}

#[test]
fn an_unknown_update_that_happened_later() {
    accept(&history(vec![
        tried(1, "a", "x", "y"),
        linearizable_read((2, 3), "0.0=-"),
        updated((4, 5), "b", "-", "x", "0.0"),
        linearizable_read((6, 7), "0.0+1=x"),
        linearizable_read((8, 9), "0.0+2=y"),
    ]));
}

#[test]
fn an_unknown_update_that_nobody_saw() {
    accept(&history(vec![
        tried(1, "a", "-", "x"),
        tried(1, "b", "x", "y"),
        updated((4, 5), "c", "-", "z", "0.0"),
    ]));
}

#[test]
fn two_unknown_updates_explain_two_versions() {
    accept(&history(vec![
        tried(1, "a", "-", "x"),
        tried(2, "b", "x", "x"),
        tried(3, "c", "x", "y"),
        updated((4, 5), "d", "x", "z", "0.0+2"),
    ]));
}

#[test]
fn a_repeat_is_answered_as_the_first_call_which_was_lost() {
    accept(&history(vec![
        tried(1, "a", "-", "x"),
        updated((2, 3), "b", "x", "y", "0.0+1"),
        updated((4, 5), "a", "-", "x", "0.0"),
        updated((6, 7), "a", "-", "x", "0.0"),
    ]));
}

#[test]
fn a_late_repeat_is_answered_without_the_value() {
    let mut late = updated((8, 9), "a", "-", "-", "0.0");
    if let Action::Update { new, .. } = &mut late.action {
        *new = value("x");
    }
    accept(&history(vec![updated((1, 2), "a", "-", "x", "0.0"), late]));
}

#[test]
fn a_write_of_level_one_is_seen_late_and_sorts_by_its_version() {
    accept(&ends(
        history(vec![
            written((1, 2), All, "1.1=a"),
            written((3, 4), One, "2.3=isolated"),
            updated((5, 6), "a", "a", "b", "1.1"),
            updated((7, 8), "b", "b", "c", "1.1+1"),
            linearizable_read((9, 10), "1.1+2=c"),
            // The partition has healed.
            linearizable_read((11, 12), "2.3=isolated"),
            failed((13, 14), "c", "c", "d", "2.3=isolated"),
        ]),
        &[
            ("1.1", &["1.1+1=b", "1.1+2=c", "2.3=isolated"]),
            ("0.0", &["1.1=a", "1.1+1=b", "1.1+2=c", "2.3=isolated"]),
        ],
    ));
}

#[test]
fn a_write_that_a_majority_held_too_late_is_not_missed() {
    accept(&history(vec![
        written((1, 6), Majority, "1.2=w"),
        updated((2, 7), "a", "-", "x", "0.0"),
        updated((5, 9), "b", "x", "y", "0.0+1"),
        read((10, 11), "1.2=w"),
    ]));
}

#[test]
fn unknown_writes_that_were_seen_and_that_were_not() {
    accept(&ends(
        history(vec![
            tried_write(1, "a"),
            tried_write(2, "a"),
            tried_write(3, "b"),
            read((4, 5), "1.1=a"),
            updated_version((6, 7), "u", "2.2", "c"),
        ]),
        &[("0.0", &["1.1=a", "2.2=a", "2.2+1=c"])],
    ));
}

#[test]
fn local_reads_may_be_stale() {
    accept(&history(vec![
        updated((1, 2), "a", "-", "x", "0.0"),
        read((3, 4), "0.0=-"),
        at_replica(2, read((5, 6), "0.0+1=x")),
        at_replica(1, read((7, 8), "0.0=-")),
    ]));
}

#[test]
fn a_run_reads_its_own_writes_and_what_it_has_pinned() {
    let mut history = history(in_session(vec![
        read((1, 2), "4.1=a"),
        read((3, 4), "4.1=a"),
        written((5, 6), One, "5.2=b"),
        read((7, 8), "5.2=b"),
        // The coordinator did not have the run's own write yet.
        failed((9, 10), "u", "b", "c", "4.1=a"),
        read((11, 12), "4.1=a"),
        updated((13, 14), "v", "a", "c", "4.1"),
        read((15, 16), "4.1+1=c"),
    ]));
    pin(&mut history);
    history
        .initial
        .insert("r".to_owned(), vec![held("4.1=a"), held("3.1=z")]);
    accept(&history);
}

#[test]
fn a_script_reads_ever_newer_versions() {
    accept(&history(in_session(vec![
        written((1, 2), One, "1.1=a"),
        read((3, 4), "1.1=a"),
        updated((5, 6), "u", "a", "b", "1.1"),
        linearizable_read((7, 8), "1.1+1=b"),
    ])));
}

#[test]
fn a_session_asks_for_an_old_version() {
    let mut old = read((5, 6), "0.0=-");
    if let Action::Read { kind, .. } = &mut old.action {
        *kind = ReadKind::Exactly;
    }
    accept(&history(in_session(vec![
        updated((1, 2), "u", "-", "a", "0.0"),
        read((3, 4), "0.0+1=a"),
        old,
    ])));
}

#[test]
fn replicas_discard_at_different_times() {
    accept(&ends(
        history(vec![
            written((1, 2), One, "1.1=a"),
            written((3, 4), One, "2.1=b"),
            written((5, 6), One, "3.1=c"),
        ]),
        &[
            ("2.1", &["3.1=c"]),
            ("0.0", &["1.1=a", "2.1=b", "3.1=c"]),
            ("1.1", &["3.1=c", "2.1=b"]),
        ],
    ));
}

#[test]
fn a_write_dies_with_the_only_replica_that_held_it() {
    let mut history = ends(
        history(in_session(vec![
            written((1, 2), One, "1.1=a"),
            read((3, 4), "0.0=-"),
            at_replica(1, written((5, 6), All, "2.1=b")),
        ])),
        &[("0.0", &["2.1=b"]), ("0.0", &["2.1=b"])],
    );
    history.lost.insert(1);
    accept(&history);
}

#[test]
fn records_are_independent() {
    let mut other = updated((2, 3), "b", "-", "y", "0.0");
    other.record = "s".to_owned();
    accept(&history(vec![updated((1, 4), "a", "-", "x", "0.0"), other]));
}
