//! The checking of histories.

use std::path::PathBuf;

use clap::Args;

use super::OutputFormat;

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  marionette check history.jsonl
  marionette check history.jsonl --edn history.edn     and for Jepsen's checkers

history/README.md says what the file has. For each property that does not hold, the smallest part of the
history that was found to show it is printed. Exit status: 1 if one does not hold or is undecided, 2 if
the file is wrong.")]
pub struct Check {
    /// The history, in JSON lines
    #[arg(value_name = "HISTORY")]
    pub history: PathBuf,
    /// Also write the history to this file as Jepsen does, in EDN
    #[arg(long, value_name = "FILE")]
    pub edn: Option<PathBuf>,
    /// What results look like
    #[arg(
        long,
        env = "MARIONETTE_OUTPUT",
        value_enum,
        default_value_t,
        hide_env_values = true
    )]
    pub output: OutputFormat,
}
