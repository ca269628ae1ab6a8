//! Builds the projects of a directory, each anew when its source changes.
//!
//! The system says that something has changed; what, is found out by looking at all files of source: so what a build
//! writes itself changes nothing, and nothing is missed that is saved while a build runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::build::{self, BuildError, Built, Order, is_project};
use crate::machine::Machine;

/// An editor saves in several steps: built is when nothing has changed for so long.
const QUIET: Duration = Duration::from_millis(100);
/// Directories that hold no source.
const NO_SOURCE: [&str; 3] = ["target", "node_modules", "__pycache__"];
/// Endings of files that are no source: results of builds, and what belongs to running.
const NOT_BUILT_FROM: [&str; 6] = ["wasm", "so", "lock", "app", "pm", "out"];

/// Every file of source, with when it was saved and its size in bytes.
type Sources = BTreeMap<PathBuf, (SystemTime, u64)>;

pub enum News {
    Built(Outcome),
    /// All is built; a change is waited for.
    Idle,
}

/// What became of a project.
pub struct Outcome {
    pub project: PathBuf,
    pub built: Result<Built, BuildError>,
}

/// The directory itself if it is a project, else those of its directories that are.
pub fn projects(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if is_project(directory) {
        return Ok(vec![directory.to_owned()]);
    }
    let mut projects = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && !is_ignored(&path) && is_project(&path) {
            projects.push(path);
        }
    }
    projects.sort();
    Ok(projects)
}

/// Builds all projects of a directory, then each whose source changes, until `told` has heard enough and says false.
pub fn build_all(
    directory: &Path,
    machine: &Machine,
    mut told: impl FnMut(News) -> bool,
) -> io::Result<()> {
    let (send, changes) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(send).map_err(io::Error::other)?;
    let mut known: BTreeMap<PathBuf, Sources> = BTreeMap::new();
    loop {
        // Watched before they are looked at: what is saved in between is seen in either way.
        watch(&mut watcher, directory)?;
        let projects = projects(directory)?;
        known.retain(|project, _| projects.contains(project));
        for project in projects {
            let directories = watch(&mut watcher, &project)?;
            let sources = sources(&directories)?;
            if known.get(&project) == Some(&sources) {
                continue;
            }
            known.insert(project.clone(), sources);
            let order = Order {
                path: project.clone(),
                out: None,
                native: false,
            };
            let built = build::build(&order, machine);
            if !told(News::Built(Outcome { project, built })) {
                return Ok(());
            }
        }
        if !told(News::Idle) || changes.recv().is_err() {
            return Ok(());
        }
        while changes.recv_timeout(QUIET).is_ok() {}
    }
}

/// Watches a project's directory and all below it that hold source; which they are.
fn watch(watcher: &mut RecommendedWatcher, directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut directories = Vec::new();
    let mut next = vec![directory.to_owned()];
    while let Some(directory) = next.pop() {
        let entries = match fs::read_dir(&directory) {
            // It may go while it is looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        watcher
            .watch(&directory, RecursiveMode::NonRecursive)
            .map_err(io::Error::other)?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() && !is_ignored(&path) {
                next.push(path);
            }
        }
        directories.push(directory);
    }
    Ok(directories)
}

fn sources(directories: &[PathBuf]) -> io::Result<Sources> {
    let mut sources = Sources::new();
    for directory in directories {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            // A file may go while it is looked at.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.is_file() && !is_ignored(&path) {
                sources.insert(path, (metadata.modified()?, metadata.len()));
            }
        }
    }
    Ok(sources)
}

fn is_ignored(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default();
    // Editors write `4913` and `name~` on their way.
    name.starts_with('.')
        || name.ends_with('~')
        || NO_SOURCE.contains(&&*name)
        || NOT_BUILT_FROM.iter().any(|ending| extension == *ending)
        // `component.wasm.PID`, on the way into its place.
        || name.contains(".wasm.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_writes_is_no_source() {
        for name in [
            "hello.wasm",
            "hello.wasm.123",
            ".git",
            "target",
            "Cargo.lock",
            "hello.app",
        ] {
            assert!(is_ignored(Path::new(name)), "{name}");
        }
        for name in [
            "src",
            "lib.rs",
            "operators.py",
            "package.json",
            "operators.c",
        ] {
            assert!(!is_ignored(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn a_directory_is_a_project_or_holds_some() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(projects(root.path()).unwrap(), Vec::<PathBuf>::new());
        for name in ["b", "a", "empty", "target"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        for file in [
            "a/operators.py",
            "b/operators.c",
            "target/operators.c",
            "notes.txt",
        ] {
            fs::write(root.path().join(file), "").unwrap();
        }
        let found = projects(root.path()).unwrap();
        assert_eq!(found, [root.path().join("a"), root.path().join("b")]);
        let one = root.path().join("a");
        assert_eq!(projects(&one).unwrap(), std::slice::from_ref(&one));
    }
}
