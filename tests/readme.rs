//! What the documents show is what happens: every command of README.md and operators/README.md is run, and every name
//! that README.md and ARCHITECTURE.md give to a file or a bound exists.
//!
//! How a document is read (`document`):
//! - a fenced block behind a line that starts with a file's name in backticks and ends with a colon is that file;
//! - a block ```` ```sh ```` holds commands, one a line: `# exit status N` behind one says how it ends (otherwise by 0);
//!   with `&` at its end it runs on, and is ready when it says so; `kill $(jobs -p)` ends those of its section;
//! - a block ```` ```text ```` holds lines, in this order, of what the last command before it prints; `…` stands for
//!   anything, blanks do not count. If it has lines that begin with the REPL's prompt, it is what was typed, and what came.
//!
//! Commands run in a copy of the working directory (`session`), with the hosts of the document replaced by loopback
//! addresses that no other test uses, so that all ports are free.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

#[path = "readme/document.rs"]
mod document;
#[path = "readme/session.rs"]
mod session;
mod support;

use std::collections::BTreeSet;
use std::path::Path;

use document::{Document, code_words};
use session::Session;

/// Commands that are not run, and why.
const NOT_RUN: [(&str, &str); 2] = [
    (
        "cargo test --workspace",
        "this test is a part of it, and would never end",
    ),
    (
        "marionette worker … --operators DIR --allow-native",
        "its arguments are left out; worker/tests/host/native.rs loads such a library",
    ),
];

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    let path = Path::new(ROOT).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a document from top to bottom.
fn run(path: &str) {
    let document = Document::parse(path, &read(path));
    let mut session = Session::start(Path::new(ROOT), path);
    for section in &document.sections {
        session.section(section, &NOT_RUN);
    }
}

#[test]
fn the_readme_shows_what_happens() {
    run("README.md");
}

#[test]
fn the_readme_of_the_operators_shows_what_happens() {
    run("operators/README.md");
}

#[test]
fn what_is_not_run_is_shown() {
    let shown = ["README.md", "operators/README.md"].map(read).concat();
    for (command, _) in NOT_RUN {
        assert!(shown.contains(command), "no document shows `{command}`");
    }
}

/// They take long, or are meant to find nothing: what they name must at least be there.
#[test]
fn what_the_commands_of_the_storage_name_exists() {
    let document = read("storage/README.md");
    let commands = document
        .lines()
        .filter_map(|line| line.strip_prefix("    "));
    let mut named = 0;
    for command in commands.filter(|command| command.contains("cargo ")) {
        let words: Vec<_> = command.split_whitespace().collect();
        let after = |option: &str| -> Vec<&str> {
            let pairs = words.windows(2).filter(|pair| pair[0] == option);
            pairs.map(|pair| pair[1]).collect()
        };
        let package = after("-p")[0];
        let places = [
            ("--bin", "src/bin"),
            ("--example", "examples"),
            ("--test", "tests"),
        ];
        for (option, directory) in places {
            for name in after(option) {
                let path = Path::new(ROOT).join(package).join(directory).join(name);
                let is_there = path.with_extension("rs").exists() || path.join("main.rs").exists();
                assert!(
                    is_there,
                    "storage/README.md: `{command}`: no {option} {name}"
                );
                named += 1;
            }
        }
    }
    assert!(named > 5, "the commands were not found");
}

#[test]
fn files_and_bounds_that_the_documents_name_exist() {
    let sources = sources(Path::new(ROOT));
    let mut wrong = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md"] {
        let words = code_words(&read(document));
        let is_bound = |word: &&String| {
            word.contains('_')
                && word
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || "_0123456789".contains(c))
        };
        let bounds: BTreeSet<_> = words.iter().filter(is_bound).collect();
        let unknown = bounds.into_iter().filter(|bound| !sources.contains(*bound));
        wrong.extend(unknown.map(|bound| format!("{document}: `{bound}` is not in the code")));
        let is_path = |word: &&String| {
            let first = word.split('/').next().unwrap_or_default();
            word.contains('/') && !first.is_empty() && Path::new(ROOT).join(first).is_dir()
        };
        let missing = words.iter().filter(is_path).filter(|path| !exists(path));
        wrong.extend(missing.map(|path| format!("{document}: there is no {path}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `a/{b,c}.rs` stands for both files.
fn exists(path: &str) -> bool {
    let Some((start, (names, end))) = path
        .split_once('{')
        .and_then(|(start, rest)| Some((start, rest.split_once('}')?)))
    else {
        // What the build makes is there after a build.
        return path.starts_with("target/") || Path::new(ROOT).join(path).exists();
    };
    names
        .split(',')
        .all(|name| exists(&format!("{start}{}{end}", name.trim())))
}

/// All code of the repository.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            text += &sources(&path);
        } else if path
            .extension()
            .is_some_and(|is| is == "rs" || is == "proto")
        {
            text += &std::fs::read_to_string(&path).unwrap();
        }
    }
    text
}
