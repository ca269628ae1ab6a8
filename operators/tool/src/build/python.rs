//! Python: the package `componentize-py` makes a component of the modules and `CPython`.
//!
//! It is taken from the path or the cache, into which it is installed where Python can make virtual environments.

use std::fs;
use std::path::PathBuf;

use super::project::Project;
use super::{BuildError, Workshop, contract, process};
use crate::kit;
use crate::machine::{Machine, is_program};

const PROGRAM: &str = "componentize-py";
/// The version that the examples are tested with.
const VERSION: &str = "0.25.1";
/// The module that the component is made of.
const COMPONENT: &str = "marionette_component";
const INSTALL: &str = "install Python, at least 3.10, with the module venv
  on Debian:     apt-get install python3-venv
  on any other:  https://www.python.org/downloads
the build then fetches the package componentize-py by itself";

/// The module as a component.
pub(super) fn component(project: &Project, machine: &Machine) -> Result<Vec<u8>, BuildError> {
    let program = program(machine)?;
    let workshop = Workshop::new(machine)?;
    let module = project.main.file_stem().unwrap_or_default().display();
    let source = format!(
        "from importlib import import_module\n\nimport_module(\"{module}\")\n\
         from marionette import WitWorld, _keep_sources\n\n_keep_sources()\n"
    );
    let file = workshop.join(&format!("{COMPONENT}.py"));
    fs::write(&file, source).map_err(BuildError::io(&file))?;
    let out = workshop.join("component.wasm");
    let mut command = machine.command(&program);
    command
        .arg("--wit-path")
        .arg(contract(project, machine)?)
        .args(["--world", "operator", "componentize", "--stub-wasi"]);
    // The kit comes last: a project has its own.
    let kit = kit::unpacked(machine)?;
    let directories = [&workshop.0, &project.directory];
    for directory in directories
        .into_iter()
        .map(PathBuf::as_path)
        .chain(kit.parent())
    {
        command.arg("--python-path").arg(directory);
    }
    process::run(command.arg("--output").arg(&out).arg(COMPONENT))?;
    fs::read(&out).map_err(BuildError::io(&out))
}

fn program(machine: &Machine) -> Result<PathBuf, BuildError> {
    if let Some(program) = machine.find(PROGRAM) {
        return Ok(program);
    }
    let kept = machine.cache.join(format!("{PROGRAM}-{VERSION}"));
    let _one_at_a_time = process::lock(&kept)?;
    let program = kept.join("bin").join(PROGRAM);
    if !is_program(&program) {
        let python = machine.find("python3").ok_or(BuildError::NoToolchain {
            target: "Python",
            missing: "python3".to_owned(),
            install: INSTALL,
        })?;
        process::say(&format!(
            "fetching {PROGRAM} {VERSION} into {}",
            kept.display()
        ));
        process::run(machine.command(&python).args(["-m", "venv"]).arg(&kept)).map_err(|_| {
            BuildError::NoToolchain {
                target: "Python",
                missing: "Python's module venv".to_owned(),
                install: INSTALL,
            }
        })?;
        process::run(
            machine
                .command(&kept.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check"])
                .arg(format!("{PROGRAM}=={VERSION}")),
        )?;
    }
    Ok(program)
}
