//! Native operators: libraries that can do whatever the worker can, hence loaded only when it was started so.
//!
//! - [`library`]: loading one and calling into it, the only unsafe code of the worker.
//! - [`task`]: one task on a thread of its own, its storage calls performed on the session outside.
//! - [`convert`]: the SDK's types and the worker's.

mod convert;
mod library;
mod task;

pub(super) use library::NativeOperators;
pub(super) use task::run;
