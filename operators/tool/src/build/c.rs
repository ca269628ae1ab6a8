//! C: clang and wasi-libc make a core module of the sources and the kit's, which becomes a component here.

use std::fs;
use std::path::{Path, PathBuf};

use super::project::Project;
use super::{BuildError, Workshop, component, contract, process};
use crate::kit;
use crate::machine::Machine;

const INSTALL: &str = "install clang with wasm-ld, wasi-libc and the compiler's runtime library for it
  on Debian:     apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32
  on any other:  unpack https://github.com/WebAssembly/wasi-sdk/releases and put its bin/ first in PATH";
/// The newest first.
const COMPILERS: [&str; 9] = [
    "clang", "clang-22", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16",
    "clang-15",
];
/// What clangs call the same target, the older name first: Debian's wasi-libc lies under it.
const TARGETS: [&str; 2] = ["--target=wasm32-wasi", "--target=wasm32-wasip1"];
/// Small first. The names of functions stay, since they make a trap readable.
const FLAGS: [&str; 6] = [
    "-mexec-model=reactor",
    "-std=gnu17",
    "-Os",
    "-Wall",
    "-Wno-unused-parameter",
    "-Wl,--strip-debug",
];

/// Compiled and linked to see whether a compiler can.
const PROBE: &str = "#include <stdlib.h>\nvoid *probe(void) { return malloc(1); }\n";

/// The sources as a component.
pub(super) fn component(project: &Project, machine: &Machine) -> Result<Vec<u8>, BuildError> {
    let (compiler, target) = compiler(machine)?;
    let workshop = Workshop::new(machine)?;
    let own = project.directory.join(kit::DIRECTORY);
    let kit = if own.is_dir() {
        own
    } else {
        kit::unpacked(machine)?
    };
    let module = workshop.join("module.wasm");
    let mut command = machine.command(&compiler);
    command
        .current_dir(&project.directory)
        .arg(target)
        .args(FLAGS);
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

/// The first compiler that makes WASM of a program for wasi-libc, and what it calls the target.
fn compiler(machine: &Machine) -> Result<(PathBuf, &'static str), BuildError> {
    let mut missing = "clang";
    let workshop = Workshop::new(machine)?;
    let source = workshop.join("probe.c");
    fs::write(&source, PROBE).map_err(BuildError::io(&source))?;
    for compiler in COMPILERS.iter().filter_map(|name| machine.find(name)) {
        for target in TARGETS {
            let mut command = machine.command(&compiler);
            command.arg(target).args(FLAGS).arg(&source).arg("-o");
            command.arg(workshop.join("probe.wasm"));
            let tried = command.output().map_err(BuildError::io(&compiler))?;
            if tried.status.success() {
                return Ok((compiler, target));
            }
            missing = what_is_missing(&String::from_utf8_lossy(&tried.stderr));
        }
    }
    Err(BuildError::NoToolchain {
        target: "C",
        missing: missing.to_owned(),
        install: INSTALL,
    })
}

/// What a clang that cannot build for WASM lacks, by what it says.
fn what_is_missing(said: &str) -> &'static str {
    if said.contains("libclang_rt") {
        "the runtime library of clang for WASM"
    } else if said.contains("stdlib.h") || said.contains("crt1") || said.contains("-lc") {
        "wasi-libc"
    } else if said.contains("wasm-ld") || said.contains("lld") {
        "the linker wasm-ld"
    } else {
        "a clang with the target wasm32-wasi"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clang_lacks_is_told_from_what_it_says() {
        for (said, missing) in [
            (
                "wasm-ld-19: error: cannot open /usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a",
                "the runtime library of clang for WASM",
            ),
            (
                "probe.c:1:10: fatal error: 'stdlib.h' file not found",
                "wasi-libc",
            ),
            (
                "clang-19: error: unable to execute command: Executable \"wasm-ld\" doesn't exist!",
                "the linker wasm-ld",
            ),
            (
                "error: unable to create target: 'No available targets are compatible with triple'",
                "a clang with the target wasm32-wasi",
            ),
        ] {
            assert_eq!(what_is_missing(said), missing, "{said}");
        }
    }
}
