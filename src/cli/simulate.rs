//! A script in a simulation.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use puppetmaster::language::Faults;

use super::{OutputFormat, Run};

/// Which run is simulated when nothing is said.
const SEED_DEFAULT: u64 = 1;
const UNTIL_DEFAULT: Duration = Duration::from_hours(24);

#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("which").multiple(false))]
#[command(after_help = "\
Examples:
  marionette simulate scripts/quickstart.pm
  marionette simulate scripts/workload.pm --seed 7 --faults harsh --log events.log
  marionette simulate scripts/workload.pm --seeds 0..1000 --faults harsh --jobs 2

The same script, roles and operators as with `run`, in one thread and in virtual time: `wait 60000`
takes no time, and what chance decides follows from the seed. The same seed gives the same run again,
byte for byte. With several seeds the first that fails ends it, with the command that repeats it.")]
pub struct Simulate {
    /// The script's file
    #[arg(value_name = "SCRIPT")]
    pub script: PathBuf,
    /// Which run of all that are possible
    #[arg(long, value_name = "N", default_value_t = SEED_DEFAULT, group = "which")]
    pub seed: u64,
    /// All from A up to B, without B
    #[arg(long, value_name = "A..B", value_parser = seeds, group = "which")]
    pub seeds: Option<Range<u64>>,
    /// Simulations at once
    #[arg(long, value_name = "J", default_value_t = 1, requires = "seeds", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// What goes wrong by chance: `none`, `mild` or `harsh`; `harsh=12`: at most 12 disturbances
    #[arg(long, value_name = "PROFILE", default_value_t)]
    pub faults: Faults,
    /// Storage nodes keep their records on simulated disks, which outlive them; so they do with faults
    #[arg(long)]
    pub data: bool,
    /// Write every event of the simulation to this file, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    pub log: Option<PathBuf>,
    /// Make what fails small, and write the script that is left into this directory
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "scripts/regress", conflicts_with = "log")]
    pub shrink: Option<PathBuf>,
    /// End it, as failed, when so much virtual time has passed, e.g. `90s` or `20m`
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "24h")]
    pub until: Duration,
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

impl Simulate {
    /// What `run --fabric sim` means; nothing for a script from standard input.
    pub fn of(run: &Run) -> Option<Self> {
        Some(Self {
            script: run.file()?.into(),
            seed: SEED_DEFAULT,
            seeds: None,
            jobs: 1,
            faults: Faults::default(),
            data: run.puppets.data.is_some(),
            log: None,
            shrink: None,
            until: UNTIL_DEFAULT,
            output: run.output,
        })
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.trim().parse().ok()?..to.trim().parse().ok()?));
    match range {
        Some(range) if !range.is_empty() => Ok(range),
        _ => Err("expected A..B with A below B, such as 0..1000".to_owned()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with its unit: ms, s, m or h".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(number.saturating_mul(ms)))
}
