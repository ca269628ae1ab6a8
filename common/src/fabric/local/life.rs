//! The life of a node that is tasks of this process: it can be killed and frozen as a process can.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::fabric::{BoxFuture, Task};

/// All tasks that a node has begun through its fabric. Cheap to clone.
///
/// Promises: once [`kill`](Self::kill) has returned no task of the node takes another step; none does between
/// [`freeze`](Self::freeze) and [`thaw`](Self::thaw), while its timers and the messages to it go on.
#[derive(Clone, Default)]
pub struct Life(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    phase: Phase,
    tasks: BTreeMap<u64, AbortHandle>,
    /// Numbers the tasks.
    last: u64,
    /// Of tasks that were to go on while all were frozen, and of those that wait for the thaw.
    held: Vec<Waker>,
    /// What the first task to panic said.
    panic: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Awake,
    Frozen(Instant),
    Dead(Instant),
}

impl Life {
    /// Ends all tasks where they are; what they hold is dropped.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.phase = Phase::Dead(match state.phase {
            Phase::Awake => Instant::now(),
            // It has done nothing since.
            Phase::Frozen(since) | Phase::Dead(since) => since,
        });
        let tasks = std::mem::take(&mut state.tasks);
        let held = std::mem::take(&mut state.held);
        // A task that is dropped takes the lock.
        drop(state);
        for task in tasks.into_values() {
            task.abort();
        }
        held.into_iter().for_each(Waker::wake);
    }

    pub fn freeze(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Awake {
            state.phase = Phase::Frozen(Instant::now());
        }
    }

    pub fn thaw(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Frozen(_)) {
            state.phase = Phase::Awake;
        }
        let held = std::mem::take(&mut state.held);
        drop(state);
        held.into_iter().for_each(Waker::wake);
    }

    /// What the first of its tasks to panic said.
    pub fn panic(&self) -> Option<String> {
        self.lock().panic.clone()
    }

    /// A task that ends with the node at the latest.
    pub fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        let owned = Owned {
            life: self.clone(),
            number,
            task,
        };
        if matches!(state.phase, Phase::Dead(_)) {
            // Its drop takes the lock.
            drop(state);
            drop(owned);
            return Task(None);
        }
        let handle = tokio::spawn(owned).abort_handle();
        state.tasks.insert(number, handle.clone());
        Task(Some(handle))
    }

    /// Whether what the node does at `at` happens: waits while it is frozen by then, and says no if it is dead by then.
    pub(super) async fn lives_at(&self, at: Instant) -> bool {
        std::future::poll_fn(|context| {
            let mut state = self.lock();
            match state.phase {
                Phase::Dead(since) => Poll::Ready(at <= since),
                Phase::Frozen(since) if since < at => {
                    state.held.push(context.waker().clone());
                    Poll::Pending
                }
                Phase::Awake | Phase::Frozen(_) => Poll::Ready(true),
            }
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task of a node.
struct Owned {
    life: Life,
    number: u64,
    task: BoxFuture<'static, ()>,
}

impl Future for Owned {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.life.lock();
        match state.phase {
            Phase::Awake => {}
            Phase::Frozen(_) => {
                state.held.push(context.waker().clone());
                return Poll::Pending;
            }
            Phase::Dead(_) => return Poll::Ready(()),
        }
        drop(state);
        let polled = catch_unwind(AssertUnwindSafe(|| self.task.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| {
            let said = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let said = said.unwrap_or_else(|| "a task has panicked".to_owned());
            self.life.lock().panic.get_or_insert(said);
            resume_unwind(panic)
        })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.life.lock().tasks.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::time::{Duration, sleep};

    /// Counts once a second until it is dropped, which counts a thousand.
    fn counting(life: &Life) -> Arc<AtomicU32> {
        struct AtEnd(Arc<AtomicU32>);
        impl Drop for AtEnd {
            fn drop(&mut self) {
                self.0.fetch_add(1_000, Ordering::Relaxed);
            }
        }
        let count = Arc::new(AtomicU32::new(0));
        let counted = AtEnd(count.clone());
        let counting = Box::pin(async move {
            loop {
                sleep(Duration::from_secs(1)).await;
                counted.0.fetch_add(1, Ordering::Relaxed);
            }
        });
        life.spawn(counting).detach();
        count
    }

    #[tokio::test(start_paused = true)]
    async fn the_frozen_stand_still_and_the_dead_are_gone() {
        let life = Life::default();
        let count = counting(&life);
        sleep(Duration::from_millis(2_500)).await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
        life.freeze();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
        life.thaw();
        sleep(Duration::from_millis(1_500)).await;
        // The second whose end it slept through, and the next.
        assert_eq!(count.load(Ordering::Relaxed), 4);
        let now = Instant::now();
        life.kill();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(count.load(Ordering::Relaxed), 1_004);
        assert!(life.lives_at(now).await && !life.lives_at(Instant::now()).await);
        assert!(life.panic().is_none());
        assert_eq!(counting(&life).load(Ordering::Relaxed), 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_node_can_be_killed_and_what_it_was_to_do_is_held_up() {
        let life = Life::default();
        let count = counting(&life);
        sleep(Duration::from_millis(1_500)).await;
        life.freeze();
        let before = Instant::now();
        sleep(Duration::from_secs(1)).await;
        assert!(life.lives_at(before).await);
        let later = Instant::now();
        let waiting = life.clone();
        let waiting = tokio::spawn(async move { waiting.lives_at(later).await });
        sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        life.kill();
        assert!(waiting.await.is_ok_and(|lives| !lives));
        assert_eq!(count.load(Ordering::Relaxed), 1_001);
    }

    #[tokio::test]
    async fn a_panic_is_remembered() {
        let life = Life::default();
        life.spawn(Box::pin(async { panic!("on purpose") }))
            .detach();
        tokio::task::yield_now().await;
        assert_eq!(life.panic().as_deref(), Some("on purpose"));
    }
}
