//! The task that owns the state machine: events become inputs, outputs are performed.

use std::collections::BTreeMap;

use common::fabric::{BoxFuture, Duration, FabricHandle};
use common::node::Identity;
use common::proto::{CancelRunRequest, TaskName, worker};
use common::status::{Kind, Status};
use common::types::{ComponentHash, Ring, WorkerAddress};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use crate::convert;
use crate::core::{Answer, Change, Core, Dispatch, Input, Output, RunNumber};
use crate::records::{Found, RunStore};

/// Requests that wait for the server.
pub const EVENTS_MAX: usize = 4_096;
/// Clients that wait for the outcome of one run at once; further ones are answered at once.
const WAITING_CLIENTS_MAX: usize = 1_024;
/// How often silence and deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often the storage is told which runs are over.
const FORGET_MS: u64 = 2_000;
/// How long a worker may take to accept a task or a cancellation.
pub const WORKER_CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a worker may fetch and compile a component.
pub const PREPARE_TIMEOUT: Duration = Duration::from_mins(2);

/// Reads the machine's state between two steps; gets the time too.
pub type Inspection = Box<dyn FnOnce(&Core, u64) + Send>;

/// Everything that reaches the server.
pub enum Event {
    /// An input; the answer of its step, if it has one.
    Request(Input, oneshot::Sender<Option<Answer>>),
    Inspect(Inspection),
    /// This scheduler leads: where to keep runs, and what was kept before.
    Lead(RunStore, Found),
    /// Another scheduler leads: everything is forgotten.
    StandBy,
    /// Tell when the run is kept.
    AwaitKept(RunNumber, oneshot::Sender<()>),
    /// Tell when the run has its outcome: at once if it has it already or is not known.
    AwaitOutcome(RunNumber, oneshot::Sender<()>),
}

/// How the services reach the server. Cheap to clone.
#[derive(Clone)]
pub struct ServerHandle(pub mpsc::Sender<Event>);

impl ServerHandle {
    pub async fn tell(&self, event: Event) -> Result<(), Status> {
        self.0.send(event).await.map_err(|_| not_leading())
    }

    /// The answer of the input's step, if it has one.
    pub async fn request(&self, input: Input) -> Result<Option<Answer>, Status> {
        let (reply, answer) = oneshot::channel();
        self.tell(Event::Request(input, reply)).await?;
        answer.await.map_err(|_| not_leading())
    }

    /// What `look` finds between two steps.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core, u64) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let inspection = Box::new(move |core: &Core, now_ms| {
            // A caller that has given up needs no answer.
            let _ = reply.send(look(core, now_ms));
        });
        self.tell(Event::Inspect(inspection)).await?;
        answer.await.map_err(|_| not_leading())
    }
}

fn not_leading() -> Status {
    Status::unavailable("the scheduler is stopping, or does not lead")
}

/// A call to a worker; what to tell the machine when it is over.
type Call = BoxFuture<'static, Option<Input>>;

/// What a machine begins with.
pub struct Start {
    pub ring: Option<Ring>,
    pub warm_up: bool,
    pub keep_runs: usize,
}

impl Start {
    fn core(&self, now_ms: u64, ring: Option<Ring>) -> Core {
        Core::new(now_ms, ring, self.warm_up, self.keep_runs)
    }
}

pub struct Server {
    identity: Identity,
    fabric: FabricHandle,
    /// What the machine begins with, and begins again with when another scheduler has led.
    start: Start,
    core: Core,
    /// Absent: this scheduler does not lead.
    store: Option<RunStore>,
    /// When the storage is told next which runs are over.
    forget_ms: u64,
    keeping: BTreeMap<RunNumber, Vec<oneshot::Sender<()>>>,
    waiting: BTreeMap<RunNumber, Vec<oneshot::Sender<()>>>,
    calls: FuturesUnordered<Call>,
}

