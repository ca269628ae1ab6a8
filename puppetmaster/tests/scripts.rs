//! Whole scripts against a cluster of fakes on the local fabric.

// Helpers of tests are outside of test functions, where clippy would allow it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod fake;

use common::fabric::{Address, Router};
use common::proto::{RecordCopies, RecordCopy, RunReport, RunState};
use common::status::Kind;
use common::types::{CommitMode, Ring};
use expect_test::{Expect, expect};
use fake::{Toys, config};
use puppetmaster::Config;
use puppetmaster::backup::Writer;
use puppetmaster::cluster::Cluster;
use puppetmaster::outcome::Outcome;
use puppetmaster::output::{Channel, Format};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

const CLUSTER: &str = "scheduler sc1 http://localhost:4000\nstorage s1 http://localhost:3000 0\nstorage s2 http://localhost:3001 0\nworker w1 http://localhost:4001 0\n";

/// A directory with a script, an application and data.
fn files(script: &str) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("app"), "operator AddOperator 0\n").unwrap();
    std::fs::write(place.path().join("unknown"), "operator Unknown 0\n").unwrap();
    std::fs::write(
        place.path().join("data"),
        "13,1\n14,one_ahead_of_13\n13,2\n",
    )
    .unwrap();
    let path = place.path().join("demo.pm");
    std::fs::write(&path, script).unwrap();
    (place, path)
}

struct Ran {
    outcome: Outcome,
    toys: Toys,
    place: TempDir,
}

impl Ran {
    /// What was said, with the directory of the script left out.
    fn said(&self, channel: Channel) -> String {
        self.toys
            .said(channel)
            .replace(&format!("{}/", self.place.path().display()), "")
    }

    fn check(&self, outcome: Outcome, results: &Expect) {
        assert_eq!(self.outcome, outcome, "{}", self.said(Channel::Message));
        results.assert_eq(&self.said(Channel::Result));
    }

    /// Messages without the readiness of nodes, whose order is open.
    fn messages(&self) -> String {
        let said = self.said(Channel::Message);
        let lines = said.split_inclusive('\n');
        lines
            .filter(|line| !line.contains(" is ready at "))
            .collect()
    }
}

async fn run_with(toys: Toys, script: &str, change: impl FnOnce(&mut Config)) -> Ran {
    let (place, path) = files(script);
    let mut config = config(&path);
    change(&mut config);
    let (surroundings, _interrupts) = toys.surroundings(Format::Text);
    let outcome = puppetmaster::run(config, surroundings).await;
    Ran {
        outcome,
        toys,
        place,
    }
}

async fn run(script: &str) -> Ran {
    run_with(Toys::new(), script, |_| {}).await
}

