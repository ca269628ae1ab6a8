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

/// One file that was built.
struct OneFile(Stand);

impl OneFile {
    /// None without the toolchain.
    async fn built(name: &str, source: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        fs::write(&file, source).unwrap();
        let built = built(&order(&file))?;
        Some(Self(Stand::load(Some(&built.file), false).await.unwrap()))
    }

    async fn run(&self, class: &str, input: &str) -> Result<Bytes, String> {
        let setup = Setup {
            class: class.to_owned(),
            input: input.to_owned(),
            blobs: [(BLOB.to_owned(), Bytes::from("0123456789"))].into(),
            timeout: PLENTY,
            ..Setup::default()
        };
        let items = self.0.rehearse(&setup).await.result;
        let items = items.map_err(|error| error.to_string())?;
        Ok(items.into_iter().next().unwrap().value)
    }

    async fn fails_with(&self, class: &str, input: &str, parts: &[&str]) {
        let error = self.run(class, input).await.unwrap_err();
        for part in parts {
            assert!(error.contains(part), "no {part:?} in\n{error}");
        }
    }

    /// `Reads` returns the size of a blob and the pieces of its bytes 2 to 8, at most 4 each.
    async fn reads_blobs(&self) {
        let read = self.run("Reads", BLOB).await.unwrap();
        assert_eq!(read, "10 2345 678");
        let elsewhere = "file:///secret";
        let parts = ["file:///secret", "does not grant it"];
        self.fails_with("Reads", elsewhere, &parts).await;
    }
}

const BLOB: &str = "file:///data/digits";

#[tokio::test]
async fn one_file_of_javascript_builds_and_what_it_throws_comes_with_its_stack() {
    let source = r#"
        import { blob, decoded, operators } from "./marionette/marionette.js";
        function inner() { null.value; }
        function outer() { inner(); }
        const reads = ({ input }) =>
            [blob.size(input), ...[...blob.chunks(input, 2, 7, 4)].map(decoded)].join(" ");
        export const { classes, run } = operators({ Fails: outer, Reads: reads });
    "#;
    let Some(file) = OneFile::built("fails.js", source).await else {
        return;
    };
    let stack = [
        "TypeError: ",
        "at inner (/fails.js:3",
        "at outer (/fails.js:4",
    ];
    file.fails_with("Fails", "", &stack).await;
    file.reads_blobs().await;
}

#[tokio::test]
async fn one_file_of_python_builds_and_what_it_raises_comes_with_its_traceback() {
    let source = "from marionette import blob, operator\n\n\
        def inner():\n    return {}['nothing']\n\n\
        @operator('Fails')\ndef outer(request):\n    return inner()\n\n\
        @operator('Reads')\ndef reads(request):\n    \
        url = request.input\n    \
        pieces = [piece.decode() for piece in blob.chunks(url, 2, 7, 4)]\n    \
        return ' '.join([str(blob.size(url)), *pieces])\n";
    let Some(file) = OneFile::built("fails.py", source).await else {
        return;
    };
    let traceback = [
        "Traceback (most recent call last)",
        "line 8, in outer",
        "line 4, in inner",
        "return {}['nothing']",
        "KeyError: 'nothing'",
    ];
    file.fails_with("Fails", "", &traceback).await;
    file.reads_blobs().await;
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
        __attribute__((noinline)) static int deeper(int depth) {
            if (depth > 1) __builtin_trap();
            return depth;
        }
        static bool traps(marionette_task_t *task) {
            return marionette_return(task, "%d", deeper((int)task->request->attempt + 1));
        }
        static bool reads(marionette_task_t *task) {
            const char *url = marionette_text(&task->request->input);
            operator_string_t at = task->request->input;
            uint64_t size, length = 7;
            blob_own_reader_t reader;
            blob_blob_error_t error;
            if (!blob_size(&at, &size, &error) || !blob_open(&at, 2, &length, &reader, &error))
                return marionette_blob_failed(task, url, error);
            char *text = marionette_format("%d", (int)size);
            for (;;) {
                operator_list_u8_t piece;
                if (!blob_method_reader_read(blob_borrow_reader(reader), 4, &piece, &error))
                    return marionette_blob_failed(task, url, error);
                if (piece.len == 0) return marionette_return(task, "%s", text);
                text = marionette_format("%s %s", text, marionette_text_of(&piece));
            }
        }
        MARIONETTE_OPERATORS({"Fails", fails}, {"Traps", traps}, {"Reads", reads})
    "#;
    let Some(file) = OneFile::built("fails.c", source).await else {
        return;
    };
    file.fails_with("Fails", "", &["attempt 1 failed"]).await;
    let trace = ["trapped: ", "deeper < ", "traps"];
    file.fails_with("Traps", "", &trace).await;
    file.reads_blobs().await;
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
    let Some(file) = OneFile::built("fails.rs", source).await else {
        return;
    };
    let parts = ["on purpose", "fails.rs:4"];
    file.fails_with("Fails", "", &parts).await;
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
