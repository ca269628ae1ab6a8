//! Rust: cargo builds the crate, or a crate around one file; for WASM a core module, which then becomes a component.
//!
//! All crates share one directory of what was compiled for WASM, so that the standard library, where it must be built
//! along, is built once.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::project::Project;
use super::{BuildError, component, process};
use crate::kit;
use crate::machine::{Machine, is_program};

const TARGET: &str = "wasm32-unknown-unknown";
/// Flags of the user's own for the target, which cargo takes from there.
const TARGET_FLAGS: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";
const INSTALL: &str = "install one
  with rustup:  rustup target add wasm32-unknown-unknown
  on Debian:    apt-get install cargo-web rustc-web rust-web-src lld-19";
/// The linker's names where no Rust brings it, the newest first.
const LINKERS: [&str; 7] = [
    "wasm-ld",
    "wasm-ld-22",
    "wasm-ld-21",
    "wasm-ld-20",
    "wasm-ld-19",
    "wasm-ld-18",
    "wasm-ld-17",
];

/// The crate as a component.
pub(super) fn component(project: &Project, machine: &Machine) -> Result<Vec<u8>, BuildError> {
    let toolchain = Toolchain::find(&project.directory, machine)?;
    let target = machine.cache.join("rust-wasm");
    let _one_at_a_time = process::lock(&target)?;
    let out = target.join(TARGET).join("release");
    // Another crate's of the same name would be taken for this one's: cargo is made to link anew.
    remove_modules(&out)?;
    remove_modules(&out.join("deps"))?;
    let mut cargo = machine.command(&toolchain.cargo);
    toolchain.configure(&mut cargo);
    if toolchain.std_from_source && !out.is_dir() {
        process::say("the standard library is built along: 1 to 2 minutes, only the first time");
    }
    cargo.args(["rustc", "--release", "--lib", "--target", TARGET]);
    if toolchain.std_from_source {
        cargo.arg("-Zbuild-std=std,panic_abort");
    }
    component::component_of(&library(project, machine, cargo, &target)?)
}

/// The crate as a native library of this machine.
pub(super) fn native(project: &Project, machine: &Machine) -> Result<Vec<u8>, BuildError> {
    let mut hash = Sha256::new();
    hash.update(project.main.as_os_str().as_encoded_bytes());
    // What a build leaves would be taken for another crate's of the same name: one directory for each crate.
    let target =
        machine
            .cache
            .join("rust-native")
            .join(format!("{}-{}", project.name, kit::short(hash)));
    let _one_at_a_time = process::lock(&target)?;
    let mut cargo = machine.command(&program(machine, "cargo")?);
    cargo.args(["rustc", "--release", "--lib"]);
    library(project, machine, cargo, &target)
}

/// Runs cargo and returns the library that it built.
fn library(
    project: &Project,
    machine: &Machine,
    mut cargo: Command,
    target: &Path,
) -> Result<Vec<u8>, BuildError> {
    let manifest = if project.is_file {
        crate_of_file(project, machine)?
    } else {
        project.main.clone()
    };
    cargo
        .current_dir(&project.directory)
        .args([
            "--message-format",
            "json-render-diagnostics",
            "--manifest-path",
        ])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(target);
    // Paths of this machine stay out of what is built.
    cargo.arg("--").arg(remap(&project.directory, ""));
    let messages = process::output(&mut cargo)?;
    let library = built_library(&String::from_utf8_lossy(&messages)).ok_or_else(|| {
        let manifest = manifest.display();
        BuildError::NoComponent(format!(
            "{manifest} builds no library: it needs  [lib] crate-type = [\"cdylib\"]"
        ))
    })?;
    fs::read(&library).map_err(BuildError::io(&library))
}

/// The file of the last library for others that cargo says it built.
fn built_library(messages: &str) -> Option<PathBuf> {
    let of_message = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let kinds = message.pointer("/target/crate_types")?.as_array()?;
        kinds.iter().find(|kind| *kind == "cdylib")?;
        let files = message.get("filenames")?.as_array()?;
        let mut files = files
            .iter()
            .filter_map(|file| Some(Path::new(file.as_str()?)));
        files
            .find(|file| {
                file.extension()
                    .is_some_and(|end| end == "wasm" || end == "so")
            })
            .map(Path::to_owned)
    };
    messages.lines().rev().find_map(of_message)
}

fn remap(path: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(path);
    flag.push(format!("={to}"));
    flag
}

