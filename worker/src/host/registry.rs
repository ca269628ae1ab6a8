//! Which class is in which file: the built-in component, and the directory with its `*.wasm` and `*.so` files.
//!
//! Promises: a file is read once, and again only when its size or time of change differ; one scan at a time;
//! looking up a known class waits for nobody. The directory beats the built-in component; a class in two files
//! of the directory belongs to neither. Operators that a task runs stay alive whatever happens to their file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use common::types::ComponentHash;

use super::deployed::{Components, Deployed};
use super::error::{LoadProblem, OperatorFailure, StartError};
use super::limits::{
    CLASS_BYTES_MAX, CLASSES_MAX, FILE_BYTES_MAX, HostConfig, SUGGESTION_SIMILARITY_MIN,
    SUGGESTIONS_MAX,
};
use super::native::{Children, NativeOperators};
use super::wasm::{WasmEngine, WasmOperators};

/// The standard operators, built by `scripts/check-operators --renew` from `operators/std`.
const BUILT_IN: &[u8] = include_bytes!("../../../operators/std/std.wasm");

/// Where a class comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The component embedded in the worker.
    BuiltIn,
    /// A file of the directory.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => out.write_str("built-in"),
            Self::File(path) => path.display().fmt(out),
        }
    }
}

/// A class that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassInfo {
    /// Its name.
    pub class: String,
    /// Where it comes from.
    pub source: Source,
}

/// The operators of one file.
#[derive(Clone)]
pub(super) enum Operators {
    Wasm(Arc<WasmOperators>),
    Native(Arc<NativeOperators>),
}

impl Operators {
    fn classes(&self) -> &[String] {
        match self {
            Self::Wasm(operators) => operators.classes(),
            Self::Native(operators) => operators.classes(),
        }
    }
}

/// Tells a changed file from the one that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    changed: Option<SystemTime>,
}

/// A file as it was read.
#[derive(Clone)]
struct ReadFile {
    stamp: Stamp,
    outcome: Result<Operators, String>,
}

/// Who holds a class.
#[derive(Clone)]
enum Holder {
    One(Source, Operators),
    Two(PathBuf, PathBuf),
}

/// What the last scan found.
#[derive(Default)]
struct Found {
    classes: BTreeMap<String, Holder>,
    problems: Vec<LoadProblem>,
}

pub(super) struct Registry {
    config: HostConfig,
    engine: WasmEngine,
    deployed: Deployed,
    children: Option<Arc<Children>>,
    built_in: Operators,
    found: RwLock<Arc<Found>>,
    /// Held while scanning.
    files: tokio::sync::Mutex<BTreeMap<PathBuf, ReadFile>>,
}

impl Registry {
    pub(super) async fn start(
        config: HostConfig,
        components: Option<Arc<dyn Components>>,
    ) -> Result<Self, StartError> {
        let engine = WasmEngine::start(&config).map_err(StartError)?;
        let children = Children::of(&config).map_err(StartError)?;
        let built_in = engine
            .load(BUILT_IN.to_vec())
            .await
            .map_err(|reason| StartError(format!("built-in operators: {reason}")))?;
        let registry = Self {
            config,
            engine,
            deployed: Deployed::new(components),
            children,
            built_in: Operators::Wasm(Arc::new(built_in)),
            found: RwLock::default(),
            files: tokio::sync::Mutex::default(),
        };
        registry.rescan().await;
        Ok(registry)
    }

    pub(super) fn config(&self) -> &HostConfig {
        &self.config
    }

    pub(super) fn engine(&self) -> &WasmEngine {
        &self.engine
    }

    pub(super) fn classes(&self) -> Vec<ClassInfo> {
        let usable = |(class, holder): (&String, &Holder)| match holder {
            Holder::One(source, _) => Some(ClassInfo {
                class: class.clone(),
                source: source.clone(),
            }),
            Holder::Two(..) => None,
        };
        self.found().classes.iter().filter_map(usable).collect()
    }

