//! The rules of the house, as DESIGN.md §1 and STYLE.md state them, checked on the text of the repository.
//!
//! A rule is a function from sources to violations. Each reports all violations at once, and each has a test of its
//! own which shows that it can fail. Rules look at code: comments and the contents of strings are blanked first.
//!
//! - `rules`: the rules; `can_fail`: their own tests;
//! - `repository`: the files and the violations; `code`: the little of Rust's syntax that the rules know.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

#[path = "tidy/can_fail.rs"]
mod can_fail;
#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/repository.rs"]
mod repository;
#[path = "tidy/rules.rs"]
mod rules;

use repository::{Source, Violation, repository};

fn check(rule: fn(&[Source]) -> Vec<Violation>) {
    let found: Vec<String> = rule(&repository())
        .iter()
        .map(Violation::to_string)
        .collect();
    assert!(
        found.is_empty(),
        "{} violations:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn cores_are_pure() {
    check(rules::pure_cores);
}

#[test]
fn roles_use_the_fabric_for_time_tasks_and_chance() {
    check(rules::only_through_the_fabric);
}

#[test]
fn dependencies_run_one_way() {
    check(rules::one_way_dependencies);
}

#[test]
fn functions_fit_on_a_screen() {
    check(rules::short_functions);
}

#[test]
fn files_have_one_subject() {
    check(rules::short_files);
}

#[test]
fn no_work_is_left_marked_in_the_code() {
    check(rules::nothing_left_to_do);
}

#[test]
fn every_script_has_its_expected_output() {
    check(rules::scripts_have_golden_output);
}
