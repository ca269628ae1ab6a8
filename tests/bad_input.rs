//! What is wrong is told by name and place, with the exit status of SCRIPTS.md, and the cluster goes on working.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

#[path = "../worker/tests/host/hostile_component.rs"]
#[allow(dead_code, reason = "not every way to misbehave is shown here")]
mod hostile_component;
mod support;

use std::os::unix::fs::PermissionsExt;

use hostile_component::{ERROR, Guest, LOOP, TRAP, component};
use support::cluster::{Folder, nodes, nodes_at, pid_of};
use support::{Finished, Marionette, free_ports, send, taken_port};

use nix::sys::signal::Signal;

/// A run that shows that the cluster works: it comes after every mistake.
const GOOD: &str = "run good count.app\nexpect good 1\n";

/// The mistake is told on standard error, the good run completes, and the exit status is this.
#[track_caller]
fn assert_told(finished: &Finished, code: i32, errors: &[&str]) {
    for error in errors {
        assert!(
            finished.error.contains(error),
            "{error:?} is not in {finished:?}"
        );
    }
    assert!(finished.output.contains(" completed: 1\n"), "{finished:?}");
    assert_eq!(finished.status.code(), Some(code), "{finished:?}");
}

/// Nothing was started because of these mistakes.
#[track_caller]
fn assert_wrong(finished: &Finished, errors: &[&str]) {
    for error in errors {
        assert!(
            finished.error.contains(error),
            "{error:?} is not in {finished:?}"
        );
    }
    assert_eq!(finished.output, "");
    assert!(!finished.error.contains("is ready at"), "{finished:?}");
    assert_eq!(finished.status.code(), Some(2), "{finished:?}");
}

#[test]
fn a_taken_port_is_named_and_the_other_nodes_work() {
    let folder = Folder::new();
    let (_listener, port) = taken_port();
    let script = nodes(2, 1) + &format!("worker w9 http://127.0.0.1:{port} 0\n") + GOOD;
    let finished = folder.run(&script).finish();
    let why = format!("http://127.0.0.1:{port} is taken: another process listens on port {port}");
    let told = format!(
        "error: node `w9` could not be started: exit status 3 before it was ready; its last words: error: cannot start worker w9: {why}\n"
    );
    assert_told(&finished, 3, &[&told]);
}

#[test]
fn an_unreachable_pcs_is_named_and_the_other_nodes_work() {
    let folder = Folder::new();
    let [pcs, port] = free_ports();
    let script = nodes(2, 1) + &format!("storage s9 http://127.0.0.9:{port} 0\n") + GOOD;
    let pcs_url = format!("http://127.0.0.9:{pcs}");
    let finished = folder.run_with(&script, &["--pcs", &pcs_url]).finish();
    let told = format!(
        "error: node `s9` could not be started: no PCS answers at {pcs_url}: cannot be reached: \
         Connection refused (os error 111) (start it there: marionette pcs --listen 127.0.0.9:{pcs})\n"
    );
    assert_told(&finished, 3, &[&told]);
}

#[test]
fn an_unreachable_scheduler_is_named() {
    let [port] = free_ports();
    let url = format!("http://127.0.0.1:{port}");
    let finished = Folder::new()
        .run_with("status\n", &["--connect", &url])
        .finish();
    let told = format!(
        "error: no scheduler answers at {url}: cannot be reached: Connection refused (os error 111)\n\
         hint: start one: marionette scheduler ID URL\n"
    );
    assert_eq!(finished.error, told);
    assert_eq!(finished.status.code(), Some(3));
}

#[test]
fn names_that_are_taken_or_unknown_start_nothing() {
    let script = nodes(1, 1)
        + "storage w1 http://127.0.0.1:3 0\ncrash s2\nlistServer w1\nread k at s1x\n"
        + GOOD;
    let finished = Folder::new().run(&script).finish();
    let told = [
        "error: the name `w1` is taken by a worker\n",
        "error: there is no node `s2`\n",
        "error: `w1` is a worker, not a storage node\n",
        "error: there is no storage node `s1x`\n",
        "did you mean `s1`?",
    ];
    assert_wrong(&finished, &told);
}

#[test]
fn an_unknown_class_is_told_with_the_nearest_names() {
    let folder = Folder::new();
    folder.write(
        "typo.app",
        "operator CounterOperator 0\noperator CountOperator 1\n",
    );
    for command in ["run", "client"] {
        let script = nodes(1, 1) + command + " 7 typo.app\nexpect 7 -\n" + GOOD;
        let told = "error: unknown operator class `CountOperator`\n --> typo.app:2:10\n  |\n\
                    2 | operator CountOperator 1\n  |          ^^^^^^^^^^^^^\n  \
                    = hint: did you mean `CounterOperator`?\n";
        assert_told(&folder.run(&script).finish(), 1, &[told]);
    }
}

