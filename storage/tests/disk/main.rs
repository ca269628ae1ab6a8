//! What survives what on a disk, as `storage::disk` promises it.
//!
//! - `basics`: the log on real and simulated files · `crashes`: every crash point and every failure
//! - `damage`: torn tails and corruption, byte by byte · `faults`: full disks, failed syncs, limits
//! - `tables`: sled and the simulated table · `world`: what they share
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod basics;
mod crashes;
mod damage;
mod faults;
mod tables;
mod world;
