//! Model check of the production core: every schedule of small configurations, driven by stateright.
//!
//! Each run prints the states it has seen. Those in which a minute does not suffice are ignored unless asked for:
//! `cargo test --release -p storage --test model -- --ignored --nocapture`.
//!
//! - `config`: what a configuration says · `cluster`: nodes and letters · `model`: what may happen
//! - `history`: the invariants · `configs`: the configurations

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

#[cfg(feature = "planted-bugs")]
mod bugs;
mod cluster;
mod config;
mod configs;
mod explore;
mod history;
mod invariants;
mod model;
mod show;
mod state;

use config::Config;
use explore::{Violation, explore};

fn check(configs: &[Config]) {
    for config in configs {
        if let Some(Violation {
            broken,
            schedule,
            decided,
        }) = explore(config)
        {
            let (name, steps) = (config.name, [schedule, decided].concat().join("\n"));
            panic!("{name}: {broken:?} is broken:\n{steps}");
        }
    }
}

#[test]
fn every_schedule_of_the_small_configurations_keeps_the_promises() {
    check(&configs::small());
}

#[test]
#[ignore = "takes a quarter of an hour, in the release profile"]
fn every_schedule_of_the_large_configurations_keeps_the_promises() {
    check(&configs::large());
}

#[test]
#[ignore = "takes a quarter of an hour, in the release profile: 8 million states"]
fn every_schedule_of_the_configuration_of_the_design_keeps_the_promises() {
    check(&[configs::design()]);
}

#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_breaks_a_promise() {
    for bug in storage::core::planted::Bug::ALL {
        let Some(config) = bugs::config(bug) else {
            continue;
        };
        let found = explore::shortest(&config);
        let Violation {
            broken, schedule, ..
        } = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: {broken:?} after {} steps", schedule.len());
    }
}
