//! Real storage processes, under load and under faults: what the cores' tests cannot show.
//!
//! - [`cluster`]: processes of the real binary, which are killed, frozen and restarted · [`process`]: one of them
//! - [`converged`]: whether they hold the same · [`binary`]: which binary · [`ports`]
//! - [`launcher`]: the threads that start processes, in a network of their own
//! - [`speed`]: how fast the storage is, and its rival
//!
//! Whatever is started here is gone when the process that has started it ends, however it ends.

pub mod binary;
pub mod cluster;
pub mod converged;
pub mod launcher;
pub mod ports;
pub mod process;
pub mod speed;
