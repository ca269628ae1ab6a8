//! What an author of operators does before a cluster is there: `marionette operator new|build|test|inspect|run`.
//!
//! - [`new`]: a directory with an operator that builds and has a test. - [`kit`]: what such a directory holds of
//!   Marionette, embedded here. - [`mod@build`]: from source to component, in four languages;
//! - [`test`]: a table of cases ([`cases`], read with [`notes`]), each run by [`rehearse`] in the worker's own host on
//!   records in memory, and held against what it expects by [`compare`];
//! - [`once`]: one attempt; - [`inspect`]: what a file holds, and whether a worker would take it;
//! - [`watch`]: builds anew when source changes; - [`show`]: values on a terminal; - [`unusable`]: errors, and where words go.

pub mod build;
pub mod cases;
pub mod compare;
pub mod inspect;
pub mod kit;
pub mod language;
pub mod machine;
pub mod new;
mod notes;
pub mod once;
pub mod rehearse;
pub mod show;
pub mod test;
pub mod unusable;
pub mod watch;