    pub(super) fn problems(&self) -> Vec<LoadProblem> {
        self.found().problems.clone()
    }

    /// A deployed component, made ready if it is not yet.
    pub(super) async fn deployed(
        &self,
        hash: ComponentHash,
    ) -> Result<Arc<WasmOperators>, OperatorFailure> {
        self.deployed.find(&self.engine, hash).await
    }

    /// The operators that hold a class: those of the component that the run has pinned, or else the worker's own; scans
    /// the directory again when nobody does.
    pub(super) async fn find(
        &self,
        class: &str,
        component: Option<ComponentHash>,
    ) -> Result<Operators, OperatorFailure> {
        if let Some(hash) = component {
            return self.deployed(hash).await.map(Operators::Wasm);
        }
        let mut found = self.found();
        if !found.classes.contains_key(class) {
            // Boxed: rare, and larger than all else that callers wait for.
            Box::pin(self.rescan()).await;
            found = self.found();
        }
        match found.classes.get(class) {
            Some(Holder::One(_, operators)) => Ok(operators.clone()),
            Some(Holder::Two(first, second)) => Err(OperatorFailure::Conflict {
                first: first.clone(),
                second: second.clone(),
            }),
            None => Err(OperatorFailure::UnknownClass {
                nearest: nearest(class, found.classes.keys()),
            }),
        }
    }

    pub(super) async fn rescan(&self) {
        let mut files = self.files.lock().await;
        let mut problems = Vec::new();
        match self.list().await {
            Ok(listed) => {
                files.retain(|path, _| listed.contains_key(path));
                for (path, stamp) in listed {
                    let known = files.get(&path).is_some_and(|file| file.stamp == stamp);
                    if !known {
                        let outcome = self.load(&path, stamp).await;
                        files.insert(path, ReadFile { stamp, outcome });
                    }
                }
            }
            Err(problem) => {
                files.clear();
                problems.push(problem);
            }
        }
        let found = self.index(&files, problems);
        self.warn_of_new(&found.problems);
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
    }

