//! A cluster of cores under faults, seen by its clients: the checkers of `history` raise no alarm.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    dead_code
)]

mod cluster;
#[path = "../../../history/tests/check/told.rs"]
mod told;
#[path = "../world/mod.rs"]
mod world;
