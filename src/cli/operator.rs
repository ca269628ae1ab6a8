//! What an author of operators does without a cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Clone, Subcommand)]
pub enum Operator {
    /// Make a directory with an operator that builds and has a test.
    New(New),
    /// Build the operators of a directory or a file into a component.
    Build(Build),
    /// Run a component's table of cases in the real host, on records in memory.
    Test(Test),
    /// Say what a component or library holds, needs and weighs, and whether a worker would take it.
    Inspect(Inspect),
    /// Run one operator once, on records in memory.
    Run(Once),
}

/// What an operator is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Rust,
    Js,
    Python,
    C,
}

#[derive(Debug, Clone, Args)]
pub struct New {
    /// The name of the directory, and of the operator
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value = "rust")]
    pub lang: Language,
}

#[derive(Debug, Clone, Args)]
pub struct Build {
    /// A directory with a project, or one file of source
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// Where the component goes [default: NAME.wasm in the directory]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Build a native library for this machine and compiler instead (Rust only)
    #[arg(long)]
    pub native: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Test {
    /// A directory with a built component and its `cases.toml`
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// Only the cases with this in their names
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Inspect {
    /// A component (`.wasm`) or a native library (`.so`)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct Once {
    /// The class of the operator
    #[arg(value_name = "CLASS")]
    pub class: String,
    /// The input of the run
    #[arg(value_name = "INPUT", default_value = "")]
    pub input: String,
    /// The component; without it the operators that ship
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A record that is there before
    #[arg(long = "record", value_name = "KEY=VALUE")]
    pub records: Vec<String>,
    /// An item of the stage before
    #[arg(long = "item", value_name = "TEXT")]
    pub items: Vec<String>,
    /// An option of the stage
    #[arg(long = "option", value_name = "NAME=VALUE")]
    pub options: Vec<String>,
}
