//! C: clang and wasi-libc make a core module of the sources and the kit's, which becomes a component here.

use std::fs;
use std::path::{Path, PathBuf};

use super::project::Project;
use super::{BuildError, Workshop, component, contract, process};
use crate::kit;
use crate::machine::Machine;

/// wasi-libc has no file for this in an installation without it.
const LIBC: &str = "wasi-libc";
const INSTALL: &str = "install clang with wasm-ld, wasi-libc and the compiler's runtime library for it
  on Debian:     apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32
  on any other:  unpack https://github.com/WebAssembly/wasi-sdk/releases and put its bin/ first in PATH";
/// The newest first.
const COMPILERS: [&str; 9] = [
    "clang", "clang-22", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16",
    "clang-15",
];
/// Small first. The names of functions stay, since they make a trap readable.
const FLAGS: [&str; 7] = [
    "--target=wasm32-wasi",
    "-mexec-model=reactor",
    "-std=gnu17",
    "-Os",
    "-Wall",
    "-Wno-unused-parameter",
    "-Wl,--strip-debug",
];

/// The sources as a component.
pub(super) fn component(project: &Project, machine: &Machine) -> Result<Vec<u8>, BuildError> {
    let compiler = compiler(machine)?;
    let workshop = Workshop::new(machine)?;
    let own = project.directory.join(kit::DIRECTORY);
    let kit = if own.is_dir() {
        own
    } else {
        kit::unpacked(machine)?
    };
    let module = workshop.join("module.wasm");
    let mut command = machine.command(&compiler);
    command.current_dir(&project.directory).args(FLAGS);
    if let Some(parent) = kit.parent() {
        command.arg("-I").arg(parent);
    }
    command.args(sources(project)?).args(c_files(&kit)?);
    process::run(command.arg("-o").arg(&module))?;
    let module = fs::read(&module).map_err(BuildError::io(&module))?;
    component::component_for(module, &contract(project, machine)?)
}

/// The file that the author names, or all of the directory.
fn sources(project: &Project) -> Result<Vec<PathBuf>, BuildError> {
    if project.is_file {
        return Ok(vec![project.main.clone()]);
    }
    c_files(&project.directory)
}

fn c_files(directory: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(BuildError::io(directory))? {
        files.push(entry.map_err(BuildError::io(directory))?.path());
    }
    files.retain(|file| file.extension().is_some_and(|end| end == "c"));
    files.sort();
    Ok(files)
}

/// The first compiler that makes WASM of a program for wasi-libc.
fn compiler(machine: &Machine) -> Result<PathBuf, BuildError> {
    let lacking = |missing: &str| BuildError::NoToolchain {
        target: "C",
        missing: missing.to_owned(),
        install: INSTALL,
    };
    let mut missing = "clang";
    let probe = Workshop::new(machine)?;
    let source = probe.join("probe.c");
    fs::write(
        &source,
        "#include <stdlib.h>\nvoid *probe(void) { return malloc(1); }\n",
    )
    .map_err(BuildError::io(&source))?;
    for compiler in COMPILERS.iter().filter_map(|name| machine.find(name)) {
        let mut command = machine.command(&compiler);
        command
            .args(FLAGS)
            .arg(&source)
            .arg("-o")
            .arg(probe.join("probe.wasm"));
        let tried = command.output().map_err(BuildError::io(&compiler))?;
        if tried.status.success() {
            return Ok(compiler);
        }
        missing = what_is_missing(&String::from_utf8_lossy(&tried.stderr));
    }
    Err(lacking(missing))
}

/// What a clang that cannot build for WASM lacks, by what it says.
fn what_is_missing(said: &str) -> &'static str {
    if said.contains("libclang_rt") {
        "the runtime library of clang for WASM"
    } else if said.contains("stdlib.h") || said.contains("crt1") || said.contains("-lc") {
        LIBC
    } else if said.contains("wasm-ld") || said.contains("lld") {
        "the linker wasm-ld"
    } else {
        "a clang with the target wasm32-wasi"
    }
}
