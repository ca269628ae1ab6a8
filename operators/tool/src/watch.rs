//! Tells which projects of a directory are to be built: all at first, then each whose source changes.
//!
//! The system says that something has changed; what, is found out by looking at all files of source: so what a build
//! writes itself changes nothing, and nothing is missed that is saved while a build runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::build::is_project;

/// An editor saves in several steps: told is when nothing has changed for so long,
const QUIET: Duration = Duration::from_millis(100);
/// or when the changes go on for so long.
const UNREST_MAX: Duration = Duration::from_secs(2);
/// Directories that hold no source.
const NO_SOURCE: [&str; 3] = ["target", "node_modules", "__pycache__"];
/// Endings of files that are no source: results of builds, and what belongs to running.
const NOT_BUILT_FROM: [&str; 6] = ["wasm", "so", "lock", "app", "pm", "out"];

/// Every file of source, with when it was saved and its size in bytes.
type Sources = BTreeMap<PathBuf, (SystemTime, u64)>;

pub enum News {
    /// This project is to be built.
    Changed(PathBuf),
    /// All was told; a change is waited for.
    Idle,
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

/// Tells all projects of a directory, then each whose source changes, until `told` has heard enough and says false.
/// Errors name the directory that cannot be watched.
pub fn watch(directory: &Path, mut told: impl FnMut(News) -> bool) -> io::Result<()> {
    let (wake, changes) = mpsc::sync_channel(1);
    let woken = move |event| {
        if is_change(&event) {
            // When it is full, that says it already.
            let _ = wake.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(woken).map_err(io::Error::other)?;
    let mut known: BTreeMap<PathBuf, Sources> = BTreeMap::new();
    loop {
        // Watched before it is looked at: what is saved in between is seen in either way.
        watch_one(&mut watcher, directory)?;
        for child in children(directory)?.filter(|path| path.is_dir() && !is_ignored(path)) {
            watch_one(&mut watcher, &child)?;
        }
        let projects = projects(directory)?;
        known.retain(|project, _| projects.contains(project));
        for project in projects {
            let directories = watch_all(&mut watcher, &project)?;
            let sources = sources(&directories)?;
            if known.get(&project) == Some(&sources) {
                continue;
            }
            known.insert(project.clone(), sources);
            if !told(News::Changed(project)) {
                return Ok(());
            }
        }
        if !told(News::Idle) || changes.recv().is_err() {
            return Ok(());
        }
        let started = Instant::now();
        while changes.recv_timeout(QUIET).is_ok() && started.elapsed() < UNREST_MAX {}
    }
}

/// Looking at the files is an event as well, and no change; an error may hide one.
fn is_change(event: &notify::Result<Event>) -> bool {
    !event.as_ref().is_ok_and(|event| event.kind.is_access())
}

/// Watches one directory, without those in it. One that is not to be had, or not any more, holds no source.
fn watch_one(watcher: &mut RecommendedWatcher, directory: &Path) -> io::Result<()> {
    match watcher.watch(directory, RecursiveMode::NonRecursive) {
        Err(error) if fs::read_dir(directory).is_ok() => Err(io::Error::other(format!(
            "{}: {error}",
            directory.display()
        ))),
        _ => Ok(()),
    }
}

/// Watches a project's directory and all below it that hold source; which they are.
fn watch_all(watcher: &mut RecommendedWatcher, project: &Path) -> io::Result<Vec<PathBuf>> {
    let mut directories = Vec::new();
    let mut next = vec![project.to_owned()];
    while let Some(directory) = next.pop() {
        watch_one(watcher, &directory)?;
        let is_source = |path: &PathBuf| path.is_dir() && !path.is_symlink() && !is_ignored(path);
        next.extend(children(&directory)?.filter(is_source));
        directories.push(directory);
    }
    Ok(directories)
}

/// What is in a directory; nothing, if it is not to be had, or not any more.
fn children(directory: &Path) -> io::Result<impl Iterator<Item = PathBuf>> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let entries = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => None,
        entries => Some(entries?),
    };
    let paths = entries.into_iter().flatten();
    let paths: io::Result<Vec<PathBuf>> = paths.map(|entry| Ok(entry?.path())).collect();
    Ok(paths?.into_iter())
}

fn sources(directories: &[PathBuf]) -> io::Result<Sources> {
    let mut sources = Sources::new();
    for directory in directories {
        for path in children(directory)?.filter(|path| !is_ignored(path)) {
            // A file may go while it is looked at.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.is_file() {
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
    fn a_change_of_source_is_told_wherever_it_is() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("operators.c");
        fs::write(&source, "1").unwrap();
        let (heard, news) = mpsc::channel();
        let directory = root.path().to_owned();
        let telling = move |news| match news {
            News::Changed(project) => heard.send(project).is_ok(),
            News::Idle => true,
        };
        std::thread::spawn(move || watch(&directory, telling).unwrap());
        let told = || news.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(told(), root.path());
        fs::write(&source, "22").unwrap();
        told();
        fs::write(root.path().join("it.wasm"), "").unwrap();
        fs::create_dir(root.path().join("more")).unwrap();
        fs::write(root.path().join("more/more.c"), "").unwrap();
        told();
        fs::write(root.path().join("more/more.c"), "333").unwrap();
        told();
    }

    #[test]
    fn looking_is_no_change() {
        use notify::event::{AccessKind, CreateKind, EventKind, ModifyKind};
        let event = |kind| is_change(&Ok(Event::new(kind)));
        assert!(!event(EventKind::Access(AccessKind::Any)));
        assert!(event(EventKind::Modify(ModifyKind::Any)));
        assert!(event(EventKind::Create(CreateKind::File)));
        assert!(is_change(&Err(notify::Error::generic("lost"))));
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
