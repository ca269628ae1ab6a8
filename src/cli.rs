//! The command line: what can be asked for, and its defaults.
//!
//! - `node`: the roles, one process each;
//! - `ring`: the settings on which all nodes of a cluster agree;
//! - `script`: scripts and the REPL; `simulate`: scripts in a simulation;
//! - `check`: histories;
//! - `operator`: what an author of operators does without a cluster; - `dev`: with one.
//!
//! Every setting is also read from a variable `MARIONETTE_*`; an argument wins, and an empty variable counts as unset.

mod check;
mod dev;
mod node;
mod operator;
mod ring;
mod script;
mod simulate;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use check::Check;
pub use dev::Dev;
pub use node::{Pcs, Scheduler, Storage, StorageCommand, StorageTask, Verify, Worker};
pub use operator::{Build, Inspect, Language, New, Once, Operator};
pub use ring::RingArguments;
pub use script::{Connected, Deploy, FabricKind, OutputFormat, Puppets, Rollback, Run};
pub use simulate::Simulate;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  marionette run scripts/quickstart.pm     start a cluster, run a script, stop the cluster
  marionette                               the same commands, typed by you
  marionette run - < script.pm             a script from standard input
  marionette simulate script.pm --seed 7   the same script in virtual time, with what chance has

  A cluster by hand, each line in a terminal of its own:
  marionette storage s1 http://127.0.0.1:3000 0 --ring s1=http://127.0.0.1:3000
  marionette scheduler sc1 http://127.0.0.1:4000 --ring s1=http://127.0.0.1:3000
  marionette worker w1 http://127.0.0.1:4001 0 --scheduler http://127.0.0.1:4000
  marionette run script.pm --connect http://127.0.0.1:4000

  marionette storage verify data/s1        is the data of a node whole that does not run?

Variables:
  MARIONETTE_LOG          logs on standard error, e.g. `storage=debug,warn` [default: warn]
  MARIONETTE_CONNECT      run, repl, deploy, rollback, operators: --connect
  MARIONETTE_PCS          run, repl: --pcs, separated by commas
  MARIONETTE_FABRIC       run: --fabric
  MARIONETTE_OUTPUT       run, simulate, deploy, rollback, operators, check: --output
  MARIONETTE_LISTEN       pcs: --listen
  MARIONETTE_RING         scheduler, storage: --ring
  MARIONETTE_REPLICATION  scheduler, storage: --replication
  MARIONETTE_COMMIT       scheduler, storage: --commit
  MARIONETTE_MAX_VERSIONS scheduler, storage: --max-versions
  MARIONETTE_NO_WARM_UP   scheduler: --no-warm-up
  MARIONETTE_KEEP_RUNS    scheduler: --keep-runs
  MARIONETTE_HTTP         scheduler: --http
  MARIONETTE_SCHEDULER    worker: --scheduler
  MARIONETTE_OPERATORS    worker: --operators
  MARIONETTE_SLOTS        worker: --slots
  MARIONETTE_ALLOW_NATIVE worker: --allow-native
  MARIONETTE_NATIVE_ISOLATED, MARIONETTE_OPERATOR_CACHE
                          worker: --native-isolated, --operator-cache
  MARIONETTE_DATA         storage: --data
  MARIONETTE_SYNC         storage: --sync
  MARIONETTE_VALUE_BYTES_MAX, MARIONETTE_RECORD_ID_BYTES_MAX,
  MARIONETTE_RECORD_UPDATES_MAX, MARIONETTE_NODE_UPDATES_MAX
                          storage: --value-bytes-max, and so on
  MARIONETTE_ALLOW_FAULTS scheduler, storage, worker: --allow-faults
  NO_COLOR                no colours

Exit status:
  0  all well
  1  a run or an expectation failed, data is damaged, or a history is wrong
  2  the command line, the script or the file of a history is wrong
  3  a node could not be started, or was lost unasked";

/// Functions in chains over replicated, versioned storage.
///
/// Alone on a terminal it starts the REPL; with a script on standard input it runs that.
#[derive(Debug, Parser)]
#[command(name = "marionette", version, styles = STYLES, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a script.
    Run(Run),
    /// Run a script in a deterministic simulation.
    Simulate(Simulate),
    /// Type a script's commands yourself.
    Repl(Puppets),
    /// Launch nodes on this machine for puppetmasters.
    Pcs(Pcs),
    /// Be a scheduler.
    Scheduler(Scheduler),
    /// Be a storage node, or verify its data.
    Storage(Box<StorageCommand>),
    /// Be a worker.
    Worker(Worker),
    /// Run native operators for the worker that started this process.
    #[command(hide = true)]
    NativeHost,
    /// Put a component of operators into the storage of a running cluster.
    Deploy(Deploy),
    /// Go back to the component that a class had before.
    Rollback(Rollback),
    /// Check a history of storage operations: the format is in history/README.md.
    Check(Check),
    /// Show the operators that are deployed in a running cluster.
    Operators(Connected),
    /// Write operators: from an empty directory to a tested component.
    #[command(subcommand)]
    Operator(Operator),
    /// A whole cluster in one process, which builds and deploys operators when their source changes.
    Dev(Dev),
}

impl Command {
    /// A role and its arguments, as a puppetmaster asks for them. `own`: variables that are not for this node.
    pub fn of_node(role: &str, arguments: Vec<String>, own: &[&str]) -> Result<Self, clap::Error> {
        let variable = |name: &OsStr| {
            let is_own = own.iter().any(|own| name == *own);
            is_own
                .then(OsString::new)
                .or_else(|| std::env::var_os(name))
        };
        let words = ["marionette", role].map(str::to_owned);
        let words = words.into_iter().chain(arguments);
        let command = without_empty(Cli::command(), &variable);
        let node = Cli::from_arg_matches(&command.try_get_matches_from(words)?)?.command;
        node.ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingSubcommand))
    }

    /// Whether it is a node that obeys the network faults of scripts.
    pub fn allows_faults(&self) -> bool {
        match self {
            Self::Scheduler(node) => node.faults.allow_faults,
            Self::Storage(command) => {
                matches!(&**command, StorageCommand::Node(node) if node.faults.allow_faults)
            }
            Self::Worker(node) => node.faults.allow_faults,
            Self::Run(_)
            | Self::Repl(_)
            | Self::Pcs(_)
            | Self::Deploy(_)
            | Self::Rollback(_)
            | Self::Operators(_)
            | Self::Check(_)
            | Self::NativeHost
            | Self::Operator(_)
            | Self::Dev(_)
            | Self::Simulate(_) => false,
        }
    }
}

impl Cli {
    /// What this process was started with; a wrong command line ends it.
    pub fn read() -> Self {
        let mut command = without_empty(Self::command(), &|name| std::env::var_os(name));
        let found = command.get_matches_mut();
        Self::from_arg_matches(&found).unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

/// Clap takes an empty variable for an empty value: arguments with such a variable forget it.
fn without_empty(
    command: clap::Command,
    variable: &impl Fn(&OsStr) -> Option<OsString>,
) -> clap::Command {
    command.mut_subcommands(|role| {
        role.mut_args(|argument| {
            let found = argument.get_env().and_then(variable);
            if found.is_some_and(|value| value.is_empty()) {
                argument.env(Resettable::Reset)
            } else {
                argument
            }
        })
    })
}
