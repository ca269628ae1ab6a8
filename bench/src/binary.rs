//! Which binary is put to the test: the one that is named, or the workspace's, built anew so that it is never stale.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "marionette";

#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    #[error("cannot tell where this program is: {0}")]
    Place(io::Error),
    #[error("cargo could not be started to build {NAME}: {0}; name a binary instead")]
    Cargo(io::Error),
    #[error("{NAME} could not be built; name a binary instead")]
    Build,
}

/// The binary itself if one is named. Otherwise the one beside this program, of the same profile; while the workspace
/// is at hand cargo brings it up to date first.
pub fn find(named: Option<PathBuf>) -> Result<PathBuf, BinaryError> {
    if let Some(named) = named {
        return Ok(named);
    }
    let directory = beside()?;
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if workspace.join("Cargo.toml").is_file() {
        build(workspace, &directory)?;
    }
    Ok(directory.join(NAME))
}

/// For tests: the binary that `cargo test --workspace` has built beside them, and only without one as [`find`]. Cargo
/// would build all of it again, since dependencies have other features without the tests.
pub fn tested() -> Result<PathBuf, BinaryError> {
    let built = beside()?.join(NAME);
    find(built.is_file().then_some(built))
}

/// `target/debug` or `target/release`, where this program is.
fn beside() -> Result<PathBuf, BinaryError> {
    let program = std::env::current_exe().map_err(BinaryError::Place)?;
    let is_inner = |name: &&OsStr| *name == "deps" || *name == "examples";
    let directory = program.parent().unwrap_or(Path::new("."));
    let directory = match directory.file_name().filter(is_inner) {
        Some(_) => directory.parent().unwrap_or(directory),
        None => directory,
    };
    Ok(directory.to_owned())
}

/// `directory` is `target/debug` or `target/release`.
fn build(workspace: &Path, directory: &Path) -> Result<(), BinaryError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        .args(["build", "--quiet", "--bin", NAME]);
    if directory.file_name() == Some(OsStr::new("release")) {
        command.arg("--release");
    }
    if let Some(target) = directory.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command.status().map_err(BinaryError::Cargo)?;
    status.success().then_some(()).ok_or(BinaryError::Build)
}
