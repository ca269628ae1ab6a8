//! The threads on which WASM operators run. The operating system divides the cores between them and the worker's own,
//! so that operators which compute without end delay no heartbeat and no other request.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Builder, Handle, Runtime};

/// One thread for each core; stopped, without waiting for it, when this is dropped.
pub(super) struct OperatorThreads {
    runtime: Option<Runtime>,
    handle: Handle,
    /// Whether a task runs on a thread of its caller's right now.
    caller_is_borrowed: AtomicBool,
}

/// The right to run a task on its caller's thread, given back when dropped.
pub(super) struct BorrowedCaller<'a>(&'a AtomicBool);

impl Drop for BorrowedCaller<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl OperatorThreads {
    pub(super) fn start() -> std::io::Result<Self> {
        // No timers and no sockets: operators have none, and who waits for them has their own.
        let runtime = Builder::new_multi_thread()
            .thread_name("wasm-operator")
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            caller_is_borrowed: AtomicBool::new(false),
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// None: one task is at that already.
    pub(super) fn borrow_caller(&self) -> Option<BorrowedCaller<'_>> {
        let borrowed = self.caller_is_borrowed.swap(true, Ordering::Acquire);
        (!borrowed).then(|| BorrowedCaller(&self.caller_is_borrowed))
    }
}

impl Drop for OperatorThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
