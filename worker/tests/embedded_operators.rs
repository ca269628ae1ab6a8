//! The committed standard component is built from the sources beside it.

// Helpers outside of test functions fail a test in the same way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const LIST: &str = "operators/std/std.wasm.sources";
const COMPONENT: &str = "operators/std/std.wasm";
/// What the component is built from.
const SOURCE_DIRECTORIES: [&str; 3] = ["operators/sdk", "operators/std", "operators/wit"];
/// It is embedded in the binary and compiled at each start. A fifth of it is the names of functions, for traps. 20 KiB are for
/// counting words.
const COMPONENT_BYTES_MAX: u64 = 112 << 10;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(name, "Cargo.toml" | "Cargo.lock") || matches!(extension, Some("rs" | "wit"))
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, files);
            }
        } else if is_source(&path) {
            files.push(path);
        }
    }
}

fn hash(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Path to hash, of every source and the component, as they are now.
fn present() -> BTreeMap<String, String> {
    let repository = repository();
    let mut files = vec![repository.join(COMPONENT)];
    for directory in SOURCE_DIRECTORIES {
        collect(&repository.join(directory), &mut files);
    }
    let name = |path: &PathBuf| {
        path.strip_prefix(&repository)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    files.iter().map(|path| (name(path), hash(path))).collect()
}

/// The same, as they were when the component was built.
fn recorded() -> BTreeMap<String, String> {
    let list = fs::read_to_string(repository().join(LIST)).unwrap();
    let entry = |line: &str| {
        let (hash, path) = line.split_once("  ").expect("a line is `hash  path`");
        (path.to_owned(), hash.to_owned())
    };
    list.lines().map(entry).collect()
}

#[test]
fn the_component_is_built_from_these_sources() {
    let (present, recorded) = (present(), recorded());
    let changed: Vec<&String> = present
        .keys()
        .chain(recorded.keys().filter(|path| !present.contains_key(*path)))
        .filter(|path| present.get(*path) != recorded.get(*path))
        .collect();
    assert!(
        changed.is_empty(),
        "{COMPONENT} was built from other sources than these: {changed:?}\n\
         run `scripts/check-operators --renew` and commit operators/std"
    );
}

#[test]
fn the_component_stays_small() {
    let bytes = fs::metadata(repository().join(COMPONENT)).unwrap().len();
    assert!(
        bytes <= COMPONENT_BYTES_MAX,
        "{COMPONENT} has {bytes} bytes"
    );
}
