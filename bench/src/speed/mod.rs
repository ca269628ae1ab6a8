//! How fast the storage is, and its rival under the same load.
//!
//! - [`measure`]: rates and latencies of concurrent clients · [`machine`]: what the machine itself costs
//! - [`operation`]: what is measured · [`keys`]: which records the clients touch · [`table`]: the figures
//! - [`records`]: Marionette as it is measured · [`etcd`]: its rival

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of a measurement are far below 2^32"
)]

pub mod etcd;
pub mod keys;
pub mod machine;
pub mod measure;
pub mod operation;
pub mod records;
pub mod table;

/// Of a measurement: nobody branches on what went wrong.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Something went wrong, told to people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

pub const VALUE_BYTES: usize = 100;

/// What is written everywhere.
pub fn value() -> bytes::Bytes {
    bytes::Bytes::from_static(&[b'v'; VALUE_BYTES])
}
