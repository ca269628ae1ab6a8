//! The storage protocol on clusters of cores, without chance: the scenarios of STORAGE.md §9, and what else was suspected.
//!
//! - `named`: the scenarios by their names in the design; a stale ring and a wiped disk are in `identity`
//! - `enumerate`: every fault, to every replica, at every step of an update
//! - `play`: one update, one fault, and what must be true afterwards · `steps`: a cluster that is taken from step to step
//! - `tasks`: attempts at tasks, and what they did
//! - `protocol`, `faults`, `bounds`: promises and suspicions, each on a cluster in virtual time (`world`)

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

mod bounds;
mod enumerate;
mod faults;
mod identity;
mod named;
mod play;
mod protocol;
mod steps;
mod tasks;
#[path = "../world/mod.rs"]
mod world;
