//! Real processes: the only room of this crate that touches the operating system.
//!
//! - `launcher`: starts children, from one thread that lives as long as the PCS;
//! - `child`: tends one child: relays its output, signals it, reaps it;
//! - `printer`: prints the relayed lines, without ever holding up a child;
//! - `parent`: what a child does so that it dies with its parent.

mod child;
mod launcher;
mod parent;
mod printer;

pub use child::tend;
pub use launcher::{NOT_INHERITED, Processes};
pub use parent::{OrphanError, die_with_parent};
pub use printer::{Lines, Printer, RelayTo};
