//! The configurations that are checked: small ones always, large ones when asked for.

use common::types::CommitMode;

use crate::config::{ANYWHERE, Asking, Config, Fault, Writing, read, swap};
use crate::model::{MISMATCH, READ, REJOINED, TAKEN_OVER, UPDATED};

const fn write(value: &'static str, at: &'static [usize]) -> Writing {
    Writing { value, at }
}

/// Both want to replace the first value.
fn rivals() -> Vec<Asking> {
    vec![swap(1, "a", "b", &[0]), swap(2, "a", "c", &[1])]
}

/// A minute is enough for all of them.
pub fn small() -> Vec<Config> {
    vec![
        Config {
            askings: rivals(),
            timeouts: 1,
            possible: vec![UPDATED, MISMATCH, TAKEN_OVER],
            ..Config::new("rivals")
        },
        Config {
            askings: vec![swap(1, "a", "b", &[0]), swap(2, "b", "c", &[0])],
            gossip: true,
            possible: vec![UPDATED, MISMATCH],
            ..Config::new("chain")
        },
        Config {
            askings: vec![swap(1, "a", "b", &[0]), swap(1, "a", "b", &[1])],
            timeouts: 1,
            nacks: true,
            possible: vec![UPDATED, TAKEN_OVER],
            ..Config::new("repeat")
        },
        Config {
            askings: vec![swap(1, "a", "b", ANYWHERE)],
            timeouts: 1,
            crashes: 1,
            fault: Fault::Torn,
            possible: vec![UPDATED, TAKEN_OVER],
            ..Config::new("crash")
        },
        Config {
            askings: vec![swap(1, "a", "b", &[0])],
            writings: vec![write("x", ANYWHERE)],
            gossip: true,
            possible: vec![UPDATED, MISMATCH],
            ..Config::new("write")
        },
        Config {
            askings: vec![swap(1, "a", "b", &[0]), read(2, ANYWHERE)],
            writings: vec![write("x", ANYWHERE)],
            possible: vec![UPDATED, MISMATCH, READ],
            ..Config::new("read")
        },
        Config {
            askings: vec![swap(1, "a", "b", &[0])],
            timeouts: 1,
            crashes: 1,
            lags: 1,
            possible: vec![UPDATED, TAKEN_OVER],
            ..Config::new("slow disk and crash")
        },
        Config {
            askings: vec![swap(1, "a", "b", &[0]), swap(2, "b", "c", &[0])],
            writings: vec![write("x", &[2])],
            possible: vec![UPDATED, MISMATCH],
            ..Config::new("two terms under one ballot")
        },
        Config {
            writings: vec![write("x", &[0]), write("y", &[0]), write("z", &[1])],
            gossip: true,
            crashes: 1,
            fault: Fault::Torn,
            ..Config::new("gossip")
        },
        Config {
            commit: CommitMode::FailStop,
            askings: vec![swap(1, "a", "b", &[0])],
            timeouts: 1,
            crashes: 1,
            fault: Fault::Die,
            possible: vec![UPDATED, TAKEN_OVER],
            ..Config::new("fail-stop")
        },
        Config {
            nodes: 2,
            commit: CommitMode::FailStop,
            askings: vec![swap(1, "a", "b", &[0])],
            timeouts: 1,
            crashes: 1,
            gossip: true,
            fault: Fault::Return,
            possible: vec![UPDATED, REJOINED],
            ..Config::new("return")
        },
    ]
}

/// Minutes each, in the release profile.
pub fn large() -> Vec<Config> {
    vec![
        // 1,202,603 states.
        Config {
            askings: rivals(),
            timeouts: 2,
            possible: vec![UPDATED, MISMATCH, TAKEN_OVER],
            ..Config::new("rivals in two terms")
        },
        // 594,562 states.
        Config {
            askings: rivals(),
            timeouts: 1,
            crashes: 1,
            possible: vec![UPDATED, MISMATCH, TAKEN_OVER],
            ..Config::new("rivals and a crash")
        },
        // 139,625 states.
        Config {
            askings: vec![swap(1, "a", "b", &[0])],
            writings: vec![write("x", ANYWHERE)],
            timeouts: 1,
            crashes: 1,
            fault: Fault::Torn,
            possible: vec![UPDATED, MISMATCH, TAKEN_OVER],
            ..Config::new("write and crash")
        },
        // 370,358 states.
        Config {
            askings: vec![swap(1, "a", "b", &[0])],
            writings: vec![write("x", ANYWHERE)],
            timeouts: 1,
            gossip: true,
            possible: vec![UPDATED, MISMATCH, TAKEN_OVER],
            ..Config::new("write and gossip")
        },
        // 146,738 states.
        Config {
            askings: vec![swap(1, "a", "b", &[0]), swap(1, "a", "b", &[1])],
            timeouts: 1,
            crashes: 1,
            possible: vec![UPDATED, TAKEN_OVER],
            ..Config::new("repeat and crash")
        },
        // 116,088 states.
        Config {
            askings: vec![swap(1, "a", "b", &[0]), read(2, &[1])],
            writings: vec![write("x", &[2])],
            timeouts: 1,
            possible: vec![UPDATED, MISMATCH, READ, TAKEN_OVER],
            ..Config::new("read and takeover")
        },
        // 140,937 states.
        Config {
            commit: CommitMode::FailStop,
            askings: rivals(),
            timeouts: 1,
            crashes: 1,
            fault: Fault::Die,
            possible: vec![UPDATED, MISMATCH, TAKEN_OVER],
            ..Config::new("rivals in fail-stop")
        },
        // 454,257 states.
        Config {
            commit: CommitMode::FailStop,
            askings: vec![swap(1, "a", "b", &[0]), swap(2, "b", "c", &[1])],
            timeouts: 1,
            crashes: 2,
            fault: Fault::Die,
            possible: vec![UPDATED, MISMATCH, TAKEN_OVER],
            ..Config::new("the last survivor")
        },
        // 1,685,193 states.
        Config {
            commit: CommitMode::FailStop,
            askings: vec![swap(1, "a", "b", &[0])],
            timeouts: 1,
            crashes: 1,
            gossip: true,
            fault: Fault::Return,
            possible: vec![UPDATED, TAKEN_OVER, REJOINED],
            ..Config::new("return among three")
        },
    ]
}

/// As in the README of the design's model: two swaps, a write, a crash, a second term. To its end, once: 8,057,891
/// states, 21,468,616 steps, at most 30 in a row, in 784 s beside other work.
pub fn design() -> Config {
    Config {
        askings: rivals(),
        writings: vec![write("x", &[2])],
        timeouts: 1,
        crashes: 1,
        possible: vec![UPDATED, MISMATCH, TAKEN_OVER],
        ..Config::new("rivals, write and crash")
    }
}
