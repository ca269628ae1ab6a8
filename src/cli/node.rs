//! The roles, one process each. Their positional arguments are the course's.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgMatches, Args, FromArgMatches, Subcommand};
use common::fabric::{Address, MESSAGE_BYTES_MAX};
use common::types::{
    RECORD_ID_BYTES_DEFAULT, RECORD_ID_BYTES_MAX, VALUE_BYTES_DEFAULT, VALUE_BYTES_MAX,
};

use super::{OutputFormat, RingArguments};

const SLOTS_DEFAULT: NonZeroU32 = match NonZeroU32::new(worker::SLOTS_DEFAULT) {
    Some(slots) => slots,
    None => NonZeroU32::MIN,
};

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  marionette pcs --listen 127.0.0.2:10000

It prints `ready pcs URL` when it can be asked, and the output of its nodes line by line with their
names. It starts nothing but schedulers, storage nodes and workers, and none of them outlives it.")]
pub struct Pcs {
    /// Where to listen; port 0 picks a free one
    #[arg(
        long,
        env = "MARIONETTE_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:10000",
        value_parser = address,
        hide_env_values = true
    )]
    pub listen: Address,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Of several schedulers of the same storage nodes one leads; another one takes its place when it is lost.

Example:
  marionette scheduler sc1 http://127.0.0.1:4000 --ring s1=http://127.0.0.1:3000,s2=http://127.0.0.1:3001")]
pub struct Scheduler {
    /// Its name
    #[arg(value_parser = node_name)]
    pub id: String,
    /// Where it listens
    #[arg(value_parser = address)]
    pub url: Address,
    /// Accepted for the sake of old scripts, and ignored
    #[arg(hide = true)]
    pub ignored: Option<u64>,
    #[command(flatten)]
    pub ring: RingArguments,
    /// Do not have workers fetch and compile deployed operators before they need them
    #[arg(
        long,
        env = "MARIONETTE_NO_WARM_UP",
        value_parser = FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub no_warm_up: bool,
    /// Runs that have ended and are remembered; the oldest are forgotten first
    #[arg(
        long,
        value_name = "N",
        env = "MARIONETTE_KEEP_RUNS",
        default_value_t = scheduler::KEEP_RUNS_DEFAULT,
        value_parser = keep_runs,
        hide_env_values = true
    )]
    pub keep_runs: usize,
    /// Answer HTTP here, too; port 0 picks a free one, which `status` tells
    #[arg(
        long,
        env = "MARIONETTE_HTTP",
        value_name = "HOST:PORT",
        value_parser = address,
        hide_env_values = true
    )]
    pub http: Option<Address>,
    #[command(flatten)]
    pub faults: FaultArguments,
}

fn keep_runs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(runs) if (1..=scheduler::KEEP_RUNS_MAX).contains(&runs) => Ok(runs),
        _ => Err(format!("a number from 1 to {}", scheduler::KEEP_RUNS_MAX)),
    }
}

/// A node, unless something else is to be done with one's data. Clap derives no such either-or.
#[derive(Debug, Clone)]
pub enum StorageCommand {
    Node(Storage),
    Task(StorageTask),
}

impl FromArgMatches for StorageCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches.subcommand_name().is_some() {
            StorageTask::from_arg_matches(matches).map(Self::Task)
        } else {
            Storage::from_arg_matches(matches).map(Self::Node)
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for StorageCommand {
    fn augment_args(command: clap::Command) -> clap::Command {
        StorageTask::augment_subcommands(Storage::augment_args(command))
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
            .disable_help_subcommand(true)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

#[derive(Debug, Clone, Subcommand)]
pub enum StorageTask {
    /// Check a data directory that no node uses, without changing it.
    Verify(Verify),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  marionette storage verify data/s1

It reads the log and a copy of the table (in TMPDIR, by default /tmp), and puts together what a node
would recover. The exit status is 0 when all is whole, 1 when it is damaged (the file and the place
are named), 2 when it is no data directory, cannot be read, or is in use.")]
pub struct Verify {
    /// What a node has for --data; with a script's --data, the directory with the node's name in it
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// What the summary looks like
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example, two storage nodes:
  marionette storage s1 http://127.0.0.1:3000 0 --ring s1=http://127.0.0.1:3000,s2=http://127.0.0.1:3001
  marionette storage s2 http://127.0.0.1:3001 0 --ring s1=http://127.0.0.1:3000,s2=http://127.0.0.1:3001")]
pub struct Storage {
    /// Its name
    #[arg(value_parser = node_name)]
    pub id: String,
    /// Where it listens
    #[arg(value_parser = address)]
    pub url: Address,
    /// Delay of every message to another storage node, in milliseconds
    #[arg(value_name = "GOSSIP_DELAY")]
    pub gossip_delay_ms: u64,
    /// Its replica id [default: its place in the ring, from 1]
    #[arg(long, value_name = "N", requires = "ring")]
    pub replica: Option<NonZeroU32>,
    #[command(flatten)]
    pub ring: RingArguments,
    /// Directory that keeps its records [default: none, they die with the process]
    #[arg(
        long,
        env = "MARIONETTE_DATA",
        value_name = "DIR",
        hide_env_values = true
    )]
    pub data: Option<PathBuf>,
    /// When a write counts as durable: `always` (on the disk), `interval=MS`, or `never` (with the operating system)
    #[arg(
        long,
        env = "MARIONETTE_SYNC",
        value_name = "MODE",
        default_value_t = storage::SyncMode::Always,
        requires = "data",
        hide_env_values = true
    )]
    pub sync: storage::SyncMode,
    /// The data that this node had is lost for good: begin with an empty directory and copy what the others have
    #[arg(long, requires = "data")]
    pub replace: bool,
    #[command(flatten)]
    pub limits: LimitArguments,
    #[command(flatten)]
    pub faults: FaultArguments,
}

/// What its clients may ask of it at most.
#[derive(Debug, Clone, Args)]
pub struct LimitArguments {
    /// Longest value, in bytes
    #[arg(
        long = "value-bytes-max",
        env = "MARIONETTE_VALUE_BYTES_MAX",
        value_name = "N",
        default_value_t = VALUE_BYTES_DEFAULT,
        value_parser = value_bytes,
        hide_env_values = true
    )]
    pub value_bytes: usize,
    /// Longest record id, in bytes
    #[arg(
        long = "record-id-bytes-max",
        env = "MARIONETTE_RECORD_ID_BYTES_MAX",
        value_name = "N",
        default_value_t = RECORD_ID_BYTES_DEFAULT,
        value_parser = |text: &str| within(text, RECORD_ID_BYTES_MAX),
        hide_env_values = true
    )]
    pub record_id_bytes: usize,
    /// Updates that wait for one record
    #[arg(
        long = "record-updates-max",
        env = "MARIONETTE_RECORD_UPDATES_MAX",
        value_name = "N",
        default_value_t = storage::QueueBounds::default().record,
        value_parser = |text: &str| within(text, storage::QueueBounds::MAX),
        hide_env_values = true
    )]
    pub record_updates: usize,
    /// Updates that wait for all records together, and clients that wait for them
    #[arg(
        long = "node-updates-max",
        env = "MARIONETTE_NODE_UPDATES_MAX",
        value_name = "N",
        default_value_t = storage::QueueBounds::default().node,
        value_parser = |text: &str| within(text, storage::QueueBounds::MAX),
        hide_env_values = true
    )]
    pub node_updates: usize,
}

