//! The server task's side of the engine, which works on a thread of its own, or on a task in a simulation: it makes one
//! batch durable while the next one is gathered (group commit).

use common::fabric::{BoxFuture, FabricHandle, Task};
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Slice;
use super::{Engine, EngineError, EngineStats, Recovered};
use crate::core::Change;

/// The task has one batch or question under way at a time.
const ORDERS_MAX: usize = 2;

/// What is made durable at once.
#[derive(Debug, Default)]
pub struct Batch {
    pub changes: Vec<Change>,
    /// Saved when the changes are durable.
    pub slice: Option<Slice>,
    pub now_ms: u64,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Done {
    /// Its changes are durable.
    Committed(Vec<Change>, EngineStats),
    /// It may be lost.
    Failed(EngineError),
}

enum Order {
    Commit(Batch),
    Recover(oneshot::Sender<Result<Option<Recovered>, EngineError>>),
    Resume(oneshot::Sender<Result<(), EngineError>>),
}

/// Orders to the engine's thread, which ends with it.
pub struct Writer {
    orders: mpsc::Sender<Order>,
    done: mpsc::Receiver<Done>,
    /// Batches that were handed over and not taken back.
    in_flight: usize,
    pub is_durable: bool,
    /// Where the engine works in a simulation; ends with this.
    task: Option<Task>,
}

/// How long a simulated disk takes for its next order.
pub type DiskPace = Box<dyn Fn() -> BoxFuture<'static, ()> + Send>;

impl Writer {
    /// Starts the thread. The engine is used nowhere else from now on.
    pub fn start(engine: impl Engine) -> std::io::Result<Self> {
        let (mut worker, mut inbox, writer) = Self::new(engine);
        std::thread::Builder::new()
            .name("storage-log".to_owned())
            .spawn(move || {
                while let Some(order) = inbox.blocking_recv() {
                    worker.perform(order);
                }
            })?;
        Ok(writer)
    }

    /// The same as a task of a simulation.
    pub fn simulated(engine: impl Engine, pace: DiskPace, fabric: &FabricHandle) -> Self {
        let (mut worker, mut inbox, mut writer) = Self::new(engine);
        writer.task = Some(fabric.spawn(Box::pin(async move {
            while let Some(order) = inbox.recv().await {
                pace().await;
                worker.perform(order);
            }
        })));
        writer
    }

    fn new<E: Engine>(engine: E) -> (Worker<E>, mpsc::Receiver<Order>, Self) {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let (results, done) = mpsc::channel(ORDERS_MAX);
        let writer = Self {
            orders,
            done,
            in_flight: 0,
            is_durable: engine.is_durable(),
            task: None,
        };
        let worker = Worker {
            engine,
            results,
            saved: Ok(()),
        };
        (worker, inbox, writer)
    }

    /// True while a batch is being made durable.
    pub fn is_busy(&self) -> bool {
        self.in_flight > 0
    }

    pub fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.in_flight += 1;
        self.order(Order::Commit(batch))
    }

    /// Waits for the batch under way; for ever when there is none. Whoever stops waiting has taken nothing back.
    pub async fn done(&mut self) -> Done {
        if self.in_flight == 0 {
            std::future::pending::<()>().await;
        }
        let done = self.done.recv().await;
        self.in_flight = self.in_flight.saturating_sub(1);
        done.unwrap_or(Done::Failed(gone()))
    }

    pub async fn recover(&self) -> Result<Option<Recovered>, EngineError> {
        let (answer, recovered) = oneshot::channel();
        self.order(Order::Recover(answer))?;
        recovered.await.map_err(|_| gone())?
    }

    pub async fn resume(&self) -> Result<(), EngineError> {
        let (answer, resumed) = oneshot::channel();
        self.order(Order::Resume(answer))?;
        resumed.await.map_err(|_| gone())?
    }

    /// Returns when the thread has let go of the data.
    pub async fn end(self) {
        let Self {
            orders,
            mut done,
            task: _task,
            ..
        } = self;
        drop(orders);
        while done.recv().await.is_some() {}
    }

    fn order(&self, order: Order) -> Result<(), EngineError> {
        self.orders.try_send(order).map_err(|_| gone())
    }
}

fn gone() -> EngineError {
    EngineError::Failed("the thread that writes the log has ended".to_owned())
}

/// Where the engine works.
struct Worker<E> {
    engine: E,
    /// One batch is under way at a time, so that there is room.
    results: mpsc::Sender<Done>,
    /// A slice that cannot be saved fails the next batch.
    saved: Result<(), EngineError>,
}

impl<E: Engine> Worker<E> {
    /// Whoever asked may have gone away; orders end when all have.
    fn perform(&mut self, order: Order) {
        match order {
            Order::Commit(batch) => {
                let saved = std::mem::replace(&mut self.saved, Ok(()));
                let committed =
                    saved.and_then(|()| commit(&mut self.engine, &batch.changes, batch.now_ms));
                let (done, slice) = match committed {
                    Ok(stats) => (Done::Committed(batch.changes, stats), batch.slice),
                    Err(error) => (Done::Failed(error), None),
                };
                drop(self.results.try_send(done));
                if let Some(slice) = slice {
                    self.saved = self.engine.save(slice);
                }
            }
            Order::Recover(answer) => drop(answer.send(self.engine.recover())),
            Order::Resume(answer) => drop(answer.send(self.engine.resume())),
        }
    }
}

fn commit(
    engine: &mut impl Engine,
    changes: &[Change],
    now_ms: u64,
) -> Result<EngineStats, EngineError> {
    if !changes.is_empty() {
        engine.commit(changes)?;
    }
    engine.tick(now_ms)?;
    Ok(engine.stats())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail")]

    use std::sync::mpsc as blocking;

    use futures::FutureExt;

    use super::*;

    /// Has made a batch durable when it is told so.
    struct Gate(blocking::Receiver<()>);

    impl Engine for Gate {
        fn recover(&mut self) -> Result<Option<Recovered>, EngineError> {
            Ok(None)
        }

        fn commit(&mut self, _: &[Change]) -> Result<(), EngineError> {
            Ok(())
        }

        fn save(&mut self, _: Slice) -> Result<(), EngineError> {
            Ok(())
        }

        fn tick(&mut self, _: u64) -> Result<(), EngineError> {
            self.0.recv().map_err(|_| gone())
        }

        fn resume(&mut self) -> Result<(), EngineError> {
            Ok(())
        }

        fn stats(&self) -> EngineStats {
            EngineStats::default()
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_batch_does_not_lose_it() {
        let (open, gate) = blocking::channel();
        let mut writer = Writer::start(Gate(gate)).unwrap();
        writer.commit(Batch::default()).unwrap();
        assert!(writer.done().now_or_never().is_none());
        assert!(writer.is_busy());
        open.send(()).unwrap();
        assert!(matches!(writer.done().await, Done::Committed(..)));
        assert!(!writer.is_busy());
    }
}
