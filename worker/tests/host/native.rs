//! Native libraries: the standard operators built as one, by cargo, and files that are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::standard::expect_table;
use crate::support::host;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Builds a crate of operators for this machine, with the compiler that builds the tests.
pub fn library(crate_path: &str, name: &str) -> PathBuf {
    let target = repository().join("target/operators/native-tests");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--manifest-path"])
        .arg(repository().join(crate_path).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    target.join(format!("debug/lib{name}.so"))
}

/// Puts a crate of operators into a directory: the component that the variable names, or a native library.
pub fn install(component_variable: &str, crate_path: &str, name: &str, directory: &Path) {
    let (from, extension) = match std::env::var_os(component_variable) {
        Some(component) => (PathBuf::from(component), "wasm"),
        None => (library(crate_path, name), "so"),
    };
    fs::copy(from, directory.join(name).with_extension(extension)).unwrap();
}

#[tokio::test]
async fn the_native_library_does_what_the_table_says() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(
        library("operators/std", "marionette_std"),
        directory.path().join("std.so"),
    )
    .unwrap();
    let host = host(directory.path(), true).await;
    assert_eq!(host.problems(), []);
    expect_table(&host).await;
}

#[tokio::test]
async fn a_native_library_is_not_loaded_unasked() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("mine.so"), "anything").unwrap();
    let host = host(directory.path(), false).await;
    let problem = host.problems()[0].to_string();
    assert!(
        problem.contains("mine.so") && problem.contains("--allow-native"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_library_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("mine.so"), "anything").unwrap();
    let host = host(directory.path(), true).await;
    let problem = host.problems()[0].to_string();
    assert!(
        problem.contains("it is no native library of this machine"),
        "{problem}"
    );
}
