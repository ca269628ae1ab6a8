//! For each language: `new`, `build`, and the component does in the real host what `cases.toml` says of it.
//!
//! A machine without a toolchain skips its language, unless it is one that checks changes (`CI` is set).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use operator_tool::build::{BuildError, Built, Order, build};
use operator_tool::inspect::{Kind, inspect};
use operator_tool::language::Language;
use operator_tool::machine::Machine;
use operator_tool::new::{Created, create};
use operator_tool::rehearse::{Setup, Stand};
use worker::host::{Call, Fault, StorageError};

/// Long enough never to be the reason of a failure.
const PLENTY: Duration = Duration::from_mins(5);

/// What is compiled is kept where the repository's own is, so that a later run is quick.
fn machine() -> Machine {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    Machine {
        cache: repository.unwrap().join("target/marionette"),
        ..Machine::this()
    }
}

fn order(path: &Path) -> Order {
    Order {
        path: path.to_owned(),
        out: None,
        native: false,
    }
}

/// None on a machine that lacks the toolchain, and may.
fn built(order: &Order) -> Option<Built> {
    match build(order, &machine()) {
        Ok(built) => Some(built),
        Err(error @ BuildError::NoToolchain { .. }) if std::env::var_os("CI").is_none() => {
            println!("skipped: {error}\n{}", error.hint().unwrap());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn created(parent: &Path, language: Language) -> Created {
    create(parent, "hello-world", language).unwrap()
}

/// What the component tells of its source.
async fn language_of(file: &Path) -> Option<String> {
    match inspect(file, false).await.unwrap().kind {
        Kind::Component(component) => component.language().map(str::to_owned),
        other => panic!("{other:?}"),
    }
}

/// `new` and `build`, then what the cases of the template say.
async fn greets_and_counts(language: Language) {
    let parent = tempfile::tempdir().unwrap();
    let project = created(parent.path(), language);
    let Some(built) = built(&order(&project.directory)) else {
        return;
    };
    println!("{built}");
    assert_eq!(built.file, project.directory.join("hello-world.wasm"));
    assert_eq!(built.bytes, fs::metadata(&built.file).unwrap().len());
    assert_eq!(
        language_of(&built.file).await,
        Some(language.to_string()),
        "JavaScript and Python run in interpreters of Rust and C"
    );
    let stand = Stand::load(Some(&built.file), false).await.unwrap();
    let greet = async |input: &str, records: &[(&str, &'static str)], fault: Option<Fault>| {
        let records = records.iter();
        let setup = Setup {
            class: project.class.clone(),
            input: input.to_owned(),
            records: records
                .map(|(id, value)| ((*id).to_owned(), Bytes::from(*value)))
                .collect(),
            faults: fault.into_iter().collect(),
            timeout: PLENTY,
            ..Setup::default()
        };
        stand.rehearse(&setup).await
    };

    let race = Fault::Race {
        id: "greeted_Ada".to_owned(),
        value: Bytes::from("42"),
    };
    let outcome = greet(" Ada ", &[("greeted_Ada", "41")], Some(race)).await;
    // Somebody else made 42 of it in between.
    assert_eq!(
        outcome.result.unwrap()[0].value,
        Bytes::from("Hello, Ada! (43)")
    );
    assert_eq!(outcome.records["greeted_Ada"], "43");

    let outcome = greet("Zoë", &[], None).await;
    assert_eq!(
        outcome.result.unwrap()[0].value,
        Bytes::from("Hello, Zoë! (1)")
    );
    let outcome = greet(" ", &[], None).await;
    assert_eq!(
        outcome.result.unwrap_err().to_string(),
        "invalid request: nobody to greet: the input is empty"
    );
    let overloaded = Fault::Fail {
        call: Call::Update,
        id: "greeted_overloaded".to_owned(),
        error: StorageError::Overloaded,
    };
    let outcome = greet("overloaded", &[], Some(overloaded)).await;
    let error = outcome.result.unwrap_err().to_string();
    assert!(
        error.contains("greeted_overloaded") && error.contains("overloaded"),
        "{error}"
    );
}

#[tokio::test]
async fn rust() {
    greets_and_counts(Language::Rust).await;
}

#[tokio::test]
async fn javascript() {
    greets_and_counts(Language::JavaScript).await;
}

#[tokio::test]
async fn python() {
    greets_and_counts(Language::Python).await;
}

#[tokio::test]
async fn c() {
    greets_and_counts(Language::C).await;
}

/// Builds one file, runs the class `Fails` in it, and returns its error; None without the toolchain.
async fn failure_of(name: &str, source: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    fs::write(&file, source).unwrap();
    let built = built(&order(&file))?;
    let stand = Stand::load(Some(&built.file), false).await.unwrap();
    let setup = Setup {
        class: "Fails".to_owned(),
        timeout: PLENTY,
        ..Setup::default()
    };
    let outcome = stand.rehearse(&setup).await;
    Some(outcome.result.unwrap_err().to_string())
}

fn contains_all(error: Option<String>, parts: &[&str]) {
    let Some(error) = error else { return };
    for part in parts {
        assert!(error.contains(part), "no {part:?} in\n{error}");
    }
}

#[tokio::test]
async fn one_file_of_javascript_builds_and_what_it_throws_comes_with_its_stack() {
    let source = r#"
        import { operators } from "./marionette/marionette.js";
        function inner() { null.value; }
        function outer() { inner(); }
        export const { classes, run } = operators({ Fails: outer });
    "#;
    let error = failure_of("fails.js", source).await;
    contains_all(
        error,
        &[
            "TypeError: ",
            "at inner (/fails.js:3",
            "at outer (/fails.js:4",
        ],
    );
}

#[tokio::test]
async fn one_file_of_python_builds_and_what_it_raises_comes_with_its_traceback() {
    let source = "from marionette import operator\n\n\
        def inner():\n    return {}['nothing']\n\n\
        @operator('Fails')\ndef outer(request):\n    return inner()\n";
    let error = failure_of("fails.py", source).await;
    contains_all(
        error,
        &[
            "Traceback (most recent call last)",
            "line 8, in outer",
            "line 4, in inner",
            "return {}['nothing']",
            "KeyError: 'nothing'",
        ],
    );
}

#[tokio::test]
async fn one_file_of_c_builds_and_an_operator_says_why_it_failed() {
    let source = r#"
        #include "marionette/marionette.h"
        #include <stdio.h>
        static bool fails(marionette_task_t *task) {
            printf("attempt %u\n", (unsigned)task->request->attempt);
            return marionette_failed(task, "attempt %u failed", (unsigned)task->request->attempt);
        }
        MARIONETTE_OPERATORS({"Fails", fails})
    "#;
    assert_eq!(
        failure_of("fails.c", source)
            .await
            .as_deref()
            .unwrap_or("attempt 1 failed"),
        "attempt 1 failed"
    );
}

#[tokio::test]
async fn one_file_of_rust_builds_and_a_panic_says_where() {
    let source = r#"
        use marionette_sdk::{Host, Item, OperatorError, Request};
        fn fails(_: &Request, _: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
            panic!("on purpose")
        }
        marionette_sdk::operators! { "Fails" => fails }
    "#;
    let error = failure_of("fails.rs", source).await;
    contains_all(error, &["on purpose", "fails.rs:4"]);
}

#[test]
fn a_project_that_does_not_compile_leaves_what_was_built_before() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broken.c");
    fs::write(&file, "this is not C").unwrap();
    fs::write(directory.path().join("broken.wasm"), "before").unwrap();
    match build(&order(&file), &machine()) {
        Err(BuildError::NoToolchain { .. }) => assert!(std::env::var_os("CI").is_none()),
        Err(BuildError::Failed { program, .. }) => assert!(program.starts_with("clang")),
        other => panic!("{other:?}"),
    }
    let left: Vec<PathBuf> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(
        fs::read(directory.path().join("broken.wasm")).unwrap(),
        b"before"
    );
}

/// What a machine with nothing but these programs says to a build of a project in `language`.
fn said_without(language: Language, programs: &[&str]) -> String {
    let parent = tempfile::tempdir().unwrap();
    let project = created(parent.path(), language);
    let bin = parent.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for program in programs {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|directory| directory.join(program))
            .find(|file| file.is_file());
        if let Some(found) = found {
            std::os::unix::fs::symlink(found, bin.join(program)).unwrap();
        }
    }
    let machine = Machine {
        path: OsString::from(bin),
        cache: parent.path().join("cache"),
    };
    let error = build(&order(&project.directory), &machine).unwrap_err();
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

#[test]
fn what_is_missing_is_named_with_what_to_install() {
    for (language, programs, missing, install) in [
        (
            Language::Rust,
            [].as_slice(),
            "no toolchain for wasm32-unknown-unknown: cargo is missing",
            [
                "rustup target add wasm32-unknown-unknown",
                "apt-get install cargo-web rustc-web rust-web-src lld-19",
            ],
        ),
        (
            Language::Rust,
            &["cargo"],
            "its standard library is missing",
            [
                "rustup target add wasm32-unknown-unknown",
                "apt-get install cargo-web rustc-web rust-web-src lld-19",
            ],
        ),
        (
            Language::JavaScript,
            &[],
            "no toolchain for JavaScript: node is missing",
            ["https://nodejs.org", "apt-get install nodejs npm"],
        ),
        (
            Language::JavaScript,
            &["node"],
            "npm is missing",
            ["https://nodejs.org", "apt-get install nodejs npm"],
        ),
        (
            Language::Python,
            &[],
            "no toolchain for Python: python3 is missing",
            ["https://www.python.org", "apt-get install python3-venv"],
        ),
        (
            Language::C,
            &[],
            "no toolchain for C: clang is missing",
            [
                "https://github.com/WebAssembly/wasi-sdk",
                "apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32",
            ],
        ),
    ] {
        let said = said_without(language, programs);
        if programs.iter().all(|program| machine_has(program)) {
            assert!(said.contains(missing), "{said}");
        }
        for install in install {
            assert!(said.contains(install), "{said}");
        }
    }
}

fn machine_has(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(program).is_file())
}

#[test]
fn what_is_no_project_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path, native: bool| {
        let order = Order {
            native,
            ..order(path)
        };
        build(&order, &machine()).unwrap_err().to_string()
    };
    let nothing = directory.path().join("nothing");
    assert!(refused(&nothing, false).starts_with("there is no "));
    let empty = refused(directory.path(), false);
    assert!(
        empty.contains("expected Cargo.toml, package.json, or sources of one language"),
        "{empty}"
    );
    for name in ["a.py", "b.py"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let several = refused(directory.path(), false);
    assert!(
        several.contains("which of the Python files is the main one? Call it operators.py"),
        "{several}"
    );
    let native = refused(&directory.path().join("a.py"), true);
    assert_eq!(
        native,
        "Python operators have no native libraries: leave out --native"
    );
    fs::write(directory.path().join("c.c"), "").unwrap();
    assert!(refused(directory.path(), false).contains("sources of one language"));
}
