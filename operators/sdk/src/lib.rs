//! Write Marionette operators in Rust: a plain function, and one line that registers it.
//!
//! ```
//! use marionette_sdk::{Host, Item, OperatorError, Request};
//!
//! /// Greets the run's input and remembers whom it greeted last.
//! fn greet(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
//!     host.write("last_greeted", request.input.as_bytes())?;
//!     Ok(vec![Item::from(format!("Hello, {}!", request.input))])
//! }
//!
//! marionette_sdk::operators! { "GreetOperator" => greet }
//! # fn main() {}
//! ```
//!
//! The same source becomes a WASM component (target `wasm32-unknown-unknown`) or a native library (any other
//! target); `operators/README.md` has the commands. [`testing::MemoryHost`] runs an operator in a unit test.
//!
//! - [`types`]: requests, items, records, versions. - [`error`]: what can go wrong, for `?`.
//! - [`host`]: what an operator may call. - [`testing`]: a host in memory, which fails where a test wants it.
//! - `json` (a feature): input and output as values, by serde.
//! - `wasm`, [`native`]: the two ways across the boundary; no operator names them.
//!
//! The contract itself is `operators/wit/operator.wit`; this crate adds no promise to it.

pub mod error;
pub mod host;
#[cfg(feature = "json")]
pub mod json;
#[cfg(not(target_family = "wasm"))]
pub mod native;
mod registration;
pub mod testing;
pub mod types;
#[cfg(target_family = "wasm")]
pub mod wasm;

pub use error::{BlobError, BlobFault, OperatorError, StorageError, StorageFault, UpdateError};
pub use host::{BlobReader, Host};
#[cfg(feature = "json")]
pub use json::Json;
pub use registration::{Function, IntoItems, Operator, call, run};
pub use types::{Item, Level, Record, Request, Version};
