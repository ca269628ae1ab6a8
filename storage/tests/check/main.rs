//! The checkers against histories: made by hand, by a sequential register, by random answers, and by a cluster of cores.
//!
//! - `told`: how histories are written here · `good`, `bad`: by hand, at least one bad one for each kind of violation
//! - `register`: random histories against a brute-force search, and of the size that simulations make
//! - `cluster`: what the storage itself says under faults raises no alarm

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod bad;
mod cluster;
mod good;
mod register;
mod told;
#[path = "../world/mod.rs"]
mod world;
