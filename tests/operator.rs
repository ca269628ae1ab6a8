//! `marionette operator test|inspect|run` with the real binary: what it prints where, and its exit statuses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod support;

use std::path::Path;
use std::time::Duration;

use support::cluster::Folder;
use support::{Finished, Marionette, examples};

/// The operators that ship.
fn standard() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("operators/std/std.wasm");
    path.to_str().unwrap().to_owned()
}

fn operator(arguments: &[&str]) -> Finished {
    Marionette::start(&[&["operator"], arguments].concat()).finish()
}

#[track_caller]
fn assert_ends(finished: &Finished, code: i32, output: &str, error: &str) {
    assert_eq!(finished.status.code(), Some(code), "{finished:?}");
    assert!(finished.output.contains(output), "{finished:?}");
    assert!(finished.error.contains(error), "{finished:?}");
}

#[test]
fn run_prints_items_and_tells_the_rest() {
    let finished = operator(&["run", "CounterOperator", "7", "--record", "7=41"]);
    assert_ends(&finished, 0, "", "");
    assert_eq!(finished.output, "42\n");
    assert_eq!(finished.error, "record  \"7\": \"41\" -> \"42\"\n");
    let finished = operator(&["run", "AddOperator", "7", "--file", &standard()]);
    let told = "error: operator AddOperator (storage): record \"7\": not found\n";
    assert_ends(&finished, 1, "", told);
}

#[test]
fn run_says_what_is_wrong_with_its_arguments() {
    let unknown = operator(&["run", "addOperater"]);
    let told = "error: unknown class `addOperater`\nhint: did you mean `AddOperator`?\n";
    assert_ends(&unknown, 2, "", told);
    for (arguments, told) in [
        (["--record", "7"], "there is no `=` in it"),
        (["--option", "=x"], "there is nothing before the `=`"),
        (["--blob", "a=b"], "`a` is not a URL"),
        (["--blob", "file:///a=/no/such"], "/no/such cannot be read"),
        (["--file", "/no/such"], "there is no file /no/such"),
    ] {
        let command = [&["run", "AddOperator", "7"], arguments.as_slice()].concat();
        assert_ends(&operator(&command), 2, "", told);
    }
}

#[test]
fn inspect_says_what_a_worker_would() {
    assert_ends(&operator(&["inspect", &standard()]), 0, "\naccepted\n", "");
    let json = operator(&["inspect", &standard(), "--output", "json"]);
    let object: serde_json::Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(object["classes"][0], "AddOperator");
    let folder = Folder::new();
    let refused = operator(&[
        "inspect",
        &folder.write("bad.wasm", b"\0asm\x0d\0\x01\0\xff"),
    ]);
    assert_ends(&refused, 1, "\nnot accepted:\n- it is damaged: ", "");
    assert_eq!(refused.error, "", "the worker's own log says nothing twice");
    let missing = operator(&["inspect", "/no/such"]);
    assert_ends(&missing, 2, "", "error: /no/such cannot be read: ");
}

#[test]
fn test_ends_with_the_verdict_of_its_cases() {
    let folder = Folder::new();
    let place = folder.path().to_str().unwrap();
    let told = "hint: build it first: marionette operator build";
    assert_ends(&operator(&["test", place]), 2, "", told);
    folder.write("std.wasm", std::fs::read(standard()).unwrap());
    let good = "[[case]]\nname = \"counts\"\nclass = \"CounterOperator\"\ninput = \"k\"\n\
                expect = { output = [1], records = { k = 1 } }\n";
    folder.write("cases.toml", good);
    assert_ends(&operator(&["test", place]), 0, "\n1 case ok, ", "");
    let bad = good.replace("output = [1]", "output = [2]");
    folder.write("cases.toml", bad);
    let failed = operator(&["test", place, "--only", "count"]);
    assert_ends(&failed, 1, "FAILED  counts  (", "");
    assert!(failed.output.contains("expected  \"2\"\n"), "{failed:?}");
    assert!(!failed.output.contains('\u{1b}'), "no colours in a pipe");
    folder.write("cases.toml", good.replace("input", "inptu"));
    let wrong = operator(&["test", place]);
    assert_ends(&wrong, 2, "", "cases.toml:4:1\n");
    assert_ends(&wrong, 2, "", "error: 1 mistake in ");
}

/// The interpreter of Python is compiled when it is loaded first.
const PYTHON_MAX: Duration = Duration::from_mins(5);

#[test]
fn the_operators_of_the_polyglot_script_do_what_their_cases_say() {
    if !examples::built() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("operators/polyglot");
    for language in ["rust", "javascript", "python", "c"] {
        let directory = root.join(language);
        let running = Marionette::start(&["operator", "test", directory.to_str().unwrap()]);
        assert_ends(&running.finish_within(PYTHON_MAX), 0, "\n2 cases ok, ", "");
    }
}

#[test]
fn help_shows_an_example_and_the_exit_statuses() {
    for command in ["test", "inspect", "run"] {
        let help = operator(&[command, "--help"]);
        assert_ends(&help, 0, &format!("  marionette operator {command} "), "");
        assert_ends(&help, 0, "Exit status:\n  0  ", "");
    }
}
