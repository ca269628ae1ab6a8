//! Nodes that are tasks of this process: for a whole cluster in one process, or in a simulation.
//!
//! What a node leaves in the process, such as the thread of its log, ends a moment later; who comes after it waits for that
//! (`storage/src/disk/files.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::fabric::{BoxFuture, FabricHandle, Life};
use common::node::OnReady;
use tokio::sync::{mpsc, oneshot};

use crate::core::{Input, ProcessId, Signal, Spec};
use crate::launch::Child;

/// What is to be run as a task.
pub struct Order {
    pub name: String,
    /// `scheduler`, `storage` or `worker`.
    pub role: &'static str,
    /// As on the command line, after the role.
    pub arguments: Vec<String>,
    /// The node is to end in good order when this does.
    pub shutdown: BoxFuture<'static, ()>,
    pub on_ready: OnReady,
}

/// A node that can be run.
pub struct NodeTask {
    /// Of all that it does.
    pub life: Life,
    /// Runs until the node ends; the error is for people.
    pub run: BoxFuture<'static, Result<(), String>>,
}

pub type MakeNode = Arc<dyn Fn(Order) -> NodeTask + Send + Sync>;

#[derive(Clone)]
pub struct Tasks {
    make: MakeNode,
    /// Numbers the tasks.
    last: Arc<AtomicU32>,
}

pub struct NewTask {
    pub number: u32,
    node: NodeTask,
    ready: oneshot::Receiver<()>,
    shutdown: oneshot::Sender<()>,
}

/// Nothing of a node outlives who tends it.
struct EndOfLife(Life);

impl Drop for EndOfLife {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl Tasks {
    pub fn new(make: MakeNode) -> Self {
        Self {
            make,
            last: Arc::default(),
        }
    }

    pub fn launch(&self, spec: Spec) -> NewTask {
        let (shutdown, asked) = oneshot::channel();
        let (tell, ready) = oneshot::channel();
        let order = Order {
            name: spec.name,
            role: spec.role.as_str(),
            arguments: spec.arguments,
            shutdown: Box::pin(async { drop(asked.await) }),
            on_ready: Box::new(move |_| {
                let _ = tell.send(());
            }),
        };
        NewTask {
            number: self.last.fetch_add(1, Ordering::Relaxed) + 1,
            node: (self.make)(order),
            ready,
            shutdown,
        }
    }
}

impl NewTask {
    pub fn tend(
        self,
        process: ProcessId,
        fabric: &FabricHandle,
        inputs: mpsc::Sender<Input>,
    ) -> Child {
        let (signals, ordered) = mpsc::channel(Child::SIGNALS_MAX);
        let tender = fabric.spawn(Box::pin(self.run(process, ordered, inputs)));
        Child {
            signals,
            _tender: tender,
        }
    }

    /// Senders fail only when the server has ended.
    async fn run(
        self,
        process: ProcessId,
        mut signals: mpsc::Receiver<Signal>,
        inputs: mpsc::Sender<Input>,
    ) {
        let Self {
            node: NodeTask { life, run },
            mut ready,
            shutdown,
            ..
        } = self;
        let end_of_life = EndOfLife(life.clone());
        let (end, mut ended) = oneshot::channel();
        let running = life.spawn(Box::pin(async {
            let _ = end.send(run.await);
        }));
        let (mut shutdown, mut is_starting) = (Some(shutdown), true);
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut ended => break ended.ok(),
                told = &mut ready, if is_starting => {
                    is_starting = false;
                    if told.is_ok() {
                        let _ = inputs.send(Input::Ready { process }).await;
                    }
                }
                Some(signal) = signals.recv() => {
                    match signal {
                        // Dropping it is the signal.
                        Signal::Terminate => shutdown = None,
                        Signal::Kill => life.kill(),
                        Signal::Freeze => life.freeze(),
                        Signal::Unfreeze => life.thaw(),
                    }
                    if matches!(signal, Signal::Freeze | Signal::Unfreeze) {
                        let _ = inputs.send(Input::Signalled { process }).await;
                    }
                }
            }
        };
        drop((shutdown, running, end_of_life));
        let (how, last_words) = describe(ended, life.panic());
        let _ = inputs
            .send(Input::Exited {
                process,
                how,
                last_words,
            })
            .await;
    }
}

/// How it has ended, and what it said last.
fn describe(ended: Option<Result<(), String>>, panic: Option<String>) -> (String, String) {
    match (ended, panic) {
        (_, Some(panic)) => ("it has panicked".to_owned(), panic),
        (Some(Ok(())), None) => ("it has ended".to_owned(), String::new()),
        (Some(Err(why)), None) => ("it has failed".to_owned(), why),
        (None, None) => ("killed".to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a test may fail")]

    use super::*;
    use crate::core::Role;
    use common::fabric::{Address, Fabric, LocalFabric, Router};

    /// Serves until it is told to end; its arguments say what else it does.
    fn node(order: Order) -> NodeTask {
        let fabric = LocalFabric::default();
        let life = fabric.life().clone();
        let run = Box::pin(async move {
            let [does] = &order.arguments[..] else {
                panic!("{:?}", order.arguments);
            };
            match does.as_str() {
                "fails" => return Err("the disk is gone".to_owned()),
                "panics" => panic!("on purpose"),
                _ => {}
            }
            let address = Address::parse("localhost:0").unwrap();
            let serving = fabric.serve(&address, Router::default()).await.unwrap();
            (order.on_ready)(&serving);
            order.shutdown.await;
            Ok(())
        });
        NodeTask { life, run }
    }

    /// What is reported of a node that gets this signal once it is ready.
    async fn reported(does: &str, signal: Signal) -> Vec<String> {
        let fabric: FabricHandle = Arc::new(LocalFabric::default());
        let spec = Spec {
            session: "session".to_owned(),
            name: "s1".to_owned(),
            role: Role::Storage,
            arguments: vec![does.to_owned()],
        };
        let (inputs, mut reports) = mpsc::channel(8);
        let child = Tasks::new(Arc::new(node)).launch(spec);
        let child = child.tend(1, &fabric, inputs);
        let mut reported = Vec::new();
        while let Some(report) = reports.recv().await {
            match report {
                Input::Ready { process: 1 } => {
                    reported.push("ready".to_owned());
                    child.signal(signal);
                }
                Input::Exited {
                    process: 1,
                    how,
                    last_words,
                } => reported.push(format!("{how}: {last_words}")),
                _ => panic!("another report"),
            }
        }
        reported
    }

    #[tokio::test]
    async fn a_node_ends_as_it_is_told_or_says_why_by_itself() {
        assert_eq!(
            reported("serves", Signal::Terminate).await,
            ["ready", "it has ended: "]
        );
        assert_eq!(
            reported("serves", Signal::Kill).await,
            ["ready", "killed: "]
        );
        assert_eq!(
            reported("fails", Signal::Kill).await,
            ["it has failed: the disk is gone"]
        );
        let [panicked] = &reported("panics", Signal::Kill).await[..] else {
            panic!("more than one report");
        };
        assert!(panicked.contains("on purpose"), "{panicked}");
    }
}