#[test]
fn wrong_lines_of_data_and_application_files_start_nothing() {
    let folder = Folder::new();
    folder.write("wrong.data", "13,1\n14 one\n15,a,b\n");
    folder.write(
        "wrong.app",
        "operator CounterOperator 0\noperator CounterOperator 2\n",
    );
    let script = nodes(1, 1) + "populate wrong.data\nclient 13 wrong.app\n";
    let told = [
        "error: this line has no comma\n",
        "wrong.data:2:1\n",
        "error: this line has a second comma\n",
        "wrong.data:3:5\n",
        "error: stage 1 is missing before stage 2\n",
        "wrong.app:2:26\n",
    ];
    assert_wrong(&folder.run(&script).finish(), &told);
}

#[test]
fn a_missing_record_is_named() {
    let script = nodes(2, 1) + "read nobody\nhistory nobody\nexpect nobody x\n" + GOOD;
    let told = [
        "error: there is no record `nobody`\n",
        "error: there is no record `nobody`; expected `x`\n",
        "| read nobody\n",
        "| history nobody\n",
    ];
    assert_told(&Folder::new().run(&script).finish(), 1, &told);
}

#[test]
fn an_operator_that_misses_a_record_names_it() {
    let folder = Folder::new();
    folder.write("add.app", "operator AddOperator 0\n");
    let script = nodes(2, 1) + "run 13 add.app\n" + GOOD;
    let finished = folder.run(&script).finish();
    assert_told(&finished, 1, &[]);
    assert!(
        finished
            .output
            .contains("run 1 failed: operator AddOperator"),
        "{finished:?}"
    );
    assert!(finished.output.contains("record \"13\": "), "{finished:?}");
}

/// A folder with one misbehaving operator `Rogue` and two applications of it.
fn rogue(run: &str) -> Folder {
    let folder = Folder::new();
    let class = "Rogue";
    folder.write(
        "rogue.wasm",
        component(Guest {
            class,
            run,
            ..Guest::default()
        }),
    );
    folder.write(
        "rogue.app",
        "operator CounterOperator 0\noperator Rogue 1 timeout=300ms\n",
    );
    folder
}

/// More of them than one worker has slots: each must be given back.
fn with_rogues(commands: &str) -> String {
    "set operators .\n".to_owned()
        + &nodes(2, 2)
        + commands
        + "repeat 20 client many rogue.app\nawait runs\n"
        + GOOD
}

#[test]
fn an_operator_that_traps_fails_its_run_and_no_other() {
    let folder = rogue(TRAP);
    let finished = folder.run(&with_rogues("run 7 rogue.app\n")).finish();
    assert_told(&finished, 1, &[]);
    assert_rogue(
        &finished,
        " in attempt 3: trapped: wasm `unreachable` instruction executed in run\n",
    );
}

#[test]
fn an_operator_that_returns_an_error_fails_its_run_and_no_other() {
    let finished = rogue(ERROR).run(&with_rogues("run 7 rogue.app\n")).finish();
    assert_told(&finished, 1, &[]);
    assert_rogue(&finished, " in attempt 3: I am unwell\n");
}

#[test]
fn an_operator_in_a_loop_fails_its_run_at_the_timeout_of_its_stage_and_no_other() {
    let finished = rogue(LOOP).run(&with_rogues("run 7 rogue.app\n")).finish();
    assert_told(&finished, 1, &[]);
    assert_rogue(&finished, ": exceeded its deadline of 300 ms\n");
}

/// All 21 runs of the rogue failed in the same way.
#[track_caller]
fn assert_rogue(finished: &Finished, end: &str) {
    let failed = finished
        .output
        .lines()
        .filter(|line| line.contains(" failed: "));
    let failed: Vec<_> = failed.collect();
    assert_eq!(failed.len(), 21, "{finished:?}");
    for line in failed {
        assert!(
            line.contains(" failed: operator Rogue (stage 1) failed on worker w"),
            "{line}"
        );
        assert!(format!("{line}\n").ends_with(end), "{line}");
    }
}

#[test]
fn a_run_that_takes_longer_than_the_timeout_setting_expires() {
    let folder = Folder::new();
    let script = "set timeout 1000\n".to_owned()
        + &nodes_at("127.0.0.1", 1, 2, 600_000)
        + "run 7 twice.app\n"
        + GOOD;
    let finished = folder.run(&script).finish();
    assert_told(&finished, 1, &[]);
    let told = "run 1 expired: no outcome within 1000 ms: operator CounterOperator (stage 1)";
    assert!(finished.output.contains(told), "{finished:?}");
}

