//! Runs a script in a simulation. - `many`: for each of many seeds. - `shrink`: what has failed is made small. - `disks`: what the nodes' machines keep.

mod disks;
mod many;
mod shrink;

use std::fs::File;
use std::io::stderr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::chance::Chance;
use common::fabric::{EventLog, FabricHandle, LocalFabric, Profile, Simulation, World, timeout};
use pcs::{MakeNode, NodeTask};
use puppetmaster::language::Faults;
use puppetmaster::outcome::Outcome;
use puppetmaster::output::Output;
use puppetmaster::{Config, Source, Surroundings};
use storage::SimDisk;
use tokio::sync::mpsc;

use disks::Disks;

use crate::cli;
use crate::failure::Failure;
use crate::nodes::{Machine, Node};
use crate::puppets;
use crate::terminal::is_coloured;

/// Where simulated nodes keep their records: their disks have no other directory.
const SIMULATED_DATA: &str = "/data";

pub fn run(arguments: &cli::Simulate) -> Result<ExitCode, Failure> {
    let case = Case::of(arguments);
    if let Some(seeds) = &arguments.seeds {
        return many::run(&case, seeds, arguments.jobs, arguments.shrink.as_deref());
    }
    if let Some(directory) = &arguments.shrink {
        return shrink::run(&case, arguments.seed, directory);
    }
    let output = Output::standard(puppets::format(arguments.output), is_coloured(&stderr()));
    let (seed, started) = (arguments.seed, Instant::now());
    let ended = simulate(&case, seed, &output)?;
    output.message(format!(
        "seed {seed}: {} ms simulated in {} ms, events {:016x}",
        ended.simulated_ms,
        started.elapsed().as_millis(),
        ended.hash
    ));
    Ok(ExitCode::from(ended.outcome.exit_code()))
}

/// What is simulated, but for the seed.
#[derive(Debug, Clone)]
struct Case {
    file: PathBuf,
    /// Instead of what is in the file.
    text: Option<String>,
    faults: Faults,
    data: bool,
    log: Option<PathBuf>,
    until: Duration,
}

impl Case {
    fn of(arguments: &cli::Simulate) -> Self {
        Self {
            file: arguments.script.clone(),
            text: None,
            faults: arguments.faults,
            data: arguments.data,
            log: arguments.log.clone(),
            until: arguments.until,
        }
    }

    /// The command line that simulates it.
    fn command(&self, seed: u64) -> String {
        let script = self.file.display().to_string();
        let is_plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
        let script = if script.chars().all(is_plain) {
            script
        } else {
            format!("'{}'", script.replace('\'', r"'\''"))
        };
        let data = if self.data { " --data" } else { "" };
        let faults = self.faults;
        format!("marionette simulate {script} --seed {seed} --faults {faults}{data}")
    }

    fn config(&self) -> Config {
        let file = self.file.clone();
        let has_disks = self.data || self.faults.profile != Profile::None;
        Config {
            source: match self.text.clone() {
                Some(text) => Source::Text { file, text },
                None => Source::File(file),
            },
            step: false,
            keep: false,
            pcs: Vec::new(),
            connect: Vec::new(),
            data: has_disks.then(|| SIMULATED_DATA.into()),
            faults: self.faults,
        }
    }
}

/// What a simulation has come to.
struct Ended {
    outcome: Outcome,
    simulated_ms: u64,
    /// Of all events.
    hash: u64,
}

fn simulate(case: &Case, seed: u64, output: &Output) -> Result<Ended, Failure> {
    let log = match &case.log {
        Some(path) => {
            let cannot = |error| Failure::other(format!("--log {}: {error}", path.display()));
            EventLog::to(File::create(path).map_err(cannot)?)
        }
        None => EventLog::default(),
    };
    let simulation = Simulation::new(seed, log);
    let world = simulation.world();
    let until = case.until;
    let ran = simulation.run(async {
        let fabric: FabricHandle = Arc::new(simulation.fabric().clone());
        let disks = Disks::default();
        let trouble = disks
            .clone()
            .trouble(simulation.fabric().clone(), world.clone());
        let _trouble = fabric.spawn(Box::pin(trouble));
        let surroundings = surroundings(&simulation, disks, output.clone());
        let running = puppetmaster::run(case.config(), surroundings);
        let ended = timeout(&*fabric, until, running).await;
        if ended.is_none() {
            output.message(format!(
                "error: the script has not ended within {until:?} of virtual time"
            ));
        }
        (ended.unwrap_or(Outcome::Failed), world.now_ms())
    });
    let failed = |error: std::io::Error| Failure::other(format!("the simulation: {error}"));
    let (outcome, simulated_ms) = ran.map_err(failed)?;
    Ok(Ended {
        outcome,
        simulated_ms,
        hash: world.end_log().map_err(failed)?,
    })
}

fn surroundings(simulation: &Simulation, disks: Disks, output: Output) -> Surroundings {
    let fabric: FabricHandle = Arc::new(simulation.fabric().clone());
    let make = make_node(simulation, disks);
    // Nobody interrupts: Ctrl-C ends the process.
    let (_, interrupts) = mpsc::channel(1);
    Surroundings {
        start_pcs: puppets::start_pcs(&fabric, move |listen| {
            Ok(pcs::Config::one_process(listen, Arc::clone(&make)))
        }),
        interrupts,
        output,
        fabric,
    }
}

/// Each node has a machine of its own.
fn make_node(simulation: &Simulation, disks: Disks) -> MakeNode {
    let (local, world) = (simulation.fabric().clone(), simulation.world().clone());
    Arc::new(move |order: pcs::Order| {
        let disk = disks.of(&order.name);
        node_task(order, &local, &world, disk)
    })
}

fn node_task(order: pcs::Order, local: &LocalFabric, world: &World, disk: SimDisk) -> NodeTask {
    let end = local.another_end(&order.name);
    let life = end.life().clone();
    let running = Running {
        name: order.name.clone(),
        disk: disk.clone(),
        world: world.clone(),
        has_ended: false,
    };
    let run = async move {
        // As a whole: it is dropped with the node.
        let mut running = running;
        running.world.note(|| format!("{} starts", running.name));
        let node = Node::parse(order.role, order.arguments)?;
        let machine = Machine::Simulated(disk);
        let ended = node
            .run(machine, Arc::new(end), order.shutdown, order.on_ready)
            .await;
        running.has_ended = true;
        ended.map_err(|failure| failure.message().to_owned())
    };
    NodeTask {
        life,
        run: Box::pin(run),
    }
}

/// A node that has not ended by itself when this is dropped has taken its machine down with it.
struct Running {
    name: String,
    disk: SimDisk,
    world: World,
    has_ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let name = &self.name;
        if self.has_ended {
            self.world.note(|| format!("{name} has ended"));
        } else {
            self.world.note(|| format!("{name} has crashed"));
            let mut chance = Chance::new(self.world.random());
            self.disk.crash(&mut |below| chance.below(below));
        }
    }
}
