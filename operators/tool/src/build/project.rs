//! What is to be built: its language, its name, its main file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::BuildError;
use crate::language::Language;

/// The main file where a directory has several.
const MAIN: &str = "operators";

/// What the author names.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) language: Language,
    /// Of the component: the name of the directory, or of the file without its ending.
    pub(super) name: String,
    /// Absolute.
    pub(super) directory: PathBuf,
    /// The main source file, or `Cargo.toml`; absolute.
    pub(super) main: PathBuf,
    /// Whether the author named a file, and the directory is only where it lies.
    pub(super) is_file: bool,
}

impl Project {
    pub(super) fn recognise(path: &Path) -> Result<Self, BuildError> {
        let absolute = path
            .canonicalize()
            .map_err(|_| BuildError::NoSuchSource(path.to_owned()))?;
        let found = if absolute.is_dir() {
            Self::of_directory(&absolute)
        } else {
            Self::of_file(&absolute)
        };
        found.map_err(|reason| BuildError::UnknownSource {
            path: path.to_owned(),
            reason,
        })
    }

    fn of_file(file: &Path) -> Result<Self, String> {
        let language = language_of(file).ok_or("not a file of .rs, .js, .py or .c")?;
        Ok(Self {
            language,
            name: stem(file),
            directory: file.parent().unwrap_or(file).to_owned(),
            main: file.to_owned(),
            is_file: true,
        })
    }

    fn of_directory(directory: &Path) -> Result<Self, String> {
        let (language, main) = main_of(directory)?;
        let name = directory.file_name().unwrap_or(MAIN.as_ref());
        Ok(Self {
            language,
            name: name.to_string_lossy().into_owned(),
            directory: directory.to_owned(),
            main,
            is_file: false,
        })
    }
}

fn main_of(directory: &Path) -> Result<(Language, PathBuf), String> {
    let manifest = directory.join("Cargo.toml");
    if manifest.is_file() {
        return Ok((Language::Rust, manifest));
    }
    let package = directory.join("package.json");
    if let Ok(text) = fs::read_to_string(&package)
        && let Some(main) = main_of_package(&text)?
    {
        return Ok((Language::JavaScript, directory.join(main)));
    }
    let mut sources: BTreeMap<Language, Vec<PathBuf>> = BTreeMap::new();
    let entries = fs::read_dir(directory).map_err(|error| error.to_string())?;
    for entry in entries {
        let file = entry.map_err(|error| error.to_string())?.path();
        if let Some(language) = language_of(&file).filter(|_| file.is_file()) {
            sources.entry(language).or_default().push(file);
        }
    }
    let (Some((language, mut files)), None) = (sources.pop_first(), sources.pop_first()) else {
        return Err(format!(
            "expected Cargo.toml, package.json, or sources of one language: {MAIN}.js, {MAIN}.py or {MAIN}.c"
        ));
    };
    let main = files.iter().position(|file| stem(file) == MAIN);
    match (main, files.len()) {
        (Some(at), _) => Ok((language, files.swap_remove(at))),
        (None, 1) => Ok((language, files.swap_remove(0))),
        (None, _) => Err(format!(
            "which of the {language} files is the main one? Call it {MAIN}.{}",
            language.extension()
        )),
    }
}

/// The main file that a `package.json` names.
fn main_of_package(text: &str) -> Result<Option<String>, String> {
    let package: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("package.json: {error}"))?;
    Ok(package
        .get("main")
        .and_then(|main| main.as_str())
        .map(str::to_owned))
}

fn language_of(file: &Path) -> Option<Language> {
    let extension = file.extension()?;
    Language::ALL
        .into_iter()
        .find(|language| extension == language.extension())
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}