#[test]
fn runs_of_a_crashed_scheduler_are_taken_up_by_its_next_life_and_no_effect_is_repeated() {
    let folder = Folder::new();
    // Their second stage is under way for longer than the scheduler is away.
    let script = nodes_at("127.0.0.1", 1, 2, 3_000)
        + "client 7 twice.app\nclient 8 twice.app\nexpect-fail await runs 200\ncrash sc1\n\
           run 9 count.app\nstart sc1\nrun good count.app\nexpect good 1\nexpect-run 1 2\nexpect-run 2 2\n\
           expect 7 2\nexpect 8 2\nexpect-run 3 1\n";
    let finished = folder.run(&script).finish();
    assert_told(&finished, 1, &["error: node `sc1` was crashed\n"]);
    for run in ["run 1 completed: 2", "run 2 completed: 2"] {
        assert_eq!(finished.output.matches(run).count(), 1, "{finished:?}");
    }
}

#[test]
fn at_the_end_of_a_script_nobody_waits_for_the_runs_of_a_scheduler_that_stays_away() {
    let folder = Folder::new();
    let script = nodes_at("127.0.0.1", 1, 2, 600_000)
        + "client 7 twice.app\nexpect-fail await runs 200\ncrash sc1\n";
    let finished = folder.run(&script).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let told = "run 1 failed: its scheduler";
    assert_eq!(finished.output.matches(told).count(), 1, "{finished:?}");
}

#[test]
fn a_scheduler_that_is_lost_while_a_client_waits_ends_the_wait() {
    let folder = Folder::new();
    let script =
        nodes_at("127.0.0.1", 1, 2, 600_000) + "write k v\nawait ready\nrun 7 twice.app\nread k\n";
    let puppetmaster = folder.run(&script);
    puppetmaster.wait_for_line("k = v");
    send(pid_of(puppetmaster.pid(), "sc1"), Signal::SIGKILL);
    let finished = puppetmaster.finish();
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    assert!(
        finished
            .error
            .contains("error: node `sc1` was lost: signal 9 (SIGKILL)\n"),
        "{finished:?}"
    );
    assert_eq!(finished.output.matches("k = v").count(), 2, "{finished:?}");
}

#[test]
fn scripts_that_cannot_be_read_are_named() {
    let folder = Folder::new();
    let missing = folder.path().join("missing.pm");
    let missing = missing.to_str().unwrap();
    let binary = folder.write("binary.pm", b"echo a\n\xff\n");
    let secret = folder.write("secret.pm", "echo a\n");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut wrong = vec![
        (missing, "there is no such script"),
        (
            folder.path().to_str().unwrap(),
            "cannot read the script: it is a directory",
        ),
        (&binary, "cannot read the script: line 2 is not UTF-8 text"),
    ];
    // Root may read everything.
    if std::fs::read(&secret).is_err() {
        wrong.push((
            &secret,
            "cannot read the script: Permission denied (os error 13)",
        ));
    }
    for (path, why) in wrong {
        let finished = Marionette::start(&["run", path]).finish();
        assert_eq!(finished.error, format!("error: {why}\n --> {path}\n\n"));
        assert_eq!(finished.status.code(), Some(2));
    }
}

#[test]
fn a_very_long_line_is_shown_in_part() {
    let script = format!(
        "echo {}\nnosuch {}\n",
        "x".repeat(100_000),
        "z".repeat(100_000)
    );
    let finished = Folder::new().run(&script).finish();
    assert_wrong(&finished, &["error: unknown command `nosuch`\n"]);
    assert!(
        finished.error.len() < 2_000,
        "{} bytes",
        finished.error.len()
    );
}

#[test]
fn every_line_of_json_output_is_one_object() {
    let folder = Folder::new();
    folder.write("typo.app", "operator CountOperator 0\n");
    let script = "debug\n".to_owned()
        + &nodes(2, 1)
        + "echo hello\nhelp\nrun 7 count.app\nrun 7 typo.app\nread nobody\nread 7\nhistory 7\nstatus\nruns\n\
           listServer s1\nlistGlobal\n";
    let finished = folder.run_with(&script, &["--output", "json"]).finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let events = |text: &str| -> Vec<String> {
        let objects = text.lines().map(serde_json::from_str::<serde_json::Value>);
        let names = objects.map(|object| {
            object.expect("one object")["event"]
                .as_str()
                .unwrap()
                .to_owned()
        });
        names.collect()
    };
    let told = [
        "echo", "help", "run", "record", "records", "status", "runs", "records", "records",
    ];
    assert_eq!(events(&finished.output), told);
    let messages = events(&finished.error);
    for event in ["node_ready", "debug", "error"] {
        assert!(
            messages.iter().any(|name| name == event),
            "{event}: {finished:?}"
        );
    }
}
