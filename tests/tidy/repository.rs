//! The files of the repository, and what is found in them.

use std::fmt;
use std::path::Path;

const DIRECTORIES: [&str; 13] = [
    ".ci",
    "bench",
    "common",
    "deploy",
    "operators",
    "pcs",
    "puppetmaster",
    "scheduler",
    "scripts",
    "src",
    "storage",
    "tests",
    "worker",
];

/// A file of the repository; `path` is relative to its root.
pub struct Source {
    pub path: String,
    pub text: String,
}

#[derive(PartialEq, Eq, Debug)]
pub struct Violation {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

pub fn violation(source: &Source, line: usize, what: String) -> Violation {
    Violation {
        path: source.path.clone(),
        line,
        what,
    }
}

pub fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for directory in DIRECTORIES {
        collect(root, &root.join(directory), &mut sources);
    }
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    sources.push(Source {
        path: "Cargo.toml".to_owned(),
        text: manifest,
    });
    assert!(
        sources.iter().filter(|source| is_rust(source)).count() > 50,
        "the repository was not found"
    );
    sources
}

fn collect(root: &Path, directory: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(root, &path, sources);
            }
            continue;
        }
        // What is not text has no lines to look at, but it is there.
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let path = path.strip_prefix(root).unwrap().display().to_string();
        sources.push(Source { path, text });
    }
}

pub fn is_rust(source: &Source) -> bool {
    has_extension(&source.path, "rs")
}

pub fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == wanted)
}

/// Files that are not tests as a whole.
pub fn production(sources: &[Source]) -> impl Iterator<Item = &Source> {
    let is_test = |path: &str| {
        path.ends_with("/tests.rs") || path.starts_with("tests/") || path.contains("/tests/")
    };
    sources
        .iter()
        .filter(move |source| is_rust(source) && !is_test(&source.path))
}
