//! What holds up its thread, and what waits for the machine itself: on other threads, or at once in a simulation, whose
//! clock would otherwise go on meanwhile.

use futures::executor::block_on;

#[derive(Clone, Copy, Debug)]
pub(super) struct Blocking {
    pub simulated: bool,
}

impl Blocking {
    /// The error says how the work was lost.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        if self.simulated {
            return Ok(work());
        }
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|lost| lost.to_string())
    }

    /// Waits for something that needs nothing of this thread.
    pub(super) async fn wait<T>(self, machine: impl Future<Output = T>) -> T {
        if self.simulated {
            block_on(machine)
        } else {
            machine.await
        }
    }
}
