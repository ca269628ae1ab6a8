//! From source to component: recognises what the author has, finds the toolchain, and puts the result in place at once.
//!
//! - `project`: what is to be built. - `rust`, `javascript`, `python`, `c`: one language each. - `component`: core
//!   modules become components. - `process`: programs of a toolchain. - `error`: what can go wrong.
//!
//! Never installs anything outside of the cache directory of [`Machine`], and never leaves half a file.

mod c;
mod component;
mod error;
mod javascript;
mod process;
mod project;
mod python;
mod rust;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use error::BuildError;
use project::Project;

use crate::kit;
use crate::language::Language;
use crate::machine::Machine;

/// What to build, and where it goes.
#[derive(Clone, Debug)]
pub struct Order {
    /// A directory with a project, or one file of source.
    pub path: PathBuf,
    /// The file of the result, or a directory for it; without it `NAME.wasm` (`NAME.so`) beside the source.
    pub out: Option<PathBuf>,
    /// A native library for this machine and compiler instead of a component.
    pub native: bool,
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The component or native library.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it was written in.
    pub language: Language,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Built {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, seconds) = (self.file.display(), self.took.as_secs_f64());
        let (language, bytes) = (self.language, self.bytes);
        write!(
            out,
            "{file}: {bytes} bytes, from {language} in {seconds:.1} s"
        )
    }
}

/// Whether a directory is one that [`build`] takes.
pub(crate) fn is_project(directory: &Path) -> bool {
    Project::recognise(directory).is_ok()
}

/// Builds what the author names. Long steps and what compilers say go to standard error.
pub fn build(order: &Order, machine: &Machine) -> Result<Built, BuildError> {
    let started = Instant::now();
    let project = Project::recognise(&order.path)?;
    if order.native && project.language != Language::Rust {
        return Err(BuildError::NoNative(project.language));
    }
    let bytes = match project.language {
        Language::Rust if order.native => rust::native(&project, machine),
        Language::Rust => rust::component(&project, machine),
        Language::JavaScript => javascript::component(&project, machine),
        Language::Python => python::component(&project, machine),
        Language::C => c::component(&project, machine),
    }?;
    let bytes = if order.native {
        bytes
    } else {
        component::with_language(bytes, project.language)?
    };
    let file = destination(order, &project);
    replace(&file, &bytes)?;
    Ok(Built {
        bytes: bytes.len() as u64,
        language: project.language,
        took: started.elapsed(),
        file,
    })
}

fn destination(order: &Order, project: &Project) -> PathBuf {
    let extension = if order.native { "so" } else { "wasm" };
    let name = format!("{}.{extension}", project.name);
    match &order.out {
        Some(directory) if directory.is_dir() => directory.join(name),
        Some(file) => file.clone(),
        None => order.directory().join(name),
    }
}

impl Order {
    /// The directory of the source, as the author wrote it.
    fn directory(&self) -> PathBuf {
        if self.path.is_dir() {
            return self.path.clone();
        }
        self.path.parent().map(Path::to_owned).unwrap_or_default()
    }
}

/// Puts a file in place at once: a worker that looks meanwhile sees the old one or the new one.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, file))
        .map_err(|error| {
            // What is left of it helps nobody; the first error is the one to tell.
            let _ = fs::remove_file(&temporary);
            BuildError::io(file)(error)
        })
}

/// The contract that a project was written for: its own copy, or that of this program.
fn contract(project: &Project, machine: &Machine) -> Result<PathBuf, BuildError> {
    let own = project.directory.join(kit::DIRECTORY).join("wit");
    if own.is_dir() {
        return Ok(own);
    }
    Ok(kit::unpacked(machine)?.join("wit"))
}

/// Begins the names of such directories; the number of the process follows.
const WORKSHOP: &str = "build-";

/// A directory of this process in the cache, gone when this is dropped.
struct Workshop(PathBuf);

impl Workshop {
    fn new(machine: &Machine) -> Result<Self, BuildError> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self::clear(&machine.cache);
        let name = format!("{WORKSHOP}{}-{number}", std::process::id());
        let directory = machine.cache.join(name);
        fs::create_dir_all(&directory).map_err(BuildError::io(&directory))?;
        Ok(Self(directory))
    }

    /// Removes what builds that were killed have left; another one may do so too.
    fn clear(cache: &Path) {
        let is_left = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let owner = name
                .strip_prefix(WORKSHOP)
                .and_then(|rest| rest.split('-').next());
            owner.is_some_and(|process| !Path::new("/proc").join(process).exists())
        };
        let entries = fs::read_dir(cache).into_iter().flatten().flatten();
        for left in entries.map(|entry| entry.path()).filter(is_left) {
            let _ = fs::remove_dir_all(left);
        }
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // It is in the cache, which may be deleted at any time.
        let _ = fs::remove_dir_all(&self.0);
    }
}
