//! The checkers against histories: made by hand, by a sequential register, and by random answers.
//!
//! - `told`: how histories are written here · `good`, `bad`: by hand, at least one bad one for each kind of violation
//! - `register`: random histories against a brute-force search, and of the size that simulations make

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod bad;
mod good;
mod register;
mod told;