/// The crate around a single file, in the cache; its manifest.
fn crate_of_file(project: &Project, machine: &Machine) -> Result<PathBuf, BuildError> {
    let mut hash = Sha256::new();
    hash.update(project.main.as_os_str().as_encoded_bytes());
    let name = project
        .name
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let text = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [lib]\npath = {}\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nmarionette-sdk = {{ path = {} }}\n\n[workspace]\n",
        quoted(&project.main),
        quoted(&kit::unpacked(machine)?.join("sdk")),
    );
    let directory = format!("{}-{}", project.name, kit::short(hash));
    let manifest = machine
        .cache
        .join("files")
        .join(directory)
        .join("Cargo.toml");
    // Written again only when it differs: cargo looks at the time.
    if fs::read_to_string(&manifest).ok().as_ref() != Some(&text) {
        kit::write_file(&manifest, &text).map_err(|(path, error)| BuildError::io(&path)(error))?;
    }
    Ok(manifest)
}

/// As a string of TOML, which every string of JSON is.
fn quoted(path: &Path) -> serde_json::Value {
    path.to_string_lossy().into()
}

fn remove_modules(directory: &Path) -> Result<(), BuildError> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.map_err(BuildError::io(directory))?.path();
        if path.extension().is_some_and(|end| end == "wasm") {
            fs::remove_file(&path).map_err(BuildError::io(&path))?;
        }
    }
    Ok(())
}

fn program(machine: &Machine, name: &str) -> Result<PathBuf, BuildError> {
    machine.find(name).ok_or_else(|| lacking(name))
}

fn lacking(missing: &str) -> BuildError {
    BuildError::NoToolchain {
        target: TARGET,
        missing: missing.to_owned(),
        install: INSTALL,
    }
}

/// What compiles for WASM.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// Whether the compiler has the source of its standard library only, which is then built along.
    std_from_source: bool,
    /// The linker, where it is not the compiler's own.
    linker: Option<PathBuf>,
}

impl Toolchain {
    fn find(directory: &Path, machine: &Machine) -> Result<Self, BuildError> {
        let cargo = program(machine, "cargo")?;
        let compilers: Vec<(PathBuf, PathBuf)> = machine
            .find_all("rustc")
            .filter_map(|rustc| Some((sysroot(machine, &rustc, directory)?, rustc)))
            .map(|(sysroot, rustc)| (rustc, sysroot.join("lib/rustlib")))
            .collect();
        let has_std = |rustlib: &Path| rustlib.join(TARGET).join("lib").is_dir();
        let has_source = |rustlib: &Path| rustlib.join("src/rust/library/Cargo.lock").is_file();
        let with = |has: &dyn Fn(&Path) -> bool| compilers.iter().find(|(_, rustlib)| has(rustlib));
        let (compiler, std_from_source) = match (with(&has_std), with(&has_source)) {
            (Some(compiler), _) => (compiler, false),
            (None, Some(compiler)) => (compiler, true),
            (None, None) => return Err(lacking("its standard library")),
        };
        let linker = match own_linker(&compiler.1) {
            Some(_) => None,
            None => Some(
                compilers
                    .iter()
                    .find_map(|(_, rustlib)| own_linker(rustlib))
                    .or_else(|| machine.find_any(LINKERS))
                    .ok_or_else(|| lacking("the linker wasm-ld"))?,
            ),
        };
        Ok(Self {
            cargo,
            rustc: compiler.0.clone(),
            std_from_source,
            linker,
        })
    }

    /// Small first: a component is sent and compiled far more often than built. The names of functions stay, since they
    /// make a trap readable.
    fn configure(&self, cargo: &mut Command) {
        cargo
            .env("RUSTC", &self.rustc)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
            .env("CARGO_PROFILE_RELEASE_LTO", "true")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
            // Meant for native code, and it would hide the flags below.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        if self.std_from_source {
            cargo.env("RUSTC_BOOTSTRAP", "1");
        }
        let mut flags = std::env::var_os(TARGET_FLAGS).unwrap_or_default();
        if let Some(home) = cargo_home() {
            flags.push(" ");
            flags.push(remap(&home, "cargo"));
        }
        if let Some(linker) = &self.linker {
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            flags.push(" -Clinker-flavor=wasm-ld");
        }
        cargo.env(TARGET_FLAGS, flags);
    }
}

fn cargo_home() -> Option<PathBuf> {
    let of_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(of_home)
}

/// None for a compiler that does not run: another may.
fn sysroot(machine: &Machine, rustc: &Path, directory: &Path) -> Option<PathBuf> {
    let mut command = machine.command(rustc);
    let output = command
        .current_dir(directory)
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(sysroot.trim()))
}

/// The linker that a Rust brings.
fn own_linker(rustlib: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(rustlib).ok()?;
    let mut linkers = entries.filter_map(|entry| Some(entry.ok()?.path().join("bin/rust-lld")));
    linkers.find(|linker| is_program(linker))
}
