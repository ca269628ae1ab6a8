//! The threads on which WASM operators run. The operating system divides the cores between them and the worker's own,
//! so that operators which compute without end delay no heartbeat and no other request.

use tokio::runtime::{Builder, Handle, Runtime};

/// One thread for each core; stopped, without waiting for it, when this is dropped.
pub(super) struct OperatorThreads {
    runtime: Option<Runtime>,
    handle: Handle,
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
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for OperatorThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
