//! What a project needs of Marionette, embedded in this program: the contract, the Rust SDK, and what makes the other
//! languages pleasant. It is written beside the author's source, so that the project stands alone.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::build::BuildError;
use crate::language::Language;
use crate::machine::Machine;

/// The directory of a project in which it lies.
pub const DIRECTORY: &str = "marionette";

/// A file of text, by its path with slashes.
pub(crate) type File = (&'static str, &'static str);

macro_rules! files {
    ($root:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../", $root, "/", $path)))),+]
    };
}
pub(crate) use files;

const CONTRACT: &[File] = files!("." : "wit/operator.wit");

const RUST: &[File] = files!(".":
    "sdk/Cargo.toml",
    "sdk/build.rs",
    "sdk/src/error.rs",
    "sdk/src/host.rs",
    "sdk/src/json.rs",
    "sdk/src/lib.rs",
    "sdk/src/native.rs",
    "sdk/src/registration.rs",
    "sdk/src/testing.rs",
    "sdk/src/types.rs",
    "sdk/src/wasm.rs",
);

const JAVASCRIPT: &[File] = files!("examples/js/marionette": "marionette.js");

const PYTHON: &[File] = files!("examples/python/marionette": "__init__.py");

const C: &[File] =
    files!("examples/c/marionette": "marionette.c", "marionette.h", "operator.c", "operator.h");

/// A line of the SDK's manifest that only holds within Marionette's own workspace.
const WORKSPACE_LINTS: &str = "[lints]\nworkspace = true\n\n";

fn of_language(language: Language) -> &'static [File] {
    match language {
        Language::Rust => RUST,
        Language::JavaScript => JAVASCRIPT,
        Language::Python => PYTHON,
        Language::C => C,
    }
}

/// Writes what a project in this language needs into a directory.
pub(crate) fn write(directory: &Path, language: Language) -> Result<(), (PathBuf, std::io::Error)> {
    for (path, text) in CONTRACT.iter().chain(of_language(language)) {
        write_file(&directory.join(path), &text.replace(WORKSPACE_LINTS, ""))?;
    }
    Ok(())
}

/// Writes a file and the directories that it lies in.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), (PathBuf, std::io::Error)> {
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| (path.to_owned(), error))
}

/// The directory [`DIRECTORY`] with what all languages need, in the cache: for what has no copy of its own.
pub(crate) fn unpacked(machine: &Machine) -> Result<PathBuf, BuildError> {
    let kit = machine.cache.join(format!("kit-{}", fingerprint()));
    if !kit.is_dir() {
        let mut temporary = kit.clone().into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        for language in Language::ALL {
            write(&temporary.join(DIRECTORY), language)
                .map_err(|(path, error)| BuildError::io(&path)(error))?;
        }
        if let Err(error) = fs::rename(&temporary, &kit) {
            // Another process was faster, which is as good; the copy is in the cache, which may be deleted at any time.
            let _ = fs::remove_dir_all(&temporary);
            if !kit.is_dir() {
                return Err(BuildError::io(&kit)(error));
            }
        }
    }
    Ok(kit.join(DIRECTORY))
}

/// Of all files: another version of this program unpacks into another directory.
fn fingerprint() -> String {
    let mut hash = Sha256::new();
    for language in Language::ALL {
        for (path, text) in CONTRACT.iter().chain(of_language(language)) {
            hash.update(format!("{path} {}\n{text}", text.len()));
        }
    }
    short(hash)
}

/// The first 16 hexadecimal digits.
pub(crate) fn short(hash: Sha256) -> String {
    let digest = hash.finalize();
    digest
        .iter()
        .take(8)
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_below(directory: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_below(&path, root, found);
            } else {
                let path = path.strip_prefix(root).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_of_the_sdks_is_in_the_kit() {
        let operators = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (root, directory, language) in [
            ("", "sdk", Language::Rust),
            ("examples/js/marionette", "", Language::JavaScript),
            ("examples/python/marionette", "", Language::Python),
            ("examples/c/marionette", "", Language::C),
        ] {
            let root = operators.join(root);
            let mut present = Vec::new();
            files_below(&root.join(directory), &root, &mut present);
            present.retain(|path| !path.contains("__pycache__"));
            present.sort();
            let mut embedded: Vec<_> = of_language(language)
                .iter()
                .map(|(path, _)| *path)
                .collect();
            embedded.sort_unstable();
            assert_eq!(present, embedded);
        }
    }

    #[test]
    fn the_sdk_stands_alone() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), Language::Rust).unwrap();
        let manifest = fs::read_to_string(directory.path().join("sdk/Cargo.toml")).unwrap();
        assert!(!manifest.contains("workspace = true"), "{manifest}");
    }

    #[test]
    fn the_kit_is_unpacked_once() {
        let cache = tempfile::tempdir().unwrap();
        let machine = Machine {
            path: std::ffi::OsString::new(),
            cache: cache.path().to_owned(),
        };
        let kit = unpacked(&machine).unwrap();
        assert!(kit.join("wit/operator.wit").is_file());
        assert_eq!(unpacked(&machine).unwrap(), kit);
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
