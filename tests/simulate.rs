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
fn what_has_failed_is_made_small() {
    let place = tempfile::tempdir().unwrap();
    // Whoever loses a worker fails, and nobody else.
    std::fs::write(
        place.path().join("brittle.app"),
        "operator Tally 0 retries=0\n",
    )
    .unwrap();
    let nodes = "scheduler sc1 http://localhost:4000\nstorage s1 http://localhost:3000 0\n\
                 worker w1 http://localhost:4001 0\nworker w2 http://localhost:4002 0\n";
    let work = "await ready\nrepeat 20 client a brittle.app\nwait 3000\necho on\n\
                repeat 20 client b brittle.app\nscan\n";
    let brittle = place.path().join("brittle.pm");
    std::fs::write(&brittle, format!("{nodes}{work}")).unwrap();
    let arguments = ["--seeds", "0..50", "--faults", "harsh", "--shrink", "small"];
    let found = simulate_at(place.path(), &[&["brittle.pm"], &arguments[..]].concat());
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let small: Vec<PathBuf> = files(&place.path().join("small"));
    let [small] = &small[..] else {
        panic!("{small:?}: {found:?}")
    };
    let text = std::fs::read_to_string(small).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(
        lines < nodes.lines().count() + work.lines().count(),
        "{text}"
    );
    assert!(
        !text.contains("echo") && text.contains("../brittle.app"),
        "{text}"
    );
    assert_eq!(again(small, place.path()).status.code(), Some(1), "{text}");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs the command that a small script names.
fn again(script: &Path, directory: &Path) -> Finished {
    let text = std::fs::read_to_string(script).unwrap();
    let command = text
        .lines()
        .find_map(|line| line.strip_prefix("# Again: marionette simulate "));
    let words: Vec<&str> = command
        .unwrap_or_else(|| panic!("{text}"))
        .split(' ')
        .collect();
    simulate_at(directory, &words)
}

#[test]
fn what_was_found_once_stays_mended() {
    let regress = files(&Path::new(SCRIPTS).join("regress"));
    assert!(!regress.is_empty());
    for script in regress {
        let ended = again(&script, Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(ended.status.success(), "{}: {ended:?}", script.display());
    }
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
