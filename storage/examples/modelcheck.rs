//! Checks one configuration of the production core, or looks for a planted bug and prints the shortest way to it.
//!
//! `cargo run --release -p storage --features planted-bugs --example modelcheck -- --bug commit-ignores-promise`
//! `cargo run --release -p storage --features planted-bugs --example modelcheck -- --config rivals`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a tool for tests may fail"
)]

#[path = "../tests/model/bugs.rs"]
mod bugs;
#[path = "../tests/model/cluster.rs"]
mod cluster;
#[path = "../tests/model/config.rs"]
mod config;
#[path = "../tests/model/configs.rs"]
mod configs;
#[path = "../tests/model/explore.rs"]
mod explore;
#[path = "../tests/model/history.rs"]
mod history;
#[path = "../tests/model/invariants.rs"]
mod invariants;
#[path = "../tests/model/model.rs"]
mod model;
#[path = "../tests/model/show.rs"]
mod show;
#[path = "../tests/model/state.rs"]
mod state;

use std::process::ExitCode;
use std::time::Instant;

use storage::core::planted::Bug;

use explore::{Violation, explore, shortest};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let all = [configs::small(), configs::large(), vec![configs::design()]].concat();
    let started = Instant::now();
    let found = match arguments[..] {
        ["--bug", name] => bug(name)
            .and_then(bugs::config)
            .map(|config| shortest(&config)),
        ["--config", name] => all.iter().find(|of| of.name == name).map(explore),
        _ => None,
    };
    let Some(found) = found else {
        let bugs: Vec<String> = Bug::ALL.into_iter().map(kebab).collect();
        let configs: Vec<&str> = all.iter().map(|config| config.name).collect();
        eprintln!("usage: --bug {}", bugs.join(" | "));
        eprintln!("       --config {}", configs.join(" | "));
        return ExitCode::from(2);
    };
    print(found);
    println!("{:.1} s", started.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

fn bug(name: &str) -> Option<Bug> {
    Bug::ALL.into_iter().find(|bug| kebab(*bug) == name)
}

/// `CommitIgnoresPromise` is `commit-ignores-promise`.
fn kebab(bug: Bug) -> String {
    let mut name = String::new();
    for letter in format!("{bug:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

fn print(found: Option<Violation>) {
    let Some(Violation {
        broken,
        schedule,
        decided,
    }) = found
    else {
        return println!("no promise is broken");
    };
    println!("{broken:?} is broken after {} steps:", schedule.len());
    for line in schedule {
        println!("  {line}");
    }
    for line in decided {
        println!("decided: {line}");
    }
}