#[tokio::test]
async fn a_right_script_prints_its_results_and_stops_its_nodes() {
    let script = format!(
        "{CLUSTER}populate data\nwrite 15 \"two words\"\nread 14\nrun hello app\nexpect-run 1 hello\nupdateIf 13 2 3\nexpect 13 3\nexpect 99 -\nhistory 13\nlistServer s1\nlistGlobal\nstatus\nruns\necho done\n"
    );
    let ran = run(&script).await;
    ran.check(
        Outcome::Well,
        &expect![[r"
            3 records of data written
            15 = two words (1.1)
            14 = one_ahead_of_13 (1.1)
            run 1 completed: hello
            13 = 3 (2.1+1)
            ┌────────┬─────────┬───────┐
            │ record ┆ version ┆ value │
            ╞════════╪═════════╪═══════╡
            │ 13     ┆ 2.1+1   ┆ 3     │
            │ 13     ┆ 2.1     ┆ 2     │
            │ 13     ┆ 1.1     ┆ 1     │
            └────────┴─────────┴───────┘
            ┌────────┬─────────┬─────────────────┬───────┐
            │ record ┆ version ┆ value           ┆ nodes │
            ╞════════╪═════════╪═════════════════╪═══════╡
            │ 13     ┆ 2.1+1   ┆ 3               ┆ s1    │
            │ 13     ┆ 2.1     ┆ 2               ┆ s1    │
            │ 13     ┆ 1.1     ┆ 1               ┆ s1    │
            │ 14     ┆ 1.1     ┆ one_ahead_of_13 ┆ s1    │
            │ 15     ┆ 1.1     ┆ two words       ┆ s1    │
            └────────┴─────────┴─────────────────┴───────┘
            ┌────────┬─────────┬─────────────────┬───────┐
            │ record ┆ version ┆ value           ┆ nodes │
            ╞════════╪═════════╪═════════════════╪═══════╡
            │ 13     ┆ 2.1+1   ┆ 3               ┆ s1 s2 │
            │ 13     ┆ 2.1     ┆ 2               ┆ s1 s2 │
            │ 13     ┆ 1.1     ┆ 1               ┆ s1 s2 │
            │ 14     ┆ 1.1     ┆ one_ahead_of_13 ┆ s1 s2 │
            │ 15     ┆ 1.1     ┆ two words       ┆ s1 s2 │
            └────────┴─────────┴─────────────────┴───────┘
            ┌──────┬───────────┬───────────────────────┬─────────┬───────────┬──────┐
            │ node ┆ role      ┆ url                   ┆ state   ┆ details   ┆ sees │
            ╞══════╪═══════════╪═══════════════════════╪═════════╪═══════════╪══════╡
            │ sc1  ┆ scheduler ┆ http://localhost:4000 ┆ present ┆ records 3 ┆      │
            │ s1   ┆ storage   ┆ http://localhost:3000 ┆ present ┆ records 3 ┆      │
            │ s2   ┆ storage   ┆ http://localhost:3001 ┆ present ┆ records 3 ┆      │
            │ w1   ┆ worker    ┆ http://localhost:4001 ┆ present ┆ records 3 ┆      │
            └──────┴───────────┴───────────────────────┴─────────┴───────────┴──────┘
            ┌─────┬───────┬─────────────┬───────────┬────────┬────────┬──────┐
            │ run ┆ input ┆ application ┆ state     ┆ result ┆ stages ┆ time │
            ╞═════╪═══════╪═════════════╪═══════════╪════════╪════════╪══════╡
            │ 1   ┆ hello ┆ app         ┆ completed ┆ hello  ┆        ┆ 0 ms │
            └─────┴───────┴─────────────┴───────────┴────────┴────────┴──────┘
            done
        "]],
    );
    assert!(ran.toys.told().ends_with("pcs: close"));
}

#[tokio::test]
async fn nodes_are_created_with_what_the_script_says() {
    let (place, path) = files(
        "set operators lib\nset slots 2\nworker w1 http://localhost:4001 7\nscheduler sc1 http://localhost:4000\nstorage s1 http://localhost:3000 5\nawait ready\n",
    );
    std::fs::create_dir(place.path().join("lib")).unwrap();
    let toys = Toys::new();
    let (surroundings, interrupts) = toys.surroundings(Format::Text);
    let config = Config {
        keep: true,
        ..config(&path)
    };
    let running = puppetmaster::run(config, surroundings);
    let looking = async {
        while !toys.said(Channel::Message).contains("until Ctrl-C") {
            tokio::task::yield_now().await;
        }
        let found: Vec<String> = toys
            .world
            .lock()
            .unwrap()
            .processes
            .values()
            .map(|process| format!("{} {}", process.role, process.arguments.join(" ")))
            .collect();
        interrupts.send(()).await.unwrap();
        found
            .join("\n")
            .replace(&place.path().display().to_string(), "DIR")
    };
    let (outcome, found) = tokio::join!(running, looking);
    assert_eq!(outcome, Outcome::Well);
    expect![[r"
        storage s1 http://localhost:3000 5 --allow-faults
        scheduler sc1 http://localhost:4000 --allow-faults
        worker w1 http://localhost:4001 7 --allow-faults --scheduler http://localhost:4000 --operators DIR/lib --slots 2"]]
    .assert_eq(&found);
    assert!(toys.world.lock().unwrap().processes.is_empty());
}

#[tokio::test]
async fn records_that_begin_alike_are_scanned_in_order_and_their_changes_told_until_the_end() {
    let script = format!(
        "{CLUSTER}scan\nwrite b/2 x\nwatch b/\nwrite b/1 y\nwrite a/1 z\nscan b/\nscan limit=1\nscan \"limit=1\"\nwatch b/\nupdateIf b/2 x w\n"
    );
    let ran = run(&script).await;
    assert_eq!(ran.outcome, Outcome::Well, "{}", ran.said(Channel::Message));
    let said = ran.said(Channel::Result);
    let (changes, rest): (Vec<_>, Vec<_>) =
        said.lines().partition(|line| line.starts_with("changed: "));
    assert_eq!(
        changes,
        ["changed: b/1 = y (1.1)", "changed: b/2 = w (1.1+1)"]
    );
    expect![[r"
        no records
        b/2 = x (1.1)
        b/1 = y (1.1)
        a/1 = z (1.1)
        b/1 = y (1.1)
        b/2 = x (1.1)
        a/1 = z (1.1)
        no records
        b/2 = w (1.1+1)"]]
    .assert_eq(&rest.join("\n"));
    expect![[r"
        records that begin with `b/` are watched already
    "]]
    .assert_eq(&ran.messages());
}

#[tokio::test]
async fn a_wrong_script_starts_nothing() {
    let ran = run(&format!(
        "{CLUSTER}storge s3 http://localhost:3003 0\nread\n"
    ))
    .await;
    ran.check(Outcome::WrongScript, &expect![""]);
    expect![[r"
        error: unknown command `storge`
         --> demo.pm:5:1
          |
        5 | storge s3 http://localhost:3003 0
          | ^^^^^^
          = hint: did you mean `storage`?

        error: `read` needs KEY
         --> demo.pm:6:6
          |
        6 | read
          |      ^
          = hint: read KEY [NUMBER.REPLICA] [at ID]

        the script is wrong: nothing was started
    "]]
    .assert_eq(&ran.messages());
    assert_eq!(ran.toys.told(), "");
}

#[tokio::test]
async fn failures_are_said_with_their_place_and_the_script_goes_on() {
    let script = format!(
        "{CLUSTER}read nobody\nwrite 13 1\nexpect 13 2\nupdateIf 13 5 6\nrun 1 unknown\necho still here\n"
    );
    let ran = run(&script).await;
    ran.check(
        Outcome::Failed,
        &expect![[r"
            13 = 1 (1.1)
            still here
        "]],
    );
    expect![[r"
        error: there is no record `nobody`
         --> demo.pm:5:1
          |
        5 | read nobody
          | ^^^^

        error: record `13` is `1` (1.1), not `2`
         --> demo.pm:7:1
          |
        7 | expect 13 2
          | ^^^^^^

        error: record `13` is `1` (1.1), not `5`
         --> demo.pm:8:1
          |
        8 | updateIf 13 5 6
          | ^^^^^^^^

        error: unknown operator class `Unknown`
         --> demo.pm:9:1
          |
        9 | run 1 unknown
          | ^^^

    "]]
    .assert_eq(&ran.messages());
}

#[tokio::test]
async fn a_failed_run_fails_the_script_whether_it_was_waited_for_or_not() {
    let ran = run(&format!("{CLUSTER}client fail1 app\n")).await;
    ran.check(
        Outcome::Failed,
        &expect![[r"
        run 1 failed: stage 0: AddOperator on w1: it trapped
    "]],
    );
    let ran = run(&format!("{CLUSTER}run fail1 app\n")).await;
    ran.check(
        Outcome::Failed,
        &expect![[r"
        run 1 failed: stage 0: AddOperator on w1: it trapped
    "]],
    );
}

#[tokio::test]
async fn a_run_whose_key_is_known_is_that_run() {
    let script = format!(
        "{CLUSTER}client a app key=once\nawait runs\nrun a app key=once\nrun b app\nexpect-run 2 b\n"
    );
    run(&script).await.check(
        Outcome::Well,
        &expect![[r"
            run 1 completed: a
            run 1 completed: a
            run 2 completed: b
        "]],
    );
}

/// Without the latencies.
fn counts(results: &str) -> String {
    let lines = results.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("latency ")).collect()
}

#[tokio::test]
async fn a_load_submits_runs_when_they_are_due_and_tells_their_latencies() {
    let script = format!("{CLUSTER}run 1 app\nload 100 50 23 app\nexpect-run 6 23\n");
    let ran = run(&script).await;
    let results = ran.said(Channel::Result);
    assert_eq!(ran.outcome, Outcome::Well, "{}", ran.said(Channel::Message));
    assert!(results.contains("\nlatency p50 "), "{results}");
    expect![[r"
        run 1 completed: 1
        100 per second for 50 ms: 5 completed, 0 failed, 0 not sent (runs 2 to 6)
    "]]
    .assert_eq(&counts(&results));
}

#[tokio::test]
async fn a_load_with_runs_that_fail_fails() {
    let script = format!("{CLUSTER}load 100 50 fail app\nload 100 10 1 unknown\n");
    let ran = run(&script).await;
    ran.check(
        Outcome::Failed,
        &expect![[r"
            100 per second for 50 ms: 0 completed, 5 failed, 0 not sent (runs 1 to 5)
            100 per second for 10 ms: 0 completed, 1 failed, 0 not sent
        "]],
    );
    expect![[r"
        error: 5 of the runs failed, first: run 1 did not complete: stage 0: AddOperator on w1: it trapped
         --> demo.pm:5:1
          |
        5 | load 100 50 fail app
          | ^^^^

        error: 1 of the runs failed, first: unknown operator class `Unknown`
         --> demo.pm:6:1
          |
        6 | load 100 10 1 unknown
          | ^^^^

    "]]
    .assert_eq(&ran.messages());
}

#[tokio::test]
async fn runs_that_find_too_many_outstanding_when_they_are_due_are_not_sent() {
    // All are due long before the first has ended.
    let ran = run(&format!("{CLUSTER}load 10000 20 slow app\n")).await;
    assert_eq!(ran.outcome, Outcome::Failed);
    expect![[r"
        10000 per second for 20 ms: 128 completed, 0 failed, 72 not sent (runs 1 to 128)
    "]]
    .assert_eq(&counts(&ran.said(Channel::Result)));
    expect![[r"
        error: 72 runs were not started, since 128 were outstanding when they were due
         --> demo.pm:5:1
          |
        5 | load 10000 20 slow app
          | ^^^^

    "]]
    .assert_eq(&ran.messages());
}

#[tokio::test]
async fn an_interrupt_cancels_the_runs_of_a_load_and_tells_what_was_measured() {
    let toys = Toys::new();
    let (_place, path) = files(&format!("{CLUSTER}load 1000 60000 endless app\n"));
    let (surroundings, interrupts) = toys.surroundings(Format::Text);
    let running = puppetmaster::run(config(&path), surroundings);
    let interrupting = async {
        while toys.world.lock().unwrap().runs.len() < 5 {
            tokio::task::yield_now().await;
        }
        interrupts.send(()).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(running, interrupting);
    assert_eq!(outcome, Outcome::Failed);
    let world = toys.world.lock().unwrap();
    let is_cancelled = |run: &RunReport| run.state() == RunState::Cancelled;
    assert!(world.runs.iter().all(is_cancelled), "{:?}", world.runs);
    let runs = world.runs.len();
    let expected = format!(
        "1000 per second for 60000 ms: 0 completed, 0 failed, 0 not sent, {runs} cancelled (runs 1 to {runs})\n"
    );
    assert_eq!(toys.said(Channel::Result), expected);
}

#[tokio::test]
async fn a_run_that_the_scheduler_cannot_take_yet_is_submitted_again() {
    let ran = run(&format!("{CLUSTER}run busy app\n")).await;
    ran.check(
        Outcome::Well,
        &expect![[r"
        run 1 completed: busy
    "]],
    );
}

#[tokio::test]
async fn when_another_scheduler_begins_to_lead_it_is_asked_for_what_the_one_before_did_not_tell() {
    for command in ["trace 1", "why 1", "cancel 1"] {
        for kind in [Kind::Unavailable, Kind::Timeout] {
            let toys = Toys::new();
            toys.world.lock().unwrap().will_not_lead = Some(kind);
            let script = format!(
                "scheduler sc2 http://localhost:4003\n{CLUSTER}client endless app\n{command}\n"
            );
            // Nobody cancels it a second time.
            let script = match command {
                "cancel 1" => script,
                _ => format!("{script}cancel 1\n"),
            };
            let ran = run_with(toys, &script, |_| {}).await;
            assert_eq!(ran.outcome, Outcome::Well, "{command}: {}", ran.messages());
            assert_eq!(ran.toys.world.lock().unwrap().will_not_lead, None);
        }
    }
}

#[tokio::test]
async fn what_is_expected_to_fail_and_does_is_no_failure() {
    let script = format!(
        "{CLUSTER}expect-fail run fail1 app\nexpect-fail read nobody\nexpect-fail crash nobody\nexpect-fail client 1 missing\nexpect-fail storage s9 http://localhost:3009 0\nexpect-fail expect-run 1 x\n"
    );
    let ran = run(&script).await;
    ran.check(
        Outcome::Well,
        &expect![[r"
        run 1 failed: stage 0: AddOperator on w1: it trapped
    "]],
    );
    expect![[r"
        failed as expected: run 1 did not complete: stage 0: AddOperator on w1: it trapped
        failed as expected: there is no record `nobody`
        failed as expected: there is no node `nobody`
        failed as expected: there is no file `missing` beside the script or in the working directory
        failed as expected: a storage node is created after the storage was used
        failed as expected: run 1 did not complete: stage 0: AddOperator on w1: it trapped
    "]]
    .assert_eq(&ran.messages());
    let ran = run(&format!("{CLUSTER}write 1 a\nexpect-fail read 1\n")).await;
    assert_eq!(ran.outcome, Outcome::Failed);
}

#[tokio::test]
async fn the_dead_are_certified_to_the_living_and_the_returned_join_again() {
    let ran = run(&format!("{CLUSTER}write 1 a\ncrash s1\ncrash w1\nstart s1\nstart w1\nawait ready\nstop s2\nexpect-fail crash s2\nexpect-fail start s1\nstatus\n")).await;
    ran.check(
        Outcome::Well,
        &expect![[r"
        1 = a (1.1)
        ┌──────┬───────────┬───────────────────────┬───────────────────┬───────────┬──────┐
        │ node ┆ role      ┆ url                   ┆ state             ┆ details   ┆ sees │
        ╞══════╪═══════════╪═══════════════════════╪═══════════════════╪═══════════╪══════╡
        │ sc1  ┆ scheduler ┆ http://localhost:4000 ┆ present           ┆ records 1 ┆      │
        │ s1   ┆ storage   ┆ http://localhost:3000 ┆ present           ┆ records 1 ┆      │
        │ s2   ┆ storage   ┆ http://localhost:3001 ┆ dead: was stopped ┆           ┆      │
        │ w1   ┆ worker    ┆ http://localhost:4001 ┆ present           ┆ records 1 ┆      │
        └──────┴───────────┴───────────────────────┴───────────────────┴───────────┴──────┘
    "]],
    );
    let mut told: Vec<String> = ran.toys.told().lines().map(str::to_owned).collect();
    told[..3].sort();
    expect![[r"
        s1: ring fresh
        s2: ring fresh
        sc1: ring fresh
        s2: s1/1 (1) is dead
        sc1: w1 is dead
        s1: ring joining
        s1: s2/1 (2) is dead
        pcs: close"]]
    .assert_eq(&told.join("\n"));
}

#[tokio::test]
async fn nodes_are_told_of_their_faulty_links_and_again_when_they_return() {
    let ran = run(&format!(
        "{CLUSTER}storage s3 http://localhost:3002 0\nawait ready\npartition s1,s2 | s3\ndelay s3 s1 20\nloss s3 s2 30\ncrash s3\ncut s3 w1\nstart s3\nawait ready\nheal\n"
    ))
    .await;
    ran.check(Outcome::Well, &expect![""]);
    let told = ran.toys.told();
    let mut lines: Vec<&str> = told.lines().collect();
    lines[..3].sort_unstable();
    lines[6..9].sort_unstable();
    expect![[r"
        s1: links http://localhost:3002 cut 0 ms 0 %;
        s2: links http://localhost:3002 cut 0 ms 0 %;
        s3: links http://localhost:3000 cut 0 ms 0 %; http://localhost:3001 cut 0 ms 0 %;
        s3: links http://localhost:3000 cut 20 ms 0 %; http://localhost:3001 cut 0 ms 0 %;
        s3: links http://localhost:3000 cut 20 ms 0 %; http://localhost:3001 cut 0 ms 30 %;
        s3: links http://localhost:3000 cut 20 ms 0 %; http://localhost:3001 cut 0 ms 30 %; http://localhost:4001 cut 0 ms 0 %;
        s1: links
        s2: links
        s3: links
        pcs: close"]]
    .assert_eq(&lines.join("\n"));
}

#[tokio::test]
async fn a_frozen_node_is_not_asked_and_learns_of_deaths_when_it_goes_on() {
    let ran = run(&format!(
        "{CLUSTER}write 1 a\nfreeze s1\nstatus\ncrash s2\nunfreeze s1\nexpect-fail freeze s2\n"
    ))
    .await;
    ran.check(
        Outcome::Well,
        &expect![[r"
            1 = a (1.1)
            ┌──────┬───────────┬───────────────────────┬─────────┬───────────┬──────┐
            │ node ┆ role      ┆ url                   ┆ state   ┆ details   ┆ sees │
            ╞══════╪═══════════╪═══════════════════════╪═════════╪═══════════╪══════╡
            │ sc1  ┆ scheduler ┆ http://localhost:4000 ┆ present ┆ records 1 ┆      │
            │ s1   ┆ storage   ┆ http://localhost:3000 ┆ frozen  ┆           ┆      │
            │ s2   ┆ storage   ┆ http://localhost:3001 ┆ present ┆ records 1 ┆      │
            │ w1   ┆ worker    ┆ http://localhost:4001 ┆ present ┆ records 1 ┆      │
            └──────┴───────────┴───────────────────────┴─────────┴───────────┴──────┘
        "]],
    );
    let told = ran.toys.told();
    let after_the_ring: Vec<&str> = told.lines().skip(3).collect();
    expect![[r"
        pcs: freeze s1
        pcs: unfreeze s1
        s1: links
        s1: s2/1 (2) is dead
        pcs: close"]]
    .assert_eq(&after_the_ring.join("\n"));
}

#[tokio::test]
async fn a_certificate_names_the_process_that_died_although_the_next_one_runs_already() {
    let toys = Toys::new();
    let cluster = started_by_hand(&toys).await;
    toys.world.lock().unwrap().certificates_wait_for = Some("s1/2".to_owned());
    toys.die("s1");
    while cluster.node("s1").unwrap().is_ready() {
        tokio::task::yield_now().await;
    }
    cluster.start("s1").await.unwrap();
    while !toys.told().contains(" is dead") {
        tokio::task::yield_now().await;
    }
    let told = toys.told();
    assert!(told.contains("s2: s1/1 (1) is dead"), "{told}");
    assert!(!told.contains("s1/2"), "{told}");
    cluster.close().await;
}

#[tokio::test]
async fn a_node_that_cannot_start_is_named_and_the_rest_goes_on() {
    let toys = Toys::new();
    let taken = Address::parse("http://localhost:3001").unwrap();
    let _other = toys.fabric.serve(&taken, Router::default()).await.unwrap();
    let ran = run_with(
        toys,
        &format!("{CLUSTER}write 1 a\nread 1 at s2\nexpect-fail await ready\n"),
        |_| {},
    )
    .await;
    ran.check(
        Outcome::NodeLost,
        &expect![[r"
        1 = a (1.1)
    "]],
    );
    expect![[r"
        error: node `s2` could not be started: exit status 1; its last words: http://localhost:3001 is taken by another node
        error: node `s2` could not be started: exit status 1; its last words: http://localhost:3001 is taken by another node
         --> demo.pm:6:1
          |
        6 | read 1 at s2
          | ^^^^

        failed as expected: node `s2` could not be started: exit status 1; its last words: http://localhost:3001 is taken by another node
    "]].assert_eq(&ran.messages());
}

#[tokio::test]
async fn data_is_not_founded_without_a_node_that_could_not_start() {
    let toys = Toys::new();
    let taken = Address::parse("http://localhost:3001").unwrap();
    let _other = toys.fabric.serve(&taken, Router::default()).await.unwrap();
    let script = format!("{CLUSTER}write 1 a\n");
    let ran = run_with(toys, &script, |config| config.data = Some("data".into())).await;
    ran.check(Outcome::NodeLost, &expect![""]);
    expect![[r"
        error: node `s2` could not be started: exit status 1; its last words: http://localhost:3001 is taken by another node
        error: node `s2` could not be started: exit status 1; its last words: http://localhost:3001 is taken by another node
         --> demo.pm:5:1
          |
        5 | write 1 a
          | ^^^^^
          = hint: with --data the set of storage nodes is for ever, so all of them have to start first

    "]].assert_eq(&ran.messages());
    assert!(!ran.toys.told().contains("ring"), "{}", ran.toys.told());
}

/// A backup of one record.
fn copy() -> (TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("copy");
    let nodes = Ring::parse_nodes("s1=http://localhost:3000").unwrap();
    let ring = Ring::new(nodes, None, CommitMode::Majority, 10).unwrap();
    let mut writer = Writer::create(&path, "test", (&ring).into()).unwrap();
    let record = RecordCopy {
        record: "a".to_owned(),
        state: None,
    };
    let records = vec![record];
    writer.records(RecordCopies { records }).unwrap();
    writer.finish().unwrap();
    (place, path.display().to_string())
}

#[tokio::test]
async fn a_restore_waits_for_nodes_that_are_joining() {
    let toys = Toys::new();
    toys.world.lock().unwrap().restores_refused = 3;
    let (_place, path) = copy();
    let ran = run_with(toys, &format!("{CLUSTER}restore {path}\n"), |_| {}).await;
    assert_eq!(ran.outcome, Outcome::Well, "{}", ran.messages());
    let told = ran.toys.told();
    for what in ["checks", "restores"] {
        for node in ["s1", "s2"] {
            assert!(told.contains(&format!("{node}: {what} 1")), "{told}");
        }
    }
}

#[tokio::test]
async fn a_restore_says_which_replicas_it_needs() {
    let (_place, path) = copy();
    let script = format!("{CLUSTER}expect a -\ncrash s2\nrestore {path}\n");
    let data = |config: &mut Config| config.data = Some("data".into());
    let ran = run_with(Toys::new(), &script, data).await;
    assert_eq!(ran.outcome, Outcome::Failed);
    expect![[r"
        error: `restore` needs all replicas; these do not answer: `s2` (was crashed)
         --> demo.pm:7:1
          |
        7 | restore copy
          | ^^^^^^^
          = hint: `start s2` first

    "]]
    .assert_eq(&ran.messages().replace(&path, "copy"));
}

#[tokio::test]
async fn a_node_that_is_lost_unasked_is_named() {
    let toys = Toys::new();
    let (_place, path) = files(&format!("{CLUSTER}write 1 a\n"));
    let (surroundings, interrupts) = toys.surroundings(Format::Text);
    let running = puppetmaster::run(
        Config {
            keep: true,
            ..config(&path)
        },
        surroundings,
    );
    let losing = async {
        while !toys.said(Channel::Message).contains("until Ctrl-C") {
            tokio::task::yield_now().await;
        }
        toys.die("s1");
        while !toys.told().contains("s2: s1/1 (1) is dead") {
            tokio::task::yield_now().await;
        }
        interrupts.send(()).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(running, losing);
    assert_eq!(outcome, Outcome::NodeLost);
    assert!(
        toys.said(Channel::Message)
            .contains("error: node `s1` was lost: signal 9 (SIGKILL)")
    );
}

#[tokio::test]
async fn debug_lines_of_all_nodes_are_printed_and_another_port_is_taken_if_need_be() {
    let ran = run("storage s1 http://localhost:3000 0\nawait ready\ndebug\nstorage s2 http://localhost:3001 0\nawait ready\ndebug\n").await;
    assert_eq!(ran.outcome, Outcome::Well);
    for line in ["[s1] I was told\n", "[s2] I was told\n"] {
        assert_eq!(
            ran.messages().matches(line).count(),
            1,
            "{}",
            ran.messages()
        );
    }
    let toys = Toys::new();
    let taken = Address::parse("http://127.0.0.1:10001").unwrap();
    let _other = toys.fabric.serve(&taken, Router::default()).await.unwrap();
    let ran = run_with(
        toys,
        "debug\nstorage s1 http://localhost:3000 0\nawait ready\n",
        |_| {},
    )
    .await;
    assert!(
        ran.messages().contains("port 10001 is taken"),
        "{}",
        ran.messages()
    );
    assert!(
        ran.messages().contains("[s1] I was told"),
        "{}",
        ran.messages()
    );
}

/// A cluster that was started by hand, with one record; stays while what is returned does.
async fn started_by_hand(toys: &Toys) -> Arc<Cluster> {
    let by_hand = Cluster::new(
        toys.fabric.clone(),
        toys.output(Format::Text),
        Vec::new(),
        toys.start_pcs(),
        None,
    );
    let known = by_hand.known();
    let parsed = puppetmaster::language::check::check_script(
        "hand",
        &format!("{CLUSTER}write 1 a\n"),
        &known,
        &puppetmaster::language::files::Disk,
    );
    let mut interpreter = puppetmaster::interpreter::Interpreter::new(Arc::clone(&by_hand));
    puppetmaster::script::execute(&mut interpreter, &parsed, None).await;
    assert_eq!(interpreter.outcome(), Outcome::Well);
    by_hand
}

#[tokio::test]
async fn a_cluster_that_was_started_by_hand_is_used_but_not_changed() {
    let toys = Toys::new();
    let by_hand = started_by_hand(&toys).await;
    let scheduler = vec![Address::parse("http://localhost:4000").unwrap()];
    let script = "run hi app\nexpect 1 a\nread 1 at s2\nstatus\nexpect-fail crash s1\n";
    let ran = run_with(toys.clone(), script, |config| {
        config.connect = scheduler.clone();
    })
    .await;
    ran.check(
        Outcome::Well,
        &expect![[r"
        1 = a (1.1)
        run 1 completed: hi
        1 = a (1.1)
        ┌──────┬───────────┬───────────────────────┬─────────┬───────────┬──────┐
        │ node ┆ role      ┆ url                   ┆ state   ┆ details   ┆ sees │
        ╞══════╪═══════════╪═══════════════════════╪═════════╪═══════════╪══════╡
        │ sc1  ┆ scheduler ┆ http://localhost:4000 ┆ present ┆ records 1 ┆      │
        │ s1   ┆ storage   ┆ http://localhost:3000 ┆ present ┆ records 1 ┆      │
        │ s2   ┆ storage   ┆ http://localhost:3001 ┆ present ┆ records 1 ┆      │
        │ w1   ┆ worker    ┆ http://localhost:4001 ┆ present ┆ records 1 ┆      │
        └──────┴───────────┴───────────────────────┴─────────┴───────────┴──────┘
    "]],
    );
    assert!(!toys.told().contains("close"));
    let ran = run_with(
        toys.clone(),
        "storage s3 http://localhost:3003 0\nread 1 at s9\n",
        |config| config.connect = scheduler,
    )
    .await;
    assert_eq!(ran.outcome, Outcome::WrongScript);
    expect![[r"
        error: a cluster that was started by hand is not changed from here
         --> demo.pm:1:9
          |
        1 | storage s3 http://localhost:3003 0
          |         ^^
          = hint: without --connect, a script makes a cluster of its own

        error: there is no storage node `s9`
         --> demo.pm:2:11
          |
        2 | read 1 at s9
          |           ^^
          = hint: did you mean `s1`, `s2` or `s3`?

        the script is wrong: nothing was started
    "]]
    .assert_eq(&ran.messages()[ran.messages().find("error").unwrap()..]);
    by_hand.close().await;
}

#[tokio::test]
async fn a_storage_node_that_does_not_answer_is_left_out_of_listings_and_of_waiting_if_suspected() {
    let toys = Toys::new();
    let by_hand = started_by_hand(&toys).await;
    toys.world.lock().unwrap().processes.remove("s2");
    let connected = |config: &mut Config| {
        config.connect = vec![Address::parse("http://localhost:4000").unwrap()];
    };
    let ran = run_with(
        toys.clone(),
        "listGlobal\nexpect-fail await converged 200\n",
        connected,
    )
    .await;
    ran.check(
        Outcome::Well,
        &expect![[r"
        1 = a (1.1)
        ┌────────┬─────────┬───────┬───────┐
        │ record ┆ version ┆ value ┆ nodes │
        ╞════════╪═════════╪═══════╪═══════╡
        │ 1      ┆ 1.1     ┆ a     ┆ s1    │
        └────────┴─────────┴───────┴───────┘
    "]],
    );
    expect![[r"
        node `s2` is left out, since it does not answer: nobody listens at http://localhost:3001
        failed as expected: node `s2` does not answer (nobody listens at http://localhost:3001) after 200 ms
    "]].assert_eq(&ran.messages());
    toys.world.lock().unwrap().suspected = vec!["s2".to_owned()];
    let ran = run_with(toys.clone(), "await converged\n", connected).await;
    assert_eq!(ran.outcome, Outcome::Well, "{}", ran.messages());
    by_hand.close().await;
}

#[tokio::test]
async fn the_faults_of_a_cluster_by_hand_end_with_the_script_and_a_refusal_is_said() {
    let toys = Toys::new();
    let _cluster = started_by_hand(&toys).await;
    let connected = |config: &mut Config| {
        config.connect = vec![Address::parse("http://localhost:4000").unwrap()];
    };
    let ran = run_with(toys.clone(), "cut sc1 s1\n", connected).await;
    ran.check(
        Outcome::Well,
        &expect![[r"
        1 = a (1.1)
    "]],
    );
    let told = toys.told();
    let links: Vec<&str> = told.lines().filter(|line| line.contains("links")).collect();
    expect![[r"
        sc1: links http://localhost:3000 cut 0 ms 0 %;
        sc1: links"]]
    .assert_eq(&links.join("\n"));

    toys.world.lock().unwrap().allows_no_faults = true;
    let ran = run_with(toys.clone(), "expect-fail cut sc1 s1\n", connected).await;
    expect![[r"
        failed as expected: node `sc1`: this node allows no network faults
    "]]
    .assert_eq(&ran.messages());
}

#[tokio::test]
async fn the_results_of_runs_are_shown_although_nobody_here_waited_for_them() {
    let toys = Toys::new();
    let by_hand = started_by_hand(&toys).await;
    let connected = |config: &mut Config| {
        config.connect = vec![Address::parse("http://localhost:4000").unwrap()];
    };
    run_with(toys.clone(), "run hi app\nrun fail1 app\n", connected).await;
    let said_before = toys.said(Channel::Result);
    let ran = run_with(toys.clone(), "runs\n", connected).await;
    assert_eq!(ran.outcome, Outcome::Well, "{}", ran.messages());
    expect![[r"
        ┌─────┬───────┬─────────────┬───────────┬────────────────────────────────────────┬────────┬──────┐
        │ run ┆ input ┆ application ┆ state     ┆ result                                 ┆ stages ┆ time │
        ╞═════╪═══════╪═════════════╪═══════════╪════════════════════════════════════════╪════════╪══════╡
        │ 1   ┆ hi    ┆ app         ┆ completed ┆ hi                                     ┆        ┆ 0 ms │
        │ 2   ┆ fail1 ┆ app         ┆ failed    ┆ stage 0: AddOperator on w1: it trapped ┆        ┆ 0 ms │
        └─────┴───────┴─────────────┴───────────┴────────────────────────────────────────┴────────┴──────┘
    "]].assert_eq(&ran.said(Channel::Result)[said_before.len()..]);
    by_hand.close().await;
}

#[tokio::test]
async fn an_unreachable_scheduler_and_a_missing_script_are_told() {
    let nowhere = vec![Address::parse("http://localhost:4999").unwrap()];
    let ran = run_with(Toys::new(), "status\n", |config| config.connect = nowhere).await;
    ran.check(Outcome::NodeLost, &expect![""]);
    expect![[r"
        error: no scheduler answers at http://localhost:4999: nobody listens at http://localhost:4999
        hint: start one: marionette scheduler ID URL
    "]].assert_eq(&ran.messages());
    let ran = run_with(Toys::new(), "", |config| {
        config.source = puppetmaster::Source::File("none.pm".into());
    })
    .await;
    ran.check(Outcome::WrongScript, &expect![""]);
    expect![[r"
        error: there is no such script
         --> none.pm

    "]]
    .assert_eq(&ran.messages());
}

#[tokio::test]
async fn json_is_one_object_per_event() {
    let toys = Toys::new();
    let (_place, path) = files(&format!(
        "{CLUSTER}write 1 a\nrun hi app\nlistGlobal\nread 2\nwatch\nwrite 1 b\n"
    ));
    let (surroundings, _interrupts) = toys.surroundings(Format::Json);
    let outcome = puppetmaster::run(config(&path), surroundings).await;
    assert_eq!(outcome, Outcome::Failed);
    let events = |channel| -> Vec<serde_json::Value> {
        toys.said(channel)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let mut results: Vec<String> = events(Channel::Result)
        .iter()
        .map(|event| event["event"].to_string())
        .collect();
    // Whether a change is told before or after the answer is open.
    results[3..].sort();
    expect![[r#""record" "run" "records" "change" "record""#]].assert_eq(&results.join(" "));
    assert_eq!(events(Channel::Result)[1]["output"], "hi");
    assert!(
        events(Channel::Message)
            .iter()
            .any(|event| event["event"] == "error" && event["line"] == 8)
    );
}