    fn found(&self) -> Arc<Found> {
        Arc::clone(&self.found.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The files of the directory that may hold operators.
    async fn list(&self) -> Result<BTreeMap<PathBuf, Stamp>, LoadProblem> {
        let Some(directory) = self.config.directory.clone() else {
            return Ok(BTreeMap::new());
        };
        let problem = |reason: String| LoadProblem {
            path: directory.clone(),
            reason: format!("the directory cannot be read: {reason}"),
        };
        let listing = directory.clone();
        let listed = self.engine.blocking().run(move || list(&listing)).await;
        let listed = listed.map_err(problem)?;
        listed.map_err(|error| problem(error.to_string()))
    }

    async fn load(&self, path: &Path, stamp: Stamp) -> Result<Operators, String> {
        let operators = if has_extension(path, "so") {
            self.load_native(path).await?
        } else {
            if stamp.bytes > FILE_BYTES_MAX {
                return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
            }
            let reading = path.to_owned();
            let bytes = self
                .engine
                .blocking()
                .run(|| std::fs::read(reading))
                .await?;
            let bytes = bytes.map_err(|error| format!("it cannot be read: {error}"))?;
            Operators::Wasm(Arc::new(self.engine.load(bytes).await?))
        };
        check_classes(operators.classes())?;
        Ok(operators)
    }

    async fn load_native(&self, path: &Path) -> Result<Operators, String> {
        if !self.config.allow_native {
            return Err(
                "it is a native library, which is not loaded without --allow-native".to_owned(),
            );
        }
        let (path, children) = (path.to_owned(), self.children.clone());
        let load = move || NativeOperators::load(&path, children);
        let loaded = self.engine.blocking().run(load).await??;
        Ok(Operators::Native(Arc::new(loaded)))
    }

    /// Who holds which class.
    fn index(&self, files: &BTreeMap<PathBuf, ReadFile>, problems: Vec<LoadProblem>) -> Found {
        let mut found = Found {
            classes: BTreeMap::new(),
            problems,
        };
        for (path, file) in files {
            match &file.outcome {
                Ok(operators) => found.add(path, operators),
                Err(reason) => found.problems.push(LoadProblem {
                    path: path.clone(),
                    reason: reason.clone(),
                }),
            }
        }
        for class in self.built_in.classes() {
            let holder = Holder::One(Source::BuiltIn, self.built_in.clone());
            found.classes.entry(class.clone()).or_insert(holder);
        }
        found
    }

    fn warn_of_new(&self, problems: &[LoadProblem]) {
        let before = self.found();
        for problem in problems.iter().filter(|new| !before.problems.contains(new)) {
            tracing::warn!("{problem}");
        }
    }
}

impl Found {
    fn add(&mut self, path: &Path, operators: &Operators) {
        for class in operators.classes() {
            let source = Source::File(path.to_owned());
            let holder = match self.classes.get(class) {
                Some(Holder::One(Source::File(first), _)) => {
                    self.problems.push(LoadProblem {
                        path: path.to_owned(),
                        reason: format!(
                            "class {class} is also in {}: remove one; neither is used",
                            first.display()
                        ),
                    });
                    Holder::Two(first.clone(), path.to_owned())
                }
                Some(Holder::Two(..)) => continue,
                _ => Holder::One(source, operators.clone()),
            };
            self.classes.insert(class.clone(), holder);
        }
    }
}

fn list(directory: &Path) -> std::io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut listed = BTreeMap::new();
    if let Some(stamp) = stamp(directory) {
        listed.insert(directory.to_owned(), stamp);
        return Ok(listed);
    }
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let holds_operators = has_extension(&path, "wasm") || has_extension(&path, "so");
        if holds_operators && let Some(stamp) = stamp(&path) {
            listed.insert(path, stamp);
        }
    }
    Ok(listed)
}

/// None for what is no file. One that vanishes meanwhile is none; a link counts as what it leads to.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    metadata.is_file().then(|| Stamp {
        bytes: metadata.len(),
        changed: metadata.modified().ok(),
    })
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

pub(super) fn check_classes(classes: &[String]) -> Result<(), String> {
    if classes.is_empty() {
        return Err("it names no class".to_owned());
    }
    if classes.len() > CLASSES_MAX {
        return Err(format!("it names more than {CLASSES_MAX} classes"));
    }
    let odd = |class: &&String| {
        let spaced = class
            .chars()
            .any(|character| character.is_whitespace() || character.is_control());
        class.is_empty() || class.len() > CLASS_BYTES_MAX || spaced
    };
    match classes.iter().find(odd) {
        Some(class) => Err(format!(
            "its class name {class:?} is not 1 to {CLASS_BYTES_MAX} bytes without space"
        )),
        None => Ok(()),
    }
}

/// The known names most like an unknown one.
fn nearest<'a>(class: &str, known: impl Iterator<Item = &'a String>) -> Vec<String> {
    let wanted = class.to_lowercase();
    let mut similar: Vec<(f64, &String)> = known
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity >= SUGGESTION_SIMILARITY_MIN)
        .collect();
    similar.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    similar.truncate(SUGGESTIONS_MAX);
    similar.into_iter().map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_offered_best_first() {
        let known = ["AddOperator", "CounterOperator", "Greet"].map(str::to_owned);
        let offered = nearest("addOperater", known.iter());
        assert_eq!(offered.first().map(String::as_str), Some("AddOperator"));
        assert!(!offered.contains(&"Greet".to_owned()));
    }

    #[test]
    fn class_names_are_words_of_bounded_length() {
        assert!(check_classes(&["A".to_owned()]).is_ok());
        for bad in ["", "a b", "a\n", &"x".repeat(CLASS_BYTES_MAX + 1)] {
            assert!(check_classes(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
        assert!(check_classes(&[]).is_err());
    }
}
