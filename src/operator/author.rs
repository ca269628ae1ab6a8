//! `operator new` and `operator build`.

use std::path::Path;
use std::process::ExitCode;

use operator_tool::build::{self, BuildError, Order};
use operator_tool::language;
use operator_tool::machine::Machine;
use operator_tool::new::{self, NewError};

use crate::cli::{Build, Language, New};
use crate::failure::Failure;

pub fn create(New { name, lang }: &New) -> Result<ExitCode, Failure> {
    let language = match lang {
        Language::Rust => language::Language::Rust,
        Language::Js => language::Language::JavaScript,
        Language::Python => language::Language::Python,
        Language::C => language::Language::C,
    };
    let created = new::create(Path::new(""), name, language)?;
    println!("{created}");
    Ok(ExitCode::SUCCESS)
}

pub fn compile(arguments: Build) -> Result<ExitCode, Failure> {
    let order = Order {
        path: arguments.path,
        out: arguments.out,
        native: arguments.native,
    };
    let built = build::build(&order, &Machine::this())?;
    println!("{built}");
    Ok(ExitCode::SUCCESS)
}

impl From<NewError> for Failure {
    fn from(error: NewError) -> Self {
        match error {
            NewError::InvalidName(_) | NewError::Exists(_) => Self::usage(error.to_string()),
            NewError::Io { .. } => Self::other(error.to_string()),
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let failure = match &error {
            BuildError::NoSuchSource(_)
            | BuildError::UnknownSource { .. }
            | BuildError::NoNative(_) => Self::usage(error.to_string()),
            _ => Self::other(error.to_string()),
        };
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