impl LimitArguments {
    pub fn limits(&self) -> storage::Limits {
        storage::Limits {
            value_bytes: self.value_bytes,
            record_id_bytes: self.record_id_bytes,
            queues: storage::QueueBounds {
                record: self.record_updates,
                node: self.node_updates,
            },
        }
    }
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  marionette worker w1 http://127.0.0.1:4001 0 --scheduler http://127.0.0.1:4000")]
pub struct Worker {
    /// Its name
    #[arg(value_parser = node_name)]
    pub id: String,
    /// Where it listens
    #[arg(value_parser = address)]
    pub url: Address,
    /// Delay of every request that it forwards to another worker, in milliseconds
    #[arg(value_name = "GOSSIP_DELAY")]
    pub gossip_delay_ms: u64,
    /// The schedulers of its cluster, or one of them, which names the one that leads
    #[arg(
        long,
        env = "MARIONETTE_SCHEDULER",
        value_name = "URL,...",
        value_parser = address,
        value_delimiter = ',',
        required = true,
        hide_env_values = true
    )]
    pub scheduler: Vec<Address>,
    /// Operators beside the built-in ones: `.wasm` components, native libraries
    #[arg(
        long,
        env = "MARIONETTE_OPERATORS",
        value_name = "DIR",
        hide_env_values = true
    )]
    pub operators: Option<PathBuf>,
    /// Tasks at once
    #[arg(
        long,
        env = "MARIONETTE_SLOTS",
        value_name = "N",
        default_value_t = SLOTS_DEFAULT,
        hide_env_values = true
    )]
    pub slots: NonZeroU32,
    /// Load native libraries from the directory of operators: they can do whatever this user can
    #[arg(
        long,
        env = "MARIONETTE_ALLOW_NATIVE",
        value_parser = FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub allow_native: bool,
    /// Run native operators in child processes: one that crashes costs its task, not the worker
    #[arg(
        long,
        env = "MARIONETTE_NATIVE_ISOLATED",
        value_parser = FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub native_isolated: bool,
    /// Where compiled operators are kept, or `none` [default: ~/.cache/marionette/operators]
    #[arg(
        long,
        env = "MARIONETTE_OPERATOR_CACHE",
        value_name = "DIR",
        hide_env_values = true
    )]
    pub operator_cache: Option<PathBuf>,
    #[command(flatten)]
    pub faults: FaultArguments,
}

impl Worker {
    /// None: compiled operators are kept nowhere.
    pub fn operator_cache(&self) -> Option<PathBuf> {
        match &self.operator_cache {
            None => worker::host::default_code_cache(),
            Some(directory) => (directory.as_os_str() != "none").then(|| directory.clone()),
        }
    }
}

/// What any node may be asked to do to its own messages.
#[derive(Debug, Clone, Args)]
pub struct FaultArguments {
    /// Obey `partition`, `cut`, `delay` and `loss` of scripts: whoever reaches this node can then cut it off
    #[arg(
        long,
        env = "MARIONETTE_ALLOW_FAULTS",
        value_parser = FalseyValueParser::new(),
        hide_env_values = true
    )]
    pub allow_faults: bool,
}

/// For clap: its error names the argument and the text.
pub fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| error.to_string())
}

fn value_bytes(text: &str) -> Result<usize, String> {
    within(text, VALUE_BYTES_MAX).map_err(|error| {
        format!(
            "{error}: a message has {MESSAGE_BYTES_MAX} bytes, and must have room for four values"
        )
    })
}

fn within(text: &str, max: usize) -> Result<usize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("expected a number from 1 to {max}"))
}

fn node_name(text: &str) -> Result<String, String> {
    let is_wrong = |c: char| c.is_whitespace() || c.is_control() || c == ',' || c == '=';
    if text.is_empty() || text.contains(is_wrong) {
        return Err("a node's name has no spaces, commas and equals signs".to_owned());
    }
    Ok(text.to_owned())
}
