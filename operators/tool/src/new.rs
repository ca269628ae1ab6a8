//! A directory with an operator that builds and has a test. The files of `operators/examples` are the templates.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::kit::{self, File, files};
use crate::language::Language;

/// A name is part of a class name, which has at most 128 bytes.
const NAME_BYTES_MAX: usize = 64;
/// What the templates are called, and the class of their operator.
const TEMPLATE: (&str, &str) = ("hello", "HelloOperator");
/// Where the template finds the SDK, and where a project does.
const SDK: (&str, &str) = ("\"../../sdk\"", "\"marionette/sdk\"");

const ALL: &[File] = files!("examples": "cases.toml");
const RUST: &[File] =
    files!("examples/rust": "Cargo.toml", "Cargo.lock", "src/lib.rs", ".gitignore");
const JAVASCRIPT: &[File] = files!("examples/js": "operators.js", "package.json", ".gitignore");
const PYTHON: &[File] = files!("examples/python": "operators.py", ".gitignore");
const C: &[File] = files!("examples/c": "operators.c", ".gitignore");

/// A project that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its directory, below the one that was given.
    pub directory: PathBuf,
    /// The class of its operator.
    pub class: String,
    /// What it is written in.
    pub language: Language,
}

/// Why no project was made.
#[derive(Debug, Error)]
pub enum NewError {
    /// The name cannot be that of an operator.
    #[error(
        "\"{0}\" is no name for an operator: 1 to {NAME_BYTES_MAX} letters, digits, - and _, beginning with a letter"
    )]
    InvalidName(String),
    /// Something is there already.
    #[error("{} exists and is not an empty directory", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl fmt::Display for Created {
    /// What was made, and what to do next.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.file_name().unwrap_or_default().display();
        writeln!(out, "{directory}: {} in {}", self.class, self.language)?;
        writeln!(out, "next:")?;
        writeln!(out, "  cd {directory}")?;
        writeln!(out, "  marionette operator build")?;
        writeln!(out, "  marionette operator test")?;
        write!(out, "  marionette dev")
    }
}

/// Makes the directory `name` in `parent`.
pub fn create(parent: &Path, name: &str, language: Language) -> Result<Created, NewError> {
    if !is_name(name) {
        return Err(NewError::InvalidName(name.to_owned()));
    }
    let directory = parent.join(name);
    if !is_free(&directory) {
        return Err(NewError::Exists(directory));
    }
    let class = class_of(name);
    let io = |(path, source)| NewError::Io { path, source };
    for (path, text) in ALL.iter().chain(templates(language)) {
        let text = text.replace(TEMPLATE.1, &class).replace(SDK.0, SDK.1);
        let text = text.replace(TEMPLATE.0, &name.to_lowercase());
        kit::write_file(&directory.join(path), &text).map_err(io)?;
    }
    kit::write_file(
        &directory.join(format!("{name}.app")),
        &format!("operator {class} 0\n"),
    )
    .map_err(io)?;
    kit::write(&directory.join(kit::DIRECTORY), language).map_err(io)?;
    Ok(Created {
        directory,
        class,
        language,
    })
}

fn templates(language: Language) -> &'static [File] {
    match language {
        Language::Rust => RUST,
        Language::JavaScript => JAVASCRIPT,
        Language::Python => PYTHON,
        Language::C => C,
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Whether a project may be made there without losing anything.
fn is_free(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// `word-count` is `WordCountOperator`.
fn class_of(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    let capital = |word: &str| {
        word.chars().take(1).collect::<String>().to_uppercase() + word.get(1..).unwrap_or("")
    };
    words.map(capital).collect::<String>() + "Operator"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_called_after_its_directory() {
        for (name, class) in [
            ("hello", "HelloOperator"),
            ("word-count", "WordCountOperator"),
            ("Word_2", "Word2Operator"),
        ] {
            assert_eq!(class_of(name), class);
        }
    }

    #[test]
    fn a_bad_name_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "1st", "-x", "a b", "../x", "grüße", &long] {
            let error = create(parent.path(), name, Language::C).unwrap_err();
            assert!(matches!(error, NewError::InvalidName(_)), "{error}");
        }
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_there_is_not_touched() {
        let parent = tempfile::tempdir().unwrap();
        let mine = parent.path().join("mine/file");
        kit::write_file(&mine, "mine").unwrap();
        let error = create(parent.path(), "mine", Language::Rust).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("mine exists and is not an empty directory"),
            "{error}"
        );
        let error = create(&parent.path().join("mine"), "file", Language::Rust).unwrap_err();
        assert!(matches!(error, NewError::Exists(_)), "{error}");
        assert_eq!(std::fs::read_to_string(mine).unwrap(), "mine");
    }

    #[test]
    fn an_empty_directory_is_taken_and_the_template_renamed() {
        let parent = tempfile::tempdir().unwrap();
        for (language, main) in [
            (Language::Rust, "src/lib.rs"),
            (Language::JavaScript, "operators.js"),
            (Language::Python, "operators.py"),
            (Language::C, "operators.c"),
        ] {
            let name = format!("word-{}", language.extension());
            std::fs::create_dir(parent.path().join(&name)).unwrap();
            let created = create(parent.path(), &name, language).unwrap();
            let read = |path: &str| std::fs::read_to_string(created.directory.join(path)).unwrap();
            let contents = read(main);
            assert!(contents.contains(&created.class), "{contents}");
            assert!(!contents.contains("hello"), "{contents}");
            assert!(!read("cases.toml").contains("hello"));
            assert_eq!(
                read(&format!("{name}.app")),
                format!("operator {} 0\n", created.class)
            );
            assert!(!read("marionette/wit/operator.wit").is_empty());
        }
    }
}
