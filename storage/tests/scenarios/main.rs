//! The storage protocol on clusters of cores, without chance: scenarios by name.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

mod enumerate;
mod faults;
mod identity;
mod play;
mod protocol;
mod steps;
#[path = "../world/mod.rs"]
mod world;
