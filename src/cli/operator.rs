//! What an author of operators does without a cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use common::types::BlobUrl;

use super::script::OutputFormat;

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
#[command(after_help = "\
Example:
  marionette operator test hello           the component of hello/, by the table hello/cases.toml:

  [[case]]
  name = \"greets and counts\"
  class = \"HelloOperator\"                  where the component has more than one
  input = \"Ada\"
  items = [\"text\", { key = \"k\", value = { hex = \"00ff\" } }]
  options = { chunk = 10 }
  records = { greeted_Ada = \"1\" }
  blobs = { \"file:///data/a\" = { file = \"a.txt\" } }
  faults = [{ call = \"read\", id = \"x\", error = \"overloaded\" }, { lose_update = \"x\", to = \"5\" }]
  [case.expect]
  output = [\"Hello, Ada! (2)\"]            or: error = \"part of its text\", kind = \"failed\"
  records = { greeted_Ada = \"2\" }         all others stay, unless: other_records = \"any\"
  log = [\"part of a line\"]

  Also, in a case: run, stage, task, attempt, now_ms, timeout_ms.

Exit status:
  0  all cases are well
  1  a case failed
  2  the component or the table cannot be used")]
pub struct Test {
    /// A directory with a built component and its `cases.toml`
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// Only the cases with this in their names
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  marionette operator inspect hello.wasm
  marionette operator inspect hello.wasm --output json

Exit status:
  0  a worker would take it
  1  a worker would not take it; the last lines say why
  2  it cannot be read")]
pub struct Inspect {
    /// A component (`.wasm`) or a native library (`.so`)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Run a native library's own code, to ask it for its classes
    #[arg(long)]
    pub allow_native: bool,
    /// What the report looks like
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  marionette operator run CounterOperator 7 --record 7=41
  marionette operator run HelloOperator Ada --file hello.wasm --item text --option chunk=10
  marionette operator run WordsOperator file:///a --file words.wasm --blob file:///a=words.txt

Items go to standard output, log lines and changed records to standard error.

Exit status:
  0  it returned items
  1  it failed
  2  the command line or the file is wrong")]
pub struct Once {
    /// The class of the operator
    #[arg(value_name = "CLASS")]
    pub class: String,
    /// The input of the run
    #[arg(value_name = "INPUT", default_value = "")]
    pub input: String,
    /// The component or library; without it the operators that ship
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A record that is there before; can be given several times, as the next three
    #[arg(long = "record", value_name = "KEY=VALUE", value_parser = pair)]
    pub records: Vec<(String, String)>,
    /// An item of the stage before
    #[arg(long = "item", value_name = "TEXT")]
    pub items: Vec<String>,
    /// An option of the stage
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    pub options: Vec<(String, String)>,
    /// A blob that the operator may read, from a file
    #[arg(long = "blob", value_name = "URL=FILE", value_parser = blob)]
    pub blobs: Vec<(BlobUrl, PathBuf)>,
    /// Run a native library's own code
    #[arg(long)]
    pub allow_native: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("there is no `=` in it")?;
    if name.is_empty() {
        return Err("there is nothing before the `=`".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A URL may have a `=` of its own.
fn blob(text: &str) -> Result<(BlobUrl, PathBuf), String> {
    let (url, file) = text.rsplit_once('=').ok_or("there is no `=` in it")?;
    Ok((BlobUrl::parse(url)?, PathBuf::from(file)))
}
