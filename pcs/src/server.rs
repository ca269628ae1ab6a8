//! The one task that owns the core: turns calls and what happens to processes into inputs, and performs the outputs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::fabric::FabricHandle;
use tokio::sync::{mpsc, oneshot};

use crate::core::{
    Answer, CallId, Core, Input, Output, PcsError, ProcessId, Request, Signal, Spec,
};
use crate::launch::{Child, Launched, Launcher};
use crate::process::Printer;

/// Most inputs that wait for the server.
const INPUTS_MAX: usize = 1024;

type Reply = oneshot::Sender<Result<Answer, PcsError>>;

/// A request with the place for its answer, or the order to end.
pub enum Call {
    Request(Request, Reply),
    Shutdown,
}

/// What the service holds of the server. Cheap to clone.
#[derive(Clone)]
pub struct ServerHandle {
    calls: mpsc::Sender<Call>,
    counts: Arc<Counts>,
}

/// For the node's status.
#[derive(Default)]
struct Counts {
    sessions: AtomicU64,
    processes: AtomicU64,
}

impl ServerHandle {
    pub async fn request(&self, request: Request) -> Result<Answer, PcsError> {
        let (reply, answer) = oneshot::channel();
        let call = Call::Request(request, reply);
        self.calls
            .send(call)
            .await
            .map_err(|_| PcsError::ShuttingDown)?;
        answer.await.unwrap_or(Err(PcsError::ShuttingDown))
    }

    /// Stops every process; the server ends when the last was reaped.
    pub async fn shut_down(&self) {
        // It has ended already when this fails.
        let _ = self.calls.send(Call::Shutdown).await;
    }

    /// Sessions and processes.
    pub fn counts(&self) -> (u64, u64) {
        let Counts {
            sessions,
            processes,
        } = &*self.counts;
        (
            sessions.load(Ordering::Relaxed),
            processes.load(Ordering::Relaxed),
        )
    }
}

pub struct Server {
    core: Core,
    fabric: FabricHandle,
    launcher: Launcher,
    /// Of what processes say.
    printer: Option<Printer>,
    calls: mpsc::Receiver<Call>,
    inputs: mpsc::Receiver<Input>,
    /// Given to the tasks of launches and children.
    report: mpsc::Sender<Input>,
    outcomes: mpsc::Receiver<Outcome>,
    report_launch: mpsc::Sender<Outcome>,
    replies: BTreeMap<CallId, Reply>,
    last_call: CallId,
    children: BTreeMap<ProcessId, Child>,
    counts: Arc<Counts>,
}

/// What came of a launch.
struct Outcome {
    process: ProcessId,
    name: String,
    launched: Result<Launched, String>,
}

impl Server {
    pub fn new(
        core: Core,
        fabric: FabricHandle,
        launcher: Launcher,
        printer: Option<Printer>,
    ) -> (Self, ServerHandle) {
        let (call, calls) = mpsc::channel(INPUTS_MAX);
        let (report, inputs) = mpsc::channel(INPUTS_MAX);
        let (report_launch, outcomes) = mpsc::channel(INPUTS_MAX);
        let counts = Arc::<Counts>::default();
        let handle = ServerHandle {
            calls: call,
            counts: Arc::clone(&counts),
        };
        let server = Self {
            core,
            fabric,
            launcher,
            printer,
            calls,
            inputs,
            report,
            outcomes,
            report_launch,
            replies: BTreeMap::new(),
            last_call: 0,
            children: BTreeMap::new(),
            counts,
        };
        (server, handle)
    }

    /// Ends when it was told to shut down and the last child was reaped.
    pub async fn run(mut self) {
        while !self.core.is_shut_down() {
            let input = self.next().await;
            let mut outputs = Vec::new();
            self.core.step(self.fabric.now_ms(), input, &mut outputs);
            for output in outputs {
                self.perform(output);
            }
            let (sessions, processes) = self.core.counts();
            self.counts
                .sessions
                .store(sessions as u64, Ordering::Relaxed);
            self.counts
                .processes
                .store(processes as u64, Ordering::Relaxed);
        }
        // It has an end of the printer.
        drop(self.launcher);
        if let Some(printer) = self.printer {
            printer.close().await;
        }
    }

    /// What waits is taken before the time is looked at: a request that came in time is never late.
    async fn next(&mut self) -> Input {
        let wait_ms = self
            .core
            .deadline_ms()
            .map(|ms| ms.saturating_sub(self.fabric.now_ms()));
        let tick = async {
            match wait_ms {
                Some(ms) => self.fabric.sleep(Duration::from_millis(ms)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(outcome) = self.outcomes.recv() => self.accept(outcome),
            Some(input) = self.inputs.recv() => {
                if let Input::Exited { process, .. } = &input {
                    self.children.remove(process);
                }
                input
            }
            Some(call) = self.calls.recv() => match call {
                Call::Request(request, reply) => {
                    self.last_call += 1;
                    self.replies.insert(self.last_call, reply);
                    Input::Request { call: self.last_call, request }
                }
                Call::Shutdown => Input::Shutdown,
            },
            () = tick => Input::Tick,
        }
    }

    fn accept(&mut self, outcome: Outcome) -> Input {
        let process = outcome.process;
        let launched = match outcome.launched {
            Ok(launched) => launched,
            Err(why) => return Input::LaunchFailed { process, why },
        };
        let (pid, who) = (launched.pid(), (process, outcome.name));
        let child = launched.tend(who, &self.fabric, self.report.clone());
        self.children.insert(process, child);
        Input::Launched { process, pid }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Launch { process, spec } => self.launch(process, spec),
            Output::Signal { process, signal } => self.signal(process, signal),
            Output::Answer { call, answer } => {
                if let Some(reply) = self.replies.remove(&call) {
                    // A caller that went away does not want it.
                    let _ = reply.send(answer);
                }
            }
        }
    }

    fn launch(&self, process: ProcessId, spec: Spec) {
        let (launcher, report) = (self.launcher.clone(), self.report_launch.clone());
        let launch = async move {
            let name = spec.name.clone();
            let outcome = Outcome {
                process,
                name,
                launched: launcher.launch(spec).await,
            };
            // When the server has ended, this drops the child, which kills it.
            let _ = report.send(outcome).await;
        };
        self.fabric.spawn(Box::pin(launch)).detach();
    }

    fn signal(&self, process: ProcessId, signal: Signal) {
        if let Some(child) = self.children.get(&process) {
            child.signal(signal);
        }
    }
}
