//! SIGTERM and SIGINT end a node or a script gracefully.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// These signals, from [`Interrupts::listen`] on.
pub struct Interrupts {
    terminate: Signal,
    interrupt: Signal,
}

impl Interrupts {
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::other(format!("signals cannot be handled: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Completes at the first of them.
pub fn shutdown() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut interrupts = Interrupts::listen()?;
    Ok(async move { interrupts.next().await })
}
