//! The operator host with real components and libraries, against a storage in memory.

// Helpers outside of test functions fail a test in the same way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blob_server;
mod blobs;
mod cache;
mod directory;
mod example;
mod guest;
mod hostile;
mod hostile_component;
mod isolated;
mod native;
mod reuse;
mod standard;
mod support;
