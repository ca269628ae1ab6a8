//! Operators in the storage: deployed, pinned by runs, rolled back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

#[path = "../worker/tests/host/hostile_component.rs"]
#[allow(dead_code, reason = "most components are of no use here")]
mod component;
mod support;

use serde_json::Value;
use support::cluster::{Folder, nodes, nodes_at};
use support::{Marionette, free_ports, wait_until};

/// Adds an item to those of the stage before: `vN`. The items are at local 10, how many at 11; a key's tag is at 0 of an
/// item, the address of its value at 12 and the length at 16.
const ADDS_ITS_VERSION: &str = "(i32.store8 (i32.const 3000) (i32.const 118)) \
     (i32.store8 (i32.const 3001) (i32.const {digit})) \
     (memory.copy (i32.const 32768) (local.get 10) (i32.mul (local.get 11) (i32.const 20))) \
     (local.set $i (i32.add (i32.const 32768) (i32.mul (local.get 11) (i32.const 20)))) \
     (i32.store (local.get $i) (i32.const 0)) \
     (i32.store (i32.add (local.get $i) (i32.const 12)) (i32.const 3000)) \
     (i32.store (i32.add (local.get $i) (i32.const 16)) (i32.const 2)) \
     (i32.store (i32.const 264) (i32.const 32768)) \
     (i32.store (i32.const 268) (i32.add (local.get 11) (i32.const 1))) (i32.const 256)";

fn version(number: u8) -> Vec<u8> {
    let digit = (b'0' + number).to_string();
    component::component(component::Guest {
        class: "Versioned",
        run: &ADDS_ITS_VERSION.replace("{digit}", &digit),
        ..component::Guest::default()
    })
}

/// With `v1.wasm`, `v2.wasm`, and a chain of two stages of their class.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("v1.wasm", version(1));
    folder.write("v2.wasm", version(2));
    folder.write("chain.app", "operator Versioned 0\noperator Versioned 1\n");
    folder
}

fn events(output: &str) -> Vec<Value> {
    let lines = output.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_run_in_flight_keeps_its_version_and_a_rollback_takes_effect_for_the_next_one() {
    let folder = folder();
    // Every request waits at its first worker until long after the second version is deployed.
    let cluster = nodes_at("127.0.0.1", 3, 2, 6_000);
    let script = format!(
        "set timeout 60000\n{cluster}await ready\ndeploy v1.wasm\nrepeat 1000 client x chain.app\n\
         deploy v2.wasm\nrun x chain.app\nrollback Versioned\nrun x chain.app\nawait runs 60000\noperators\n"
    );
    let finished = folder.run_with(&script, &["--output", "json"]).finish();
    assert!(finished.status.success(), "{finished:?}");
    let mut ended = 0;
    for event in events(&finished.output)
        .iter()
        .filter(|event| event["event"] == "run")
    {
        let expected = if event["run"] == 1_001 {
            "v2, v2"
        } else {
            "v1, v1"
        };
        assert_eq!(event["output"], expected, "{event}");
        ended += 1;
    }
    assert_eq!(ended, 1_002);
    let events = events(&finished.output);
    let deployed = events
        .iter()
        .position(|event| event["file"] == "v2.wasm")
        .unwrap();
    let before = events[..deployed]
        .iter()
        .filter(|event| event["event"] == "run")
        .count();
    assert!(
        before < 500,
        "{before} runs had ended before the second version was deployed"
    );
    let listed = events
        .iter()
        .find(|event| event["event"] == "operators")
        .unwrap();
    let rows = listed["operators"].as_array().unwrap();
    let current = rows.iter().map(|row| row["current"].as_bool().unwrap());
    assert_eq!(
        current.collect::<Vec<_>>(),
        [false, true],
        "the newest first"
    );
}

#[test]
fn what_is_deployed_outlives_its_scheduler_and_its_workers() {
    let folder = folder();
    let script = format!(
        "{}await ready\ndeploy v1.wasm\nrun x chain.app\ncrash sc1\ncrash w1\ncrash w2\nstart sc1\nstart w2\nrun x chain.app\n\
         scan\nlistServer s1\n",
        nodes(3, 2)
    );
    let finished = folder.run_with(&script, &["--output", "json"]).finish();
    assert!(finished.status.success(), "{finished:?}");
    let events = events(&finished.output);
    let runs: Vec<&Value> = events
        .iter()
        .filter(|event| event["event"] == "run")
        .collect();
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(|run| run["output"] == "v1, v1"), "{runs:?}");
    let records: Vec<&Value> = events
        .iter()
        .filter(|event| event["event"] == "records")
        .collect();
    assert!(!records.is_empty());
    assert!(
        records
            .iter()
            .all(|shown| shown["records"] == Value::Array(vec![])),
        "components are no records of users: {records:?}"
    );
}

#[test]
fn what_no_worker_can_run_is_not_deployed() {
    let folder = folder();
    folder.write("text.wasm", "no component");
    let script = format!(
        "{}await ready\nexpect-fail deploy text.wasm\noperators\nexpect-fail run x chain.app\nexpect-fail rollback Versioned\n",
        nodes(1, 1)
    );
    let finished = folder.run_with(&script, &["--output", "json"]).finish();
    assert!(finished.status.success(), "{finished:?}");
    assert!(
        finished.error.contains("it is no operator component"),
        "{finished:?}"
    );
    assert!(
        finished
            .error
            .contains("unknown operator class `Versioned`"),
        "{finished:?}"
    );
    assert!(
        finished.error.contains("class Versioned is not deployed"),
        "{finished:?}"
    );
}

#[test]
fn a_running_cluster_is_deployed_to_from_the_command_line() {
    let folder = folder();
    let [scheduler, storage, worker] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
    let script = format!(
        "scheduler sc1 {scheduler}\nstorage s1 {storage} 0\nworker w1 {worker} 0\nawait ready\nscan\n"
    );
    let cluster = folder.run_with(&script, &["--keep"]);
    wait_until("a cluster", || {
        cluster.error().contains("the nodes stay").then_some(())
    });
    let said = |words: &[&str]| {
        let finished = Marionette::start(&[words, &["--connect", &scheduler]].concat()).finish();
        (finished.status.code(), finished.output + &finished.error)
    };
    let file = folder.path().join("v1.wasm");
    let (status, words) = said(&["deploy", file.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{words}");
    assert!(words.contains("Versioned"), "{words}");
    let (status, words) = said(&["operators"]);
    assert_eq!(status, Some(0), "{words}");
    assert!(words.contains("current"), "{words}");
    let (status, words) = said(&["rollback", "Versioned"]);
    assert_eq!(status, Some(1), "{words}");
    assert!(words.contains("no earlier component"), "{words}");
    let (status, words) = said(&["deploy", "nothing.wasm"]);
    assert_eq!(status, Some(2), "{words}");
    assert!(words.contains("there is no file `nothing.wasm`"), "{words}");
}
