//! Real storage processes, under load and under faults: what the cores' tests cannot show.
//!
//! - [`cluster`]: processes of the real binary, which are killed, frozen and restarted · [`process`]: one of them
//! - [`client`]: a client that writes everything down · [`workload`]: what clients do · [`verdict`]: was it right
//! - [`kill`]: nodes die at random · [`chaos`]: which and when · [`coordinator`]: coordinators die during updates
//! - [`partition`]: nodes are cut off from one another · [`network`]: how · [`full_disk`]
//! - [`converged`]: whether they hold the same · [`binary`]: which binary · [`ports`]
//! - [`launcher`]: the threads that start processes, in a network of their own
//! - [`platform`]: with a scheduler and workers · [`runs`]: a client of it
//! - [`speed`]: how fast the storage is, and its rival
//! - [`zipf`]: text without end · [`words`]: what is in it
//!
//! Whatever is started here is gone when the process that has started it ends, however it ends.

pub mod binary;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod converged;
pub mod coordinator;
pub mod full_disk;
pub mod kill;
pub mod launcher;
pub mod network;
pub mod partition;
pub mod platform;
pub mod ports;
pub mod process;
pub mod report;
pub mod runs;
pub mod speed;
pub mod verdict;
pub mod words;
pub mod workload;
pub mod zipf;
