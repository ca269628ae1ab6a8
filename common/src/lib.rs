//! What two roles must agree on, and nothing else.
//!
//! - [`proto`]: the messages and services of `proto/`, with typed clients and servers.
//! - [`types`]: versions, records, items, ids and their bounds; conversion from and to `proto`.
//! - [`placement`]: which storage nodes hold a record.
//! - [`fabric`]: how nodes speak, and their only source of time, tasks and chance.
//! - [`status`]: the kinds of errors that cross the wire, both ways.
//! - [`node`]: what every role is and does alike.
//! - [`client`]: the storage client of workers and the puppetmaster. - [`schedulers`]: which scheduler leads.
//! - [`chance`]: all that is random in a simulation.
//! - [`application`], [`diagnostic`]: application files, and how wrong lines are shown.
//! - [`telemetry`]: logs on standard error.
//!
//! Nothing here knows a role; roles depend on this crate and never on one another.

pub mod application;
pub mod chance;
pub mod client;
pub mod diagnostic;
pub mod fabric;
pub mod node;
pub mod placement;
pub mod schedulers;
pub mod status;
pub mod telemetry;
pub mod types;

/// The messages and services of `proto/marionette/v1`.
#[allow(clippy::pedantic, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/marionette.v1.rs"));
}
