//! `test` and `run` with real components in the real host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod support;

use std::time::{Duration, SystemTime};

use expect_test::{Expect, expect};
use operator_tool::once::run_once;
use operator_tool::rehearse::Setup;
use operator_tool::unusable::Verdict;
use support::{STANDARD, Said, directory, file, said, sizes, test};

/// Output with its times left out.
fn timeless(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let end = line
            .rfind("  (")
            .or_else(|| line.rfind(", "))
            .filter(|_| line.ends_with(" ms)") || line.ends_with(" s"));
        format!("{}\n", &line[..end.unwrap_or(line.len())])
    });
    lines.collect()
}

async fn check(component: &[u8], table: &str, verdict: Verdict, expected: &Expect) {
    let directory = directory(&[("it.wasm", component), ("cases.toml", table.as_bytes())]);
    let said = test(directory.path(), None).await;
    assert_eq!(said.verdict.unwrap(), verdict, "{}", said.out);
    let place = directory.path().display().to_string();
    expected.assert_eq(&timeless(&said.out).replace(&place, "DIR"));
    assert_eq!(said.err, "");
}

#[tokio::test]
async fn cases_that_are_well_are_one_line_each() {
    let table = r#"
[[case]]
name = "counts"
class = "CounterOperator"
input = "k"
records = { k = 41, other = "x" }
expect = { output = [42], records = { k = 42 } }

[[case]]
name = "an overloaded storage is an error of the storage"
class = "CounterOperator"
input = "k"
faults = [{ call = "read", id = "k", error = "overloaded" }]
expect = { kind = "storage", error = "overloaded" }

[[case]]
name = "counts its runs"
class = "IncrementOperator"
run = 9
expect = { output = ["1"], other_records = "any" }
"#;
    let expected = expect![[r"
        ok      counts
        ok      an overloaded storage is an error of the storage
        ok      counts its runs
        3 cases ok
    "]];
    check(STANDARD, table, Verdict::Good, &expected).await;
}

#[tokio::test]
async fn all_that_differs_is_shown() {
    let table = r#"
[[case]]
name = "items, records, log, faults"
class = "CounterOperator"
input = "k"
records = { k = 41, gone = "x" }
faults = [{ call = "write", id = "other", error = "timeout" }, { lose_update = "k", to = "5" }]
[case.expect]
output = ["43", { key = "a", value = "b" }]
records = { gone = { hex = "ff" } }
log = ["a line"]

[[case]]
name = "an error was expected"
class = "CounterOperator"
expect = { kind = "failed", records = { "" = 1 } }

[[case]]
name = "no error was expected"
class = "AddOperator"
input = "13"
expect.output = ["1"]

[[case]]
name = "another error was expected"
class = "AddOperator"
input = "13"
expect = { kind = "trap", error = "unreachable" }
"#;
    let expected = expect![[r#"
        FAILED  items, records, log, faults
                at DIR/cases.toml:2
                item 1
                  expected  "43"
                  found     "42"
                item 2
                  expected  { key = "a", value = "b" }
                  found     nothing
                record "gone"
                  expected  (1 bytes) ff
                  found     "x"
                record "k"
                  expected  "41"
                  found     "42"
                log
                  expected  a line with "a line"
                  found     no lines
                fault
                  expected  a write of "other" that fails
                  found     no such call
                fault
                  expected  an update of "k" that is lost
                  found     no such call
        FAILED  an error was expected
                at DIR/cases.toml:13
                kind
                  expected  failed
                  found     error (storage): record "": invalid id: an id has 1 to 1024 bytes, not 0
                record ""
                  expected  "1"
                  found     nothing
        FAILED  no error was expected
                at DIR/cases.toml:18
                end
                  expected  items
                  found     error (storage): record "13": not found
        FAILED  another error was expected
                at DIR/cases.toml:24
                kind
                  expected  trap
                  found     error (storage): record "13": not found
                error
                  expected  a text with "unreachable"
                  found     error (storage): record "13": not found
        4 of 4 cases failed
    "#]];
    check(STANDARD, table, Verdict::Bad, &expected).await;
}

#[tokio::test]
async fn blobs_and_the_log_are_those_of_the_case() {
    let table = r#"
[[case]]
name = "a blob"
blobs = { "file:///a" = "text" }
expect = { output = [], log = ["look"] }

[[case]]
name = "no blob"
expect.output = []
"#;
    let expected = expect![[r"
        ok      a blob
        FAILED  no blob
                at DIR/cases.toml:7
                end
                  expected  items
                  found     error (trap): trapped: wasm `unreachable` instruction executed
                log
                  warn  looking
        1 of 2 cases failed
    "]];
    check(&sizes(), table, Verdict::Bad, &expected).await;
}

#[tokio::test]
async fn only_the_cases_that_are_asked_for_run() {
    let table =
        "[[case]]\nname = \"one\"\n[[case]]\nname = \"two\"\nblobs = { \"file:///a\" = \"\" }\n";
    let directory = directory(&[("it.wasm", &sizes()), ("cases.toml", table.as_bytes())]);
    let said = test(directory.path(), Some("tw")).await;
    assert_eq!(said.verdict.unwrap(), Verdict::Good);
    assert_eq!(timeless(&said.out), "ok      two\n1 case ok\n");
    let refusal = test(directory.path(), Some("three")).await.refusal();
    assert_eq!(
        refusal,
        "no case has \"three\" in its name\nthere are: one, two"
    );
}

#[tokio::test]
async fn a_directory_needs_one_component_and_a_table() {
    let empty = directory(&[]);
    let refusal = test(empty.path(), None).await.refusal();
    assert!(
        refusal.contains("build it first: marionette operator build"),
        "{refusal}"
    );
    let two = directory(&[("a.wasm", b""), ("b.wasm", b"")]);
    let refusal = test(two.path(), None).await.refusal();
    assert!(
        refusal.contains("a.wasm, ") && refusal.contains("b.wasm"),
        "{refusal}"
    );
    let no_table = directory(&[("a.wasm", STANDARD)]);
    let refusal = test(no_table.path(), None).await.refusal();
    assert!(
        refusal.contains("cases.toml: there is no such table"),
        "{refusal}"
    );
    let broken = directory(&[("a.wasm", b"\0asm?"), ("cases.toml", b"")]);
    let refusal = test(broken.path(), None).await.refusal();
    assert!(refusal.contains("it is no operator component"), "{refusal}");
}

#[tokio::test]
async fn a_source_that_is_newer_than_the_component_is_noticed() {
    let table = b"[[case]]\nname = \"a\"\nblobs = { \"file:///a\" = \"\" }\n";
    let directory = directory(&[("it.wasm", &sizes()), ("cases.toml", table), ("it.rs", b"")]);
    let source = std::fs::File::options()
        .write(true)
        .open(file(&directory, "it.rs"));
    let source = source.unwrap();
    let hour = Duration::from_hours(1);
    source.set_modified(SystemTime::now() - hour).unwrap();
    assert_eq!(test(directory.path(), None).await.err, "");
    source.set_modified(SystemTime::now() + hour).unwrap();
    let said = test(directory.path(), None).await;
    assert_eq!(said.verdict.unwrap(), Verdict::Good);
    assert!(
        said.err.starts_with("notice: ") && said.err.contains("it.rs is newer than"),
        "{}",
        said.err
    );
}

async fn once(setup: Setup) -> Said {
    let directory = directory(&[("std.wasm", STANDARD), ("sizes.wasm", &sizes())]);
    let component = if setup.class == "Sizes" {
        "sizes.wasm"
    } else {
        "std.wasm"
    };
    let component = file(&directory, component);
    said(async |terminal| run_once(Some(&component), false, &setup, terminal).await).await
}

fn setup(class: &str, input: &str, records: &[(&str, &str)]) -> Setup {
    let records = records.iter();
    Setup {
        class: class.to_owned(),
        input: input.to_owned(),
        records: records
            .map(|(id, value)| ((*id).to_owned(), value.to_string().into()))
            .collect(),
        ..Setup::default()
    }
}

#[tokio::test]
async fn one_shot_prints_items_and_tells_what_changed() {
    let said = once(setup(
        "CounterOperator",
        "k",
        &[("k", "41"), ("other", "x")],
    ))
    .await;
    assert_eq!(said.verdict.unwrap(), Verdict::Good);
    assert_eq!(
        (said.out.as_str(), said.err.as_str()),
        ("42\n", "record  \"k\": \"41\" -> \"42\"\n")
    );
}

#[tokio::test]
async fn one_shot_that_fails_tells_its_log_and_error() {
    let said = once(setup("Sizes", "", &[])).await;
    assert_eq!(said.verdict.unwrap(), Verdict::Bad);
    assert_eq!(said.out, "");
    let told = "log     warn  looking\nerror: operator Sizes (trap): trapped: wasm `unreachable` instruction executed\n";
    assert_eq!(said.err, told);
}

#[tokio::test]
async fn one_shot_of_an_unknown_class_offers_those_that_are_near() {
    let refusal = once(setup("addoperater", "", &[])).await.refusal();
    assert_eq!(
        refusal,
        "unknown class `addoperater`\ndid you mean `AddOperator`?"
    );
    let refusal = once(setup("Sort", "", &[])).await.refusal();
    assert!(
        refusal.ends_with(
            "there are: AddOperator, Collect, CounterOperator, IncrementOperator, SplitRange, SplitText, Sum, SumByKey, SumOfPrimes, Tally, UpdateAndChainOperator, WordCount"
        ),
        "{refusal}"
    );
}
