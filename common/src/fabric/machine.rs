//! The clock, the tasks and the chance of the machine itself, for the fabrics that run in real time.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

use super::{BoxFuture, Task};

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the clock was first asked.
pub(super) fn now_ms() -> u64 {
    u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn sleep(duration: Duration) -> BoxFuture<'static, ()> {
    Box::pin(tokio::time::sleep(duration))
}

pub(super) fn spawn(task: BoxFuture<'static, ()>) -> Task {
    Task(Some(tokio::spawn(task).abort_handle()))
}

pub(super) fn random() -> u64 {
    rand::random()
}
