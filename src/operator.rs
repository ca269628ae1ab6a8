//! `marionette operator`: from the command line's arguments to the operator tool, and from its end to an exit status.

use std::path::Path;
use std::process::ExitCode;

use operator_tool::build::{self, BuildError, Order};
use operator_tool::language;
use operator_tool::machine::Machine;
use operator_tool::new::{self, NewError};

use crate::cli::{Build, Language, New, Operator};
use crate::failure::Failure;

pub async fn run(command: Operator) -> Result<ExitCode, Failure> {
    match command {
        Operator::New(arguments) => create(&arguments),
        Operator::Build(arguments) => compile(arguments),
        Operator::Test(_) | Operator::Inspect(_) | Operator::Run(_) => {
            Err(Failure::other("SKELETON: engineer tool fills this in"))
        }
    }
}

fn create(New { name, lang }: &New) -> Result<ExitCode, Failure> {
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

fn compile(arguments: Build) -> Result<ExitCode, Failure> {
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
