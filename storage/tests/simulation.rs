//! Clusters of the production core and engine in virtual time, under faults, checked by `storage::check`.
//!
//! `cargo run --release -p storage --example simulate` runs more of them, and single seeds.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicU64, Ordering};

use storage::sim::{Profile, Settings, run};

const SEEDS: u64 = 2_000;
/// Shorter than those of the example: what matters here is the number of seeds.
const DURATION_MS: u64 = 5_000;

/// Seeds that have found something, with the faults and what it was.
const REGRESSIONS: [(u64, Profile, &str); 13] = [
    (
        18_890,
        Profile::Harsh,
        "a replica took what others had discarded for what it had yet to get",
    ),
    (
        12_222,
        Profile::Harsh,
        "who joined had asked one before it learnt, and another after it forgot",
    ),
    (
        955,
        Profile::Harsh,
        "a returning node lacked decisions that gossip had never told",
    ),
    (1, Profile::Harsh, "a joining node got no gossip"),
    (
        2,
        Profile::Mild,
        "a restarted node never learnt what the others have",
    ),
    (
        26,
        Profile::Harsh,
        "after a failure of all, one went on without the last survivor",
    ),
    (
        28,
        Profile::Mild,
        "a joining node did not ask who came back",
    ),
    (
        772,
        Profile::Mild,
        "nobody noticed that a join was complete",
    ),
    (
        741,
        Profile::Harsh,
        "who had come back was still kept as dead",
    ),
    (
        743,
        Profile::Harsh,
        "a certified death excused who had not been heard",
    ),
    (
        1055,
        Profile::Harsh,
        "a segment whose start had failed was taken for good",
    ),
    (
        6091,
        Profile::Harsh,
        "two who had restarted took each other for dead",
    ),
    (
        3978,
        Profile::Harsh,
        "a repeated read took the answer to an earlier one",
    ),
];

fn check(seed: u64, settings: Settings) {
    let report = run(settings);
    assert!(
        report.wrong.is_empty(),
        "seed {seed}: {}\nreproduce with: cargo run --release -p storage --example simulate -- --seed {seed}",
        report.wrong.join("\n")
    );
}

#[test]
fn two_thousand_seeds_of_harsh_faults_keep_the_promises() {
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return;
            }
            let settings = Settings::draw(seed, Profile::Harsh).unwrap();
            let duration_ms = DURATION_MS;
            check(
                seed,
                Settings {
                    duration_ms,
                    ..settings
                },
            );
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
}

/// The model has no tasks.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_planted_bug_about_tasks_is_found() {
    let is_found = |seed: &u64| {
        let settings = Settings::draw(*seed, Profile::Harsh).unwrap();
        let report = run(Settings {
            bug: Some(storage::core::planted::Bug::FenceIgnored),
            tasks: 3,
            ..settings
        });
        report
            .wrong
            .iter()
            .any(|wrong| wrong.contains("tasks were completed"))
    };
    assert!((0..200).any(|seed| is_found(&seed)));
}

#[test]
fn what_seeds_have_found_stays_found() {
    for (seed, profile, what) in REGRESSIONS {
        // Shown when it fails.
        println!("{what}");
        let settings = Settings::draw(seed, profile).unwrap();
        // There were none at the time.
        check(
            seed,
            Settings {
                tasks: 0,
                ..settings
            },
        );
    }
}

#[test]
fn without_faults_everything_is_answered() {
    for seed in 0..20 {
        let report = run(Settings::draw(seed, Profile::None).unwrap());
        assert!(report.wrong.is_empty(), "seed {seed}: {:?}", report.wrong);
        assert_eq!(report.operations, report.answered, "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..10 {
        let log = || {
            let settings = Settings::draw(seed, Profile::Harsh).unwrap();
            run(Settings {
                log: true,
                ..settings
            })
            .log
        };
        assert_eq!(log(), log(), "seed {seed}");
    }
}
