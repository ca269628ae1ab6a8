//! Deterministic simulation of a cluster of storage nodes: the production core and engine, in one thread, in virtual
//! time, with a network and disks that fail as the seed says.
//!
//! - [`settings`]: what is simulated · [`cluster`]: machines, network, clients, events
//! - [`machine`]: a node over its simulated disk · [`clients`]: the generator of work · [`watcher`]: who is told of it
//! - [`tasks`]: workers that die, `task`: what they execute
//! - [`faults`]: what goes wrong
//! - [`wire`]: messages as bytes · [`history`]: what was asked and answered, for the checkers of [`crate::check`]
//!
//! The same settings give the same run, on every machine.

pub mod clients;
pub mod cluster;
pub mod faults;
pub mod history;
pub mod machine;
pub mod settings;
mod task;
pub mod tasks;
pub mod watcher;
pub mod wire;

use std::collections::BTreeSet;

pub use self::settings::{Profile, Settings};

use self::cluster::Cluster;
use self::faults::Faults;
use self::history::Recorder;
use self::machine::Machine;
use self::tasks::Account;
use crate::core::Storage;

/// After the last fault everything must be alike within this.
const CONVERGENCE_MS: u64 = 120_000;
/// Looking at everything is dear.
const LOOK_MS: u64 = 250;

/// What a run has come to.
#[derive(Debug, Default)]
pub struct Report {
    /// Empty: all is well.
    pub wrong: Vec<String>,
    pub simulated_ms: u64,
    pub operations: usize,
    pub answered: usize,
    pub messages: u64,
    pub crashes: u64,
    pub other_faults: u64,
    pub tasks: Account,
    /// One line for each event, if asked for.
    pub log: Vec<String>,
}

/// Runs a cluster through its work and its faults, heals it, and checks all that was seen.
pub fn run(settings: Settings) -> Report {
    let mut cluster = Cluster::new(settings);
    let mut faults = Faults::new(&mut cluster);
    while cluster.now_ms < cluster.settings.duration_ms && cluster.recorder.wrong.is_empty() {
        cluster.advance();
        faults.act(&mut cluster);
    }
    cluster.is_closing = true;
    faults.heal(&mut cluster);
    let has_converged = converge(&mut cluster);
    let mut report = Report {
        simulated_ms: cluster.now_ms,
        operations: cluster.recorder.operations(),
        answered: cluster.recorder.answered(),
        messages: cluster.messages,
        crashes: faults.crashes,
        other_faults: faults.others,
        tasks: cluster.tasks.account,
        log: std::mem::take(&mut cluster.log),
        ..Report::default()
    };
    let recorder = std::mem::take(&mut cluster.recorder);
    report.wrong = judge(&cluster, recorder, has_converged);
    if has_converged {
        report.wrong.extend(cluster.end_of_watch());
        report.wrong.extend(cluster.end_of_work());
    }
    report
}

fn judge(cluster: &Cluster, recorder: Recorder, has_converged: bool) -> Vec<String> {
    let core = |machine: &Machine| Some((machine.me, cluster.core(machine.me)?));
    let cores: Vec<_> = cluster.machines.values().filter_map(core).collect();
    let (mut wrong, violations) = recorder.check(&cores);
    wrong.extend(violations.iter().map(ToString::to_string));
    if !has_converged {
        wrong.push(format!(
            "no convergence within {CONVERGENCE_MS} ms after the last fault: {}",
            states(cluster)
        ));
    }
    wrong
}

fn converge(cluster: &mut Cluster) -> bool {
    let end_ms = cluster.now_ms + CONVERGENCE_MS;
    let mut look_ms = cluster.now_ms;
    while cluster.now_ms < end_ms && cluster.recorder.wrong.is_empty() {
        cluster.advance();
        if cluster.now_ms >= look_ms {
            look_ms = cluster.now_ms + LOOK_MS;
            if is_at_rest(cluster) {
                return true;
            }
        }
    }
    false
}

/// Nobody waits, and all nodes are members that hold the same.
fn is_at_rest(cluster: &Cluster) -> bool {
    let cores: Vec<&Storage> = cluster
        .replicas()
        .iter()
        .filter_map(|id| cluster.core(*id))
        .collect();
    let is_quiet = |core: &&Storage| {
        core.is_joined()
            && core.read_only().is_none()
            && core.unspread_count() == 0
            && core.undecided_count() == 0
    };
    let hashes = |core: &&Storage| {
        let partitions = 0..core.ring().partitions;
        partitions
            .map(|id| core.durable().hash(id))
            .collect::<Vec<_>>()
    };
    cores.len() == cluster.machines.len()
        && cluster.nobody_waits()
        && cores.iter().all(is_quiet)
        && cores.iter().map(hashes).collect::<BTreeSet<_>>().len() == 1
}

fn states(cluster: &Cluster) -> String {
    let state = |replica| {
        let Some(core) = cluster.core(replica) else {
            return format!("{replica} is down");
        };
        format!(
            "{replica}: joined {} (waits for {:?}), read-only {:?}, unspread {}, undecided {}, hashes {:?}",
            core.is_joined(),
            core.waits_for(),
            core.read_only(),
            core.unspread_count(),
            core.undecided_count(),
            core.durable()
                .spreads()
                .iter()
                .map(|(id, spread)| (core.durable().hash(*id), &spread.timestamp))
                .collect::<Vec<_>>(),
        )
    };
    let states: Vec<_> = cluster.replicas().into_iter().map(state).collect();
    states.join("; ")
}
