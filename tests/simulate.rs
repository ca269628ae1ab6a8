//! Simulations of whole clusters: the same seed gives the same run, many seeds find nothing wrong, and what they find can be
//! repeated.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::{Finished, Marionette};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
/// Each of them is run twice.
const REPEATED: u64 = 50;
/// What CI searches; as many more as one likes: `marionette simulate scripts/workload.pm --seeds 0..1000 --faults harsh`.
const SEARCHED: &str = "0..60";
const SIMULATION_MAX: Duration = Duration::from_mins(10);

fn script(name: &str) -> String {
    Path::new(SCRIPTS).join(name).to_str().unwrap().to_owned()
}

fn simulate_at(directory: &Path, arguments: &[&str]) -> Finished {
    let running = Marionette::start_with(&[&["simulate"], arguments].concat(), "", |command| {
        command.current_dir(directory);
    });
    running.finish_within(SIMULATION_MAX)
}

fn simulate(arguments: &[&str]) -> Finished {
    simulate_at(Path::new(SCRIPTS), arguments)
}

/// Everything that happens in a simulation.
fn events(script: &str, seed: u64, directory: &Path) -> Vec<u8> {
    let log = directory.join("events.log");
    let seed = seed.to_string();
    let log_at = log.to_str().unwrap();
    simulate_at(
        directory,
        &[
            script, "--seed", &seed, "--faults", "harsh", "--log", log_at,
        ],
    );
    std::fs::read(log).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_events_byte_for_byte() {
    let places: [tempfile::TempDir; 2] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let mut all = std::collections::BTreeSet::new();
    for seed in 0..REPEATED {
        // Most of them short.
        let name = if seed % 10 == 0 {
            "workload.pm"
        } else {
            "quickstart.pm"
        };
        let [first, second] = places
            .each_ref()
            .map(|place| events(&script(name), seed, place.path()));
        assert!(first == second, "seed {seed} of {name} differs");
        assert!(first.split(|byte| *byte == b'\n').count() > 100);
        all.insert(first);
    }
    assert_eq!(all.len() as u64, REPEATED, "seeds are alike");
}

#[test]
fn many_seeds_find_nothing_wrong() {
    let found = simulate(&[
        &script("workload.pm"),
        "--seeds",
        SEARCHED,
        "--faults",
        "harsh",
        "--jobs",
        "2",
    ]);
    assert!(found.status.success(), "{}\n{}", found.output, found.error);
    assert!(found.output.starts_with("60 seeds, "), "{}", found.output);
}

#[test]
fn what_has_failed_is_named_with_the_command_that_repeats_it() {
    let place = tempfile::tempdir().unwrap();
    let wrong = place.path().join("wrong.pm");
    std::fs::write(&wrong, "storage s1 http://localhost:3000 0\nexpect a 1\n").unwrap();
    let wrong = wrong.to_str().unwrap();
    let found = simulate(&[wrong, "--seeds", "3..9"]);
    assert_eq!(found.status.code(), Some(1));
    let again = format!("seed 3 failed; again: marionette simulate {wrong} --seed 3 --faults none");
    assert!(found.output.contains(&again), "{}", found.output);
    assert!(
        found.error.contains("there is no record `a`"),
        "{}",
        found.error
    );
}

#[test]
fn a_simulation_that_does_not_end_is_ended() {
    let place = tempfile::tempdir().unwrap();
    let slow: PathBuf = place.path().join("slow.pm");
    std::fs::write(&slow, "wait 7200000\n").unwrap();
    let slow = slow.to_str().unwrap();
    assert!(simulate(&[slow]).status.success());
    let ended = simulate(&[slow, "--until", "90m"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.error.contains("has not ended within 5400s"),
        "{}",
        ended.error
    );
}

#[test]
fn a_cluster_of_one_process_obeys_faults_and_a_simulation_can_be_asked_for_likewise() {
    for fabric in ["local", "sim"] {
        let ran = Marionette::start(&["run", &script("partition.pm"), "--fabric", fabric]).finish();
        assert!(ran.status.success(), "{fabric}: {ran:?}");
        assert!(ran.output.contains("stock"), "{fabric}: {ran:?}");
    }
}
