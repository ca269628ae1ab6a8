//! A chain whose stages are components of their own, which differ in nothing but the name of their class.

use std::fmt;
use std::path::Path;

use bench::speed::Result;
use bytes::Bytes;
use operator_tool::language::Language;

use crate::components::{EXAMPLE_CLASS, STANDARD, built, repository, source_of};

/// A class of the standard component that runs on any input.
const STANDARD_CLASS: &str = "CounterOperator";

pub struct Stages {
    pub language: Language,
    pub components: Vec<Bytes>,
    pub application: String,
}

impl Stages {
    /// Rust without any toolchain, and JavaScript where it can be built: `QuickJS` makes its components ten times as large.
    pub fn all(count: u8) -> Result<Vec<Self>> {
        let mut all = vec![Self::of_standard(count)?];
        all.extend(Self::of_javascript(count)?);
        Ok(all)
    }

    fn of_standard(count: u8) -> Result<Self> {
        let standard = std::fs::read(repository().join(STANDARD))?;
        let mut components = Vec::new();
        for number in 1..=count {
            let class = class(STANDARD_CLASS, number);
            components.push(renamed(&standard, STANDARD_CLASS, &class)?.into());
        }
        Ok(Self::new(Language::Rust, STANDARD_CLASS, components))
    }

    fn of_javascript(count: u8) -> Result<Option<Self>> {
        let language = Language::JavaScript;
        let mut components = Vec::new();
        for number in 1..=count {
            let directory = tempfile::tempdir()?;
            let source = repository().join(source_of(language));
            copy(&source, directory.path(), &class(EXAMPLE_CLASS, number))?;
            match built(language, directory.path(), directory.path())? {
                Some(file) => components.push(std::fs::read(file)?.into()),
                None => return Ok(None),
            }
        }
        Ok(Some(Self::new(language, EXAMPLE_CLASS, components)))
    }

    fn new(language: Language, name: &str, components: Vec<Bytes>) -> Self {
        let line = |(stage, number)| format!("operator {} {stage}\n", class(name, number));
        let application = (0..components.len()).zip(1..).map(line).collect();
        Self {
            language,
            components,
            application,
        }
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.components.iter().map(Bytes::len).sum();
        let count = self.components.len();
        let each = bytes / count.max(1);
        write!(
            out,
            "{}: {count} stages, a component of {each} bytes each, {count} workers:",
            self.language
        )
    }
}

/// The name of the class with a number for its last letter.
fn class(name: &str, number: u8) -> String {
    let kept: String = name.chars().take(name.chars().count() - 1).collect();
    format!("{kept}{number}")
}

/// The component with another class, whose name is as long.
fn renamed(component: &[u8], class: &str, to: &str) -> Result<Vec<u8>> {
    let mut renamed = component.to_vec();
    let places: Vec<usize> = component
        .windows(class.len())
        .enumerate()
        .filter(|(_, window)| *window == class.as_bytes())
        .map(|(place, _)| place)
        .collect();
    for place in &places {
        let name = renamed.iter_mut().skip(*place).zip(to.bytes());
        name.for_each(|(old, new)| *old = new);
    }
    if places.is_empty() {
        return Err(format!("the component does not name its class {class}").into());
    }
    Ok(renamed)
}

/// A directory of sources, with another class.
fn copy(from: &Path, to: &Path, class: &str) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let file = entry?.path();
        let to = to.join(file.file_name().unwrap_or_default());
        if file.is_dir() {
            std::fs::create_dir(&to)?;
            copy(&file, &to, class)?;
        } else if file
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            // What an author has built there is not of this class.
        } else {
            let source = std::fs::read_to_string(&file)?;
            std::fs::write(&to, source.replace(EXAMPLE_CLASS, class))?;
        }
    }
    Ok(())
}
