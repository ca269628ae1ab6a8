//! Programs of a toolchain: run with what they say on standard error, and two builds never in one directory at once.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::BuildError;

/// Tells the author what takes long.
pub(super) fn say(text: &str) {
    eprintln!("{text}");
}

/// Runs a program; all that it prints goes to standard error.
pub(super) fn run(command: &mut Command) -> Result<(), BuildError> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(io::stderr()));
    let status = command.status().map_err(BuildError::io(program(command)))?;
    ended(command, status)
}

/// Runs a program and returns what it prints on standard output.
pub(super) fn output(command: &mut Command) -> Result<Vec<u8>, BuildError> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(BuildError::io(program(command)))?;
    ended(command, output.status)?;
    Ok(output.stdout)
}

fn ended(command: &Command, status: std::process::ExitStatus) -> Result<(), BuildError> {
    if status.success() {
        return Ok(());
    }
    let name = program(command).file_name().unwrap_or_default();
    Err(BuildError::Failed {
        program: name.to_string_lossy().into_owned(),
        status,
    })
}

fn program(command: &Command) -> &Path {
    Path::new(command.get_program())
}

/// Waits until nobody else builds in this directory; it is free again when the file is dropped.
pub(super) fn lock(directory: &Path) -> Result<File, BuildError> {
    fs::create_dir_all(directory).map_err(BuildError::io(directory))?;
    let path = directory.join(".lock");
    let file = File::create(&path).map_err(BuildError::io(&path))?;
    file.lock().map_err(BuildError::io(&path))?;
    Ok(file)
}
