//! Scripts, and the same commands from a terminal.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use common::fabric::Address;

use super::node::address;

/// Standard input instead of a file.
const STANDARD_INPUT: &str = "-";

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  marionette run scripts/quickstart.pm
  marionette run - < script.pm
  marionette run script.pm --connect http://127.0.0.1:4000
  marionette run script.pm --data data     run it again, and the records are still there

Results go to standard output, everything else to standard error. At the end outstanding runs are
awaited, then all nodes that the script started are stopped.")]
pub struct Run {
    /// The script's file, or `-` for standard input
    #[arg(value_name = "SCRIPT", default_value = STANDARD_INPUT)]
    pub script: String,
    /// Wait for Enter before each command
    #[arg(long)]
    pub step: bool,
    /// Leave the nodes running at the end, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Where the nodes are: `grpc`, processes of their own; `local`, tasks of this process; `sim`, as `simulate` has it
    #[arg(long, value_name = "FABRIC", default_value_t, value_enum, conflicts_with_all = ["connect", "pcs"], env = "MARIONETTE_FABRIC", hide_env_values = true)]
    pub fabric: FabricKind,
    /// What results look like
    #[arg(
        long,
        env = "MARIONETTE_OUTPUT",
        value_enum,
        default_value_t,
        hide_env_values = true
    )]
    pub output: OutputFormat,
    #[command(flatten)]
    pub puppets: Puppets,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum FabricKind {
    #[default]
    Grpc,
    Local,
    Sim,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Lines and tables for people
    #[default]
    Text,
    /// One JSON object per event
    Json,
}

/// Where the nodes are.
#[derive(Debug, Clone, Default, Args)]
pub struct Puppets {
    /// A PCS that launches the nodes of its host; can be given several times
    #[arg(
        long,
        env = "MARIONETTE_PCS",
        value_name = "URL",
        value_delimiter = ',',
        value_parser = address,
        hide_env_values = true
    )]
    pub pcs: Vec<Address>,
    /// The schedulers of a cluster that was started by hand, or one of them
    #[arg(
        long,
        env = "MARIONETTE_CONNECT",
        value_name = "URL,...",
        value_parser = address,
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub connect: Vec<Address>,
    /// Directory in which storage nodes keep their records, each in one of its name; on the host of the PCS that starts the
    /// node [default: none, they die with their processes]
    #[arg(long, value_name = "DIR", conflicts_with = "connect")]
    pub data: Option<PathBuf>,
}

/// A running cluster, for commands that say one thing to it.
#[derive(Debug, Clone, Args)]
pub struct Connected {
    /// The schedulers of the cluster, or one of them
    #[arg(
        long,
        env = "MARIONETTE_CONNECT",
        value_name = "URL,...",
        value_parser = address,
        value_delimiter = ',',
        required = true,
        hide_env_values = true
    )]
    pub connect: Vec<Address>,
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

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  marionette deploy hello.wasm --connect http://127.0.0.1:4000

Runs submitted from then on use the component for its classes; runs in flight keep what they have. It
returns when the workers are ready for the component, those that can be within 15 s.")]
pub struct Deploy {
    /// The component
    #[arg(value_name = "FILE")]
    pub file: String,
    #[command(flatten)]
    pub cluster: Connected,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  marionette rollback HelloOperator --connect http://127.0.0.1:4000")]
pub struct Rollback {
    /// The class of the operator
    #[arg(value_name = "CLASS")]
    pub class: String,
    #[command(flatten)]
    pub cluster: Connected,
}

impl Run {
    /// What `marionette` alone does with a pipe: `marionette run -` with everything else by default.
    pub fn standard_input() -> Self {
        Self {
            script: STANDARD_INPUT.to_owned(),
            step: false,
            keep: false,
            fabric: FabricKind::default(),
            output: OutputFormat::default(),
            puppets: Puppets::default(),
        }
    }

    /// None: standard input.
    pub fn file(&self) -> Option<&str> {
        (self.script != STANDARD_INPUT).then_some(self.script.as_str())
    }
}
