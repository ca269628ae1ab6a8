//! The clock, the tasks and the chance of the machine itself, for the fabrics that run in real time.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{BoxFuture, Task};

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the clock was first asked.
pub(super) fn now_ms() -> u64 {
    u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds since 1970, or one more than the last time.
pub(super) fn incarnation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let now = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX);
    let next = |last: u64| Some(now.max(last + 1));
    match LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
        Ok(last) | Err(last) => now.max(last + 1),
    }
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

/// On a thread that may be held up; a panic is the caller's to find out.
pub(super) fn block(work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
    let working = tokio::task::spawn_blocking(work);
    Box::pin(async {
        let _ = working.await;
    })
}
