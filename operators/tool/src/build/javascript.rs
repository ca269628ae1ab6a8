//! JavaScript: the npm package `componentize-qjs` makes a component of the modules and `QuickJS`.
//!
//! It is taken from the project, the path or the cache, into which it is installed where npm is there.

use std::fs;
use std::path::{Path, PathBuf};

use super::project::Project;
use super::{BuildError, Workshop, contract, process};
use crate::kit;
use crate::machine::{Machine, is_program};

const PROGRAM: &str = "componentize-qjs";
/// The version that the examples are tested with.
const VERSION: &str = "0.4.5";
const INSTALL: &str = "install Node.js, at least 20, with npm
  on Debian:     apt-get install nodejs npm
  on any other:  https://nodejs.org/en/download
the build then fetches the package componentize-qjs by itself";

/// The module as a component.
pub(super) fn component(project: &Project, machine: &Machine) -> Result<Vec<u8>, BuildError> {
    let program = program(project, machine)?;
    let workshop = Workshop::new(machine)?;
    let (root, main) = sources(project, machine, &workshop)?;
    let out = workshop.join("component.wasm");
    process::run(
        machine
            .command(&program)
            .current_dir(&root)
            // What a system has and the contract has not stays an import: the host says which was called.
            .args(["--sync", "--world", "operator", "--wit"])
            .arg(contract(project, machine)?)
            .arg("--module-root")
            .arg(&root)
            .arg("--js")
            .arg(&main)
            .arg("--output")
            .arg(&out),
    )?;
    fs::read(&out).map_err(BuildError::io(&out))
}

/// The directory that modules are imported from, and the main one. A single file imports from the kit.
fn sources(
    project: &Project,
    machine: &Machine,
    workshop: &Workshop,
) -> Result<(PathBuf, PathBuf), BuildError> {
    if !project.is_file || project.directory.join(kit::DIRECTORY).is_dir() {
        return Ok((project.directory.clone(), project.main.clone()));
    }
    let main = workshop.join(&format!("{}.js", project.name));
    copy(&project.main, &main)?;
    let module = Path::new(kit::DIRECTORY).join("marionette.js");
    let directory = workshop.join(kit::DIRECTORY);
    fs::create_dir(&directory).map_err(BuildError::io(&directory))?;
    let from = kit::unpacked(machine)?.join("marionette.js");
    copy(&from, &workshop.0.join(module))?;
    Ok((workshop.0.clone(), main))
}

fn copy(from: &Path, to: &Path) -> Result<(), BuildError> {
    fs::copy(from, to).map_err(BuildError::io(from))?;
    Ok(())
}

fn program(project: &Project, machine: &Machine) -> Result<PathBuf, BuildError> {
    let lacking = |missing: &str| BuildError::NoToolchain {
        target: "JavaScript",
        missing: missing.to_owned(),
        install: INSTALL,
    };
    // It is itself a program for node.
    machine.find("node").ok_or_else(|| lacking("node"))?;
    let kept = machine.cache.join(format!("{PROGRAM}-{VERSION}"));
    let in_modules = |directory: &Path| directory.join("node_modules/.bin").join(PROGRAM);
    let own = in_modules(&project.directory);
    if is_program(&own) {
        return Ok(own);
    }
    if let Some(program) = machine.find(PROGRAM) {
        return Ok(program);
    }
    let _one_at_a_time = process::lock(&kept)?;
    let program = in_modules(&kept);
    if !is_program(&program) {
        let npm = machine.find("npm").ok_or_else(|| lacking("npm"))?;
        process::say(&format!(
            "fetching {PROGRAM} {VERSION} into {}",
            kept.display()
        ));
        process::run(
            machine
                .command(&npm)
                .args(["install", "--no-audit", "--no-fund", "--prefix"])
                .arg(&kept)
                .arg(format!("{PROGRAM}@{VERSION}")),
        )?;
    }
    Ok(program)
}