impl Server {
    pub fn new(identity: Identity, fabric: FabricHandle, start: Start) -> Self {
        let core = start.core(fabric.now_ms(), start.ring.clone());
        Self {
            identity,
            fabric,
            start,
            core,
            store: None,
            forget_ms: 0,
            keeping: BTreeMap::new(),
            waiting: BTreeMap::new(),
            calls: FuturesUnordered::new(),
        }
    }

    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        tokio::pin!(shutdown);
        let mut tick = self.fabric.sleep(TICK);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                Some(event) = inbox.recv() => self.take(event),
                Some(over) = self.calls.next(), if !self.calls.is_empty() => {
                    if let Some(input) = over {
                        self.step(input);
                    }
                }
                () = &mut tick => {
                    self.step(Input::Tick);
                    self.forget();
                    tick = self.fabric.sleep(TICK);
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            // Dropped, the reply tells that this scheduler does not lead.
            Event::Request(input, _) if !self.takes(&input) => {}
            Event::Request(input, reply) => {
                let answer = self.step(input);
                // A caller that has given up needs no answer.
                let _ = reply.send(answer);
            }
            Event::Inspect(inspection) => inspection(&self.core, self.fabric.now_ms()),
            Event::Lead(store, Found { runs, submitted }) => {
                self.store = Some(store);
                self.step(Input::Recover { runs, submitted });
            }
            Event::StandBy => self.stand_by(),
            Event::AwaitKept(number, reply) => self.await_kept(number, reply),
            Event::AwaitOutcome(number, reply) => self.await_outcome(number, reply),
        }
    }

    /// What concerns runs is for the scheduler that leads. Without a ring nobody does: the machine refuses for that.
    fn takes(&self, input: &Input) -> bool {
        let is_of_leader = matches!(
            input,
            Input::Submit(_) | Input::StageDone(_) | Input::Reassign { .. } | Input::Cancel { .. }
        );
        self.store.is_some() || self.core.ring().is_none() || !is_of_leader
    }

    /// Whoever waits is told by a dropped sender.
    fn stand_by(&mut self) {
        let ring = self.core.ring().map(|ring| ring.as_ref().clone());
        self.core = self.start.core(self.fabric.now_ms(), ring);
        self.store = None;
        self.keeping.clear();
        self.waiting.clear();
        self.calls.clear();
    }

    /// A dropped reply means that there is no such run here.
    fn await_kept(&mut self, number: RunNumber, reply: oneshot::Sender<()>) {
        match self.core.run(number) {
            Some(run) if !run.kept => self.keeping.entry(number).or_default().push(reply),
            // A caller that has given up needs no answer.
            Some(_) => drop(reply.send(())),
            None => {}
        }
    }

    /// A dropped reply means that there is nothing to wait for, or no room to do so.
    fn await_outcome(&mut self, number: RunNumber, reply: oneshot::Sender<()>) {
        if self.core.run(number).is_none_or(|run| run.settled) {
            return;
        }
        let clients = self.waiting.entry(number).or_default();
        clients.retain(|client| !client.is_closed());
        if clients.len() < WAITING_CLIENTS_MAX {
            clients.push(reply);
        }
    }

    fn step(&mut self, input: Input) -> Option<Answer> {
        match &input {
            Input::Kept { run } => {
                for waiting in self.keeping.remove(run).into_iter().flatten() {
                    // A caller that has given up needs no answer.
                    let _ = waiting.send(());
                }
            }
            // Dropping the senders wakes the clients, once the step is done.
            Input::Settled { run } => drop(self.waiting.remove(run)),
            _ => {}
        }
        let mut outputs = Vec::new();
        self.core.step(self.fabric.now_ms(), input, &mut outputs);
        let mut answer = None;
        for output in outputs {
            match output {
                Output::Answer(given) => answer = Some(given),
                Output::Send(dispatch) => self.send(&dispatch),
                Output::CancelRun { worker, run } => self.cancel(worker, run),
                Output::StopTask {
                    worker,
                    run,
                    attempt,
                    stage,
                    task,
                } => {
                    let name = TaskName {
                        run,
                        scheduler_incarnation: self.lineage(),
                        attempt,
                        stage: u32::try_from(stage).unwrap_or(u32::MAX),
                        task,
                    };
                    self.stop(&worker, name);
                }
                Output::Prepare { worker, component } => self.prepare(worker, component),
                Output::Changed { run, change } => self.tell(run, &change),
                Output::Keep { run } => self.keep(run),
                Output::Finished { run, .. } => self.keep_outcome(run),
                Output::Forgotten { run } => {
                    if let Some(store) = &self.store {
                        store.forget(run);
                    }
                }
                Output::WorkerAppeared { worker } => {
                    tracing::info!(worker, "a worker has registered");
                }
                Output::WorkerLost { worker, cause } => tracing::warn!(worker, "a worker {cause}"),
            }
        }
        answer
    }

    fn keep(&mut self, run: RunNumber) {
        let (Some(store), Some(of)) = (self.store.clone(), self.core.run(run)) else {
            return;
        };
        let record = store.run(of);
        self.calls.push(Box::pin(async move {
            store.keep(record).await;
            Some(Input::Kept { run })
        }));
    }

    /// Nobody is told of the outcome before it is kept.
    fn keep_outcome(&mut self, run: RunNumber) {
        let (Some(store), Some(of)) = (self.store.clone(), self.core.run(run)) else {
            return;
        };
        let record = store.outcome(of);
        self.calls.push(Box::pin(async move {
            if let Some(record) = record {
                store.keep(record).await;
            }
            Some(Input::Settled { run })
        }));
    }

    /// Now and then the storage may forget what the tasks of runs did that are over for good.
    fn forget(&mut self) {
        let now_ms = self.fabric.now_ms();
        let Some(store) = self.store.clone().filter(|_| now_ms >= self.forget_ms) else {
            return;
        };
        self.forget_ms = now_ms + FORGET_MS;
        let over = self.core.submitted() + 1;
        let except = self.core.unsettled();
        self.calls.push(Box::pin(async move {
            if let Err(status) = store.forget_updates(over, except).await {
                tracing::debug!(%status, "a storage node goes on remembering what tasks did");
            }
            None
        }));
    }

    /// Names the scheduler, over all its lives, that counts the runs.
    fn lineage(&self) -> u64 {
        self.store
            .as_ref()
            .map_or(0, |store| store.ledger.term.lineage)
    }

    fn tell(&self, run: RunNumber, change: &Change) {
        match change {
            // It is tried again; a lost worker has been told of once, not for each of its runs.
            Change::StageFailed { .. } => tracing::info!(run, "{change}"),
            Change::Waiting { .. } => tracing::warn!(run, "{change}"),
            Change::Submitted { .. } | Change::Ended { .. } => {
                tracing::info!(target: "run", run, "{change}");
            }
            _ => tracing::debug!(run, "{change}"),
        }
        self.identity.debug(|| format!("run {run} {change}"));
    }

    fn send(&mut self, dispatch: &Dispatch) {
        let task = convert::task(dispatch, self.lineage());
        let (run, attempt, stage) = (dispatch.run, dispatch.attempt, dispatch.stage);
        let number = dispatch.task;
        let client = self.client(&dispatch.worker);
        self.calls.push(Box::pin(async move {
            let failure = client.execute(&task).await.err()?;
            tracing::warn!(run, attempt, stage, %failure, "a task did not reach its worker");
            Some(Input::SendFailed {
                run,
                attempt,
                stage,
                task: number,
                // The worker may be slow, or only its answer was lost.
                may_have_arrived: failure.kind == Kind::Timeout,
            })
        }));
    }

    /// A lost cancellation is not repeated: the deadline that the task carries ends it too.
    fn cancel(&mut self, worker: WorkerAddress, run: RunNumber) {
        let client = self.client(&worker);
        let request = CancelRunRequest {
            run,
            scheduler_incarnation: self.lineage(),
        };
        self.calls.push(Box::pin(async move {
            if let Err(failure) = client.cancel_run(&request).await {
                tracing::debug!(run, worker = worker.name, %failure, "a cancellation was lost");
            }
            None
        }));
    }

    /// Lost, it only wastes what the worker does.
    fn stop(&mut self, worker: &WorkerAddress, name: TaskName) {
        let client = self.client(worker);
        self.calls.push(Box::pin(async move {
            if let Err(failure) = client.stop_task(&name).await {
                tracing::debug!(run = name.run, task = name.task, %failure, "a needless task was not stopped");
            }
            None
        }));
    }

    fn prepare(&mut self, worker: WorkerAddress, component: ComponentHash) {
        let fabric = self.fabric.clone();
        let client = worker::Client::new(fabric, worker.address, PREPARE_TIMEOUT);
        let request = convert::prepare_request(component);
        let worker = worker.name;
        self.calls.push(Box::pin(async move {
            let failure = client.prepare(&request).await.err()?;
            tracing::info!(worker, ?component, %failure, "a worker is not ready for a component");
            Some(Input::PrepareFailed { worker, component })
        }));
    }

    fn client(&self, worker: &WorkerAddress) -> worker::Client {
        worker::Client::new(
            self.fabric.clone(),
            worker.address.clone(),
            WORKER_CALL_TIMEOUT,
        )
    }
}
