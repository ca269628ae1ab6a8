//! What an author of operators does before a cluster is there: `marionette operator new|build|test|inspect|run`.
//!
//! - [`new`]: a directory with an operator that builds and has a test. - [`kit`]: what such a directory holds of
//!   Marionette, embedded here. - [`mod@build`]: from source to component, in four languages.

pub mod build;
pub mod kit;
pub mod language;
pub mod machine;
pub mod new;
