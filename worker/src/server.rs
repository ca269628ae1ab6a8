//! The task that owns the state machine: events become inputs, outputs are performed.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::fabric::{self, BoxFuture, FabricHandle};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use crate::core::{Account, Core, Ended, Input, Output, Refusal, Task, TaskKey};
use crate::courier::Courier;
use crate::stage::Bench;

/// Requests that wait for the server.
pub const EVENTS_MAX: usize = 1_024;

/// Everything that reaches the server from outside.
pub enum Event {
    /// An input; the answer of its step, if it has one.
    Request(Box<Input>, oneshot::Sender<Option<Result<(), Refusal>>>),
    /// What the machine has to do right now.
    Load(oneshot::Sender<Load>),
}

/// How busy the worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub running: usize,
    pub queued: usize,
    /// Tasks that were ever given a slot.
    pub started: u64,
    /// Reports and requests that are not acknowledged.
    pub deliveries: usize,
}

pub struct Server {
    fabric: FabricHandle,
    core: Core,
    bench: Bench,
    courier: Courier,
    /// Dropping one stops it.
    running: BTreeMap<TaskKey, fabric::Task>,
    /// What the machine will be told when a stage ends or a delivery is over.
    pending: FuturesUnordered<BoxFuture<'static, Input>>,
}

impl Server {
    pub fn new(fabric: FabricHandle, slots: usize, bench: Bench, courier: Courier) -> Self {
        let core = Core::new(slots);
        let (running, pending) = (BTreeMap::new(), FuturesUnordered::new());
        Self {
            fabric,
            core,
            bench,
            courier,
            running,
            pending,
        }
    }

    /// Runs until every sender of events is gone; dropped, it stops all tasks.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        loop {
            tokio::select! {
                event = inbox.recv() => match event {
                    Some(event) => self.take(event),
                    None => return,
                },
                Some(input) = self.pending.next(), if !self.pending.is_empty() => drop(self.step(input)),
            }
        }
    }

    fn take(&mut self, event: Event) {
        // A caller that has given up needs no answer.
        match event {
            Event::Request(input, reply) => drop(reply.send(self.step(*input))),
            Event::Load(reply) => drop(reply.send(Load {
                running: self.core.running(),
                queued: self.core.queued(),
                started: self.core.started(),
                deliveries: self.core.deliveries(),
            })),
        }
    }

    fn step(&mut self, input: Input) -> Option<Result<(), Refusal>> {
        if let Input::Ended { key, .. } = &input {
            self.running.remove(key);
        }
        let mut outputs = Vec::new();
        self.core.step(self.fabric.now_ms(), input, &mut outputs);
        let mut answer = None;
        for output in outputs {
            match output {
                Output::Answer(given) => answer = Some(given),
                Output::Start { task, time_ms } => self.start(task, time_ms),
                Output::Stop { key } => drop(self.running.remove(&key)),
                Output::Report(report) => self.deliver(self.courier.clone().report(report)),
                Output::Forward(forward) => self.deliver(self.courier.clone().forward(forward)),
            }
        }
        answer
    }

    fn deliver(&mut self, delivery: impl Future<Output = ()> + Send + 'static) {
        self.pending.push(Box::pin(async move {
            delivery.await;
            Input::Delivered
        }));
    }

    fn start(&mut self, task: Arc<Task>, time_ms: u64) {
        let key = task.key;
        let (sender, end) = oneshot::channel();
        let bench = self.bench.clone();
        let handle = self.fabric.spawn(Box::pin(async move {
            // Nobody listens any more when the task was stopped.
            let _ = sender.send(bench.run(task, time_ms).await);
        }));
        self.running.insert(key, handle);
        self.pending.push(Box::pin(async move {
            // The sender is gone when the task was stopped, which the machine knows, or when the host panicked.
            let lost = |_| {
                let reason = "the worker lost the task".to_owned();
                let permanent = false;
                (Ended::Failed { reason, permanent }, Account::default())
            };
            let (end, account) = end.await.unwrap_or_else(lost);
            Input::Ended { key, end, account }
        }));
    }
}
