//! For each planted bug, the smallest configuration found in which clients see what it does. The model has no tasks.

use storage::core::planted::Bug;

use crate::config::{Config, Fault, Writing, read, swap};

pub fn config(bug: Bug) -> Option<Config> {
    let rivals = vec![swap(1, "a", "b", &[0]), swap(2, "a", "c", &[1])];
    let base = Config {
        askings: rivals.clone(),
        timeouts: 1,
        inside: false,
        bug: Some(bug),
        ..Config::new("bug")
    };
    Some(match bug {
        Bug::FenceIgnored => return None,
        Bug::PromiseNotSynced | Bug::AcceptedNotSynced => Config { crashes: 1, ..base },
        Bug::AcknowledgedAfterOwnDisk
        | Bug::CommitIgnoresPromise
        | Bug::TakeoverIgnoresPending
        | Bug::QuorumOfHalf
        | Bug::ReadsShowUndecided => base,
        Bug::NoDeduplication => Config {
            askings: vec![swap(1, "a", "b", &[0]), swap(1, "a", "b", &[1])],
            ..base
        },
        Bug::TestBeforeExchange => Config {
            askings: vec![swap(1, "a", "b", &[0]), read(2, &[1])],
            ..base
        },
        Bug::LiteralNumbering => Config {
            askings: vec![swap(1, "a", "b", &[0])],
            writings: vec![writing("x")],
            ..base
        },
        Bug::NumberReusedAfterRestart => Config {
            askings: Vec::new(),
            writings: vec![writing("x"), writing("y")],
            crashes: 1,
            fault: Fault::Restart,
            ..base
        },
        Bug::StaleVotes => Config {
            askings: vec![swap(1, "a", "b", &[0]), read(2, &[0])],
            writings: vec![writing("x")],
            timeouts: 0,
            gossip: true,
            ..base
        },
        Bug::GossipOutOfOrder => Config {
            askings: Vec::new(),
            writings: vec![writing("x"), writing("y")],
            gossip: true,
            ..base
        },
    })
}

const fn writing(value: &'static str) -> Writing {
    Writing { value, at: &[2] }
}
