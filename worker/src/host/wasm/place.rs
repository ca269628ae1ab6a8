//! Where a task runs: on its caller's thread as long as it is quick, otherwise on the operators' threads.
//!
//! Going to another thread and back takes longer than a small operator does. So a task begins on its caller's thread if
//! the last [`QUICK_TASKS_MIN`] of its component were all quick, and no other task is at that right now. It leaves when it
//! has not ended at the next tick of the epoch. Therefore at most one of the caller's threads is ever held up, at most
//! for one [`EPOCH_TICK`](crate::host::limits::EPOCH_TICK), and what is known to be busy never begins there.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::task::JoinSet;

use super::paced::Paced;
use super::threads::OperatorThreads;
use crate::host::limits::{QUICK, QUICK_TASKS_MIN};

/// Set when a task has not ended by a tick of the epoch; shared with its store.
pub(super) type Ticked = Arc<AtomicBool>;

/// How many tasks of a component in a row were quick.
#[derive(Default)]
pub(super) struct Quickness(AtomicU32);

impl Quickness {
    fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= QUICK_TASKS_MIN
    }

    /// At the end of a task.
    fn note(&self, took: Duration) {
        if took > QUICK {
            self.0.store(0, Ordering::Relaxed);
        } else if !self.is_known() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A task that is being run. Dropped, it ends at the next tick of the epoch.
pub(super) struct Running<T> {
    place: Place<T>,
    threads: Arc<OperatorThreads>,
    ticked: Ticked,
}

enum Place<T> {
    Here(Timed<T>),
    There(JoinSet<T>),
}

/// Where the tasks of an engine run.
#[derive(Clone)]
pub(super) enum Places {
    Threads(Arc<OperatorThreads>),
    /// In a simulation's one thread, where computing takes virtual time.
    Simulated,
}

impl Places {
    /// Runs a task to its end; the error says how it was lost.
    pub(super) fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
        quickness: &Arc<Quickness>,
        ticked: Ticked,
    ) -> Placed<T> {
        match self {
            Self::Threads(threads) => Placed::Real(Running::new(task, quickness, threads, ticked)),
            Self::Simulated => Placed::Simulated(Paced::new(task)),
        }
    }
}

/// A task where it runs.
pub(super) enum Placed<T> {
    Real(Running<T>),
    Simulated(Paced<T>),
}

impl<T: Send + 'static> Future for Placed<T> {
    type Output = Result<T, String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Real(running) => Pin::new(running).poll(context),
            Self::Simulated(paced) => Pin::new(paced).poll(context).map(Ok),
        }
    }
}

impl<T: Send + 'static> Running<T> {
    fn new(
        task: impl Future<Output = T> + Send + 'static,
        quickness: &Arc<Quickness>,
        threads: &Arc<OperatorThreads>,
        ticked: Ticked,
    ) -> Self {
        let task = Timed {
            task: Box::pin(task),
            took: Duration::ZERO,
            quickness: quickness.clone(),
        };
        let place = if quickness.is_known() {
            Place::Here(task)
        } else {
            Place::There(task.on(threads))
        };
        Self {
            place,
            threads: threads.clone(),
            ticked,
        }
    }

    /// None: it has to go on elsewhere.
    fn poll_here(&mut self, context: &mut Context<'_>) -> Option<Poll<T>> {
        let Place::Here(task) = &mut self.place else {
            return None;
        };
        let _only_one = self.threads.borrow_caller()?;
        let polled = Pin::new(task).poll(context);
        let goes_on = polled.is_ready() || !self.ticked.load(Ordering::Relaxed);
        goes_on.then_some(polled)
    }
}

impl<T: Send + 'static> Future for Running<T> {
    /// The error says how the task was lost.
    type Output = Result<T, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(polled) = self.poll_here(context) {
            return polled.map(Ok);
        }
        let place = std::mem::replace(&mut self.place, Place::There(JoinSet::new()));
        let mut running = match place {
            Place::Here(task) => task.on(&self.threads),
            Place::There(running) => running,
        };
        let polled = running.poll_join_next(context);
        self.place = Place::There(running);
        polled.map(ended)
    }
}

/// What came of the one task of a set, which was not aborted.
fn ended<T>(joined: Option<Result<T, tokio::task::JoinError>>) -> Result<T, String> {
    match joined {
        Some(Ok(result)) => Ok(result),
        Some(Err(error)) => Err(format!("an operator's task was lost: {error}")),
        None => Err("an operator's task was lost".to_owned()),
    }
}

/// Adds up how long a task computes, and notes it when the task ends, however it does.
struct Timed<T> {
    task: BoxFuture<'static, T>,
    took: Duration,
    quickness: Arc<Quickness>,
}

impl<T: Send + 'static> Timed<T> {
    fn on(self, threads: &OperatorThreads) -> JoinSet<T> {
        let mut running = JoinSet::new();
        running.spawn_on(self, threads.handle());
        running
    }
}

impl<T> Future for Timed<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let begun = Instant::now();
        let polled = self.task.as_mut().poll(context);
        self.took += begun.elapsed();
        polled
    }
}

impl<T> Drop for Timed<T> {
    fn drop(&mut self) {
        self.quickness.note(self.took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads() -> Arc<OperatorThreads> {
        Arc::new(OperatorThreads::start().unwrap())
    }

    fn known() -> Arc<Quickness> {
        let quickness = Arc::<Quickness>::default();
        for _ in 0..QUICK_TASKS_MIN {
            quickness.note(Duration::ZERO);
        }
        quickness
    }

    /// The name of the thread that it runs on, before and after it has yielded once as the epoch makes it.
    async fn names(ticked: Option<Ticked>) -> [String; 2] {
        let name = || {
            let thread = std::thread::current();
            thread.name().unwrap_or_default().to_owned()
        };
        let before = name();
        if let Some(ticked) = ticked {
            ticked.store(true, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
        [before, name()]
    }

    const ELSEWHERE: &str = "wasm-operator";

    #[tokio::test]
    async fn what_is_not_known_to_be_quick_never_runs_on_its_callers_thread() {
        let quickness = Arc::default();
        let running = Running::new(names(None), &quickness, &threads(), Ticked::default());
        assert_eq!(running.await.unwrap(), [ELSEWHERE, ELSEWHERE]);
    }

    #[tokio::test]
    async fn what_is_quick_runs_on_its_callers_thread_until_a_tick() {
        let (threads, quickness) = (threads(), known());
        let here = std::thread::current().name().unwrap().to_owned();
        let running = Running::new(names(None), &quickness, &threads, Ticked::default());
        assert_eq!(running.await.unwrap(), [here.as_str(), &here]);
        let ticked = Ticked::default();
        let busy = names(Some(ticked.clone()));
        let running = Running::new(busy, &quickness, &threads, ticked);
        assert_eq!(running.await.unwrap(), [here.as_str(), ELSEWHERE]);
    }

    #[tokio::test]
    async fn at_most_one_runs_on_a_callers_thread() {
        let threads = threads();
        let _other = threads.borrow_caller().unwrap();
        let running = Running::new(names(None), &known(), &threads, Ticked::default());
        assert_eq!(running.await.unwrap(), [ELSEWHERE, ELSEWHERE]);
    }

    #[test]
    fn one_busy_task_makes_its_component_unknown_again() {
        let quickness = known();
        assert!(quickness.is_known());
        quickness.note(QUICK * 2);
        assert!(!quickness.is_known());
    }
}
