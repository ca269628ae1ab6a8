//! A task of a simulation: what it computes takes virtual time, counted in fuel.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;
use tokio::time::Sleep;

use crate::host::limits::FUEL_TICK_TAKES;

/// Runs on its caller's thread; sleeps whenever a tick of fuel is used up, after which the store yields.
pub(super) struct Paced<T> {
    task: BoxFuture<'static, T>,
    rest: Option<Pin<Box<Sleep>>>,
}

impl<T> Paced<T> {
    pub(super) fn new(task: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            task: Box::pin(task),
            rest: None,
        }
    }
}

impl<T> Future for Paced<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        loop {
            if let Some(rest) = &mut self.rest {
                std::task::ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            let yielding = Arc::new(Yielding {
                yielded: AtomicBool::new(false),
                waker: context.waker().clone(),
            });
            let waker = Waker::from(yielding.clone());
            match self.task.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending if yielding.yielded.load(Ordering::Relaxed) => {
                    self.rest = Some(Box::pin(tokio::time::sleep(FUEL_TICK_TAKES)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Whoever wakes itself has only yielded; who waits for another is woken by it.
struct Yielding {
    yielded: AtomicBool,
    waker: Waker,
}

impl Wake for Yielding {
    fn wake(self: Arc<Self>) {
        self.yielded.store(true, Ordering::Relaxed);
        self.waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_when_a_task_yields_and_only_then() {
        let begun = Instant::now();
        let task = Paced::new(async {
            for _ in 0..7 {
                let mut yielded = false;
                std::future::poll_fn(|context| {
                    if std::mem::replace(&mut yielded, true) {
                        return Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            }
            tokio::time::sleep(FUEL_TICK_TAKES * 20).await;
        });
        task.await;
        assert_eq!(begun.elapsed(), FUEL_TICK_TAKES * 27);
    }
}
