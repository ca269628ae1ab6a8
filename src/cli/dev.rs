//! A cluster to develop on.

use std::path::PathBuf;

use clap::Args;
use common::fabric::Address;

use super::node::address;

/// More would not make a better test on one machine.
const NODES_MAX: i64 = 9;
/// Ports that belong to one cluster.
const PORTS: u16 = 21;

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  marionette operator new hello --lang js
  marionette dev hello

  and in another terminal:
  echo run Ada hello/hello.app | marionette run - --connect http://127.0.0.1:4000

DIR is a project, as `operator new` makes one, or a directory with several. Each is built and
deployed at the start and whenever its source changes; a build that fails leaves the operators as
they are. Records, and what was deployed, stay in DIR/.marionette, apart for each --listen. On a
terminal it takes the commands of scripts (`help` lists them), such as `run INPUT hello/hello.app`,
until `exit` or Ctrl-D; otherwise it runs until Ctrl-C or SIGTERM.")]
pub struct Dev {
    /// A directory with a project of operators, or with several
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// Where the scheduler listens; the other nodes listen at the 20 ports after it
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4000", value_parser = first_address)]
    pub listen: Address,
    /// Where the scheduler answers HTTP, if it shall
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub http: Option<Address>,
    /// Storage nodes; once records are there, the number stays
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    pub storage: u16,
    /// Workers
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    pub workers: u16,
}

fn first_address(text: &str) -> Result<Address, String> {
    let first = address(text)?;
    if first.port() == 0 || first.port() > u16::MAX - PORTS + 1 {
        return Err(format!(
            "expected a port from 1 to {}, since the other nodes have those after it",
            u16::MAX - PORTS + 1
        ));
    }
    Ok(first)
}
