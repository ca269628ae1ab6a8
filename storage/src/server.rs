//! One task that owns the core: turns events into inputs, hands what must be durable to the engine's thread, and
//! performs the outputs, in order, when it is (I11). What comes meanwhile is the next batch (group commit).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::fabric::{FabricHandle, Task, encode};
use common::node::Identity;
use common::proto::{self, storage};
use common::status::Status;
use common::types::{ReplicaId, Ring};
use tokio::sync::{mpsc, oneshot};

use crate::codec;
use crate::core::client::visible;
use crate::core::durable::{Durable, Founding};
use crate::core::message::Message;
use crate::core::{Change, Envelope, Halt, Input, Output, Refusal, Reply, Start, Storage, Token};
use crate::engine::checkpoint::{CHECKPOINT_BYTES, Checkpointer};
use crate::engine::writer::{Batch, Done, Writer};
use crate::engine::{EngineError, EngineStats, Recovered};

/// Events that wait for the task, at most; senders wait when it is full.
pub const EVENTS_MAX: usize = 4_096;
/// Outputs that wait while a batch is made durable; more events wait in their queue.
const PENDING_MAX: usize = 4_096;
/// Events handled before the outputs are looked at.
const EVENTS_AT_ONCE: usize = 256;
/// The core is told the time this often.
const TICK: Duration = Duration::from_millis(25);
/// A full disk is tried again this often.
const RESUME_MS: u64 = 1_000;

pub type Answer = oneshot::Sender<Result<Reply, Refusal>>;

/// A question that the core answers at once and without a change.
pub type Query = Box<dyn FnOnce(&Storage, View) + Send>;

/// What a question may need beside the core.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub now_ms: u64,
    pub stats: EngineStats,
}

pub enum Event {
    /// A client's request: the input is made with the token under which the answer will come.
    Request(Box<dyn FnOnce(Token) -> Input + Send>, Answer),
    Query(Query),
    Peer(Box<Envelope>),
    CertifyDeath {
        replica: ReplicaId,
        incarnation: u64,
        done: oneshot::Sender<()>,
    },
    SetRing {
        ring: Ring,
        fresh: bool,
        done: oneshot::Sender<Result<(), Status>>,
    },
}

/// Why the task has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("{0}")]
    Halt(Halt),
}

/// How the services reach the task.
#[derive(Clone)]
pub struct ServerHandle(pub mpsc::Sender<Event>);

impl ServerHandle {
    pub async fn tell(&self, event: Event) -> Result<(), Status> {
        self.0
            .send(event)
            .await
            .map_err(|_| Status::unavailable("the storage node is stopping"))
    }
}

pub struct Server {
    identity: Identity,
    fabric: FabricHandle,
    gossip_delay_ms: u64,
    /// The node's data takes the place of data that was lost.
    replaces: bool,
    writer: Writer,
    /// Absent until the ring is set.
    node: Option<Node>,
    waiting: BTreeMap<Token, Answer>,
    next_token: Token,
    stats: EngineStats,
    /// Not yet handed to the writer.
    pending: Vec<Output>,
}

struct Node {
    core: Storage,
    me: ReplicaId,
    ring: Arc<Ring>,
    ring_hash: u64,
    disk: u64,
    checkpointer: Checkpointer,
    /// Of the last change.
    sequence: u64,
    resume_at_ms: Option<u64>,
}

impl Node {
    fn new(core: Storage, checkpointer: Checkpointer, sequence: u64) -> Self {
        let founding = &core.durable().founding;
        Self {
            me: founding.replica,
            ring_hash: founding.ring.settings_hash(),
            ring: Arc::new(founding.ring.clone()),
            disk: founding.disk,
            core,
            checkpointer,
            sequence,
            resume_at_ms: None,
        }
    }
}

/// What a server starts with.
pub struct Settings {
    pub gossip_delay_ms: u64,
    pub replaces: bool,
}

impl Server {
    /// A node that goes on with what was recovered, or waits for its ring.
    pub fn new(
        identity: Identity,
        fabric: FabricHandle,
        settings: &Settings,
        writer: Writer,
        recovered: Option<Recovered>,
    ) -> Self {
        let mut server = Self {
            identity,
            fabric,
            gossip_delay_ms: settings.gossip_delay_ms,
            replaces: settings.replaces,
            writer,
            node: None,
            waiting: BTreeMap::new(),
            next_token: 0,
            stats: EngineStats::default(),
            pending: Vec::new(),
        };
        if let Some(recovered) = recovered {
            let founding = Founding {
                incarnation: server.identity.incarnation,
                ..recovered.durable.founding.clone()
            };
            server.begin(recovered, vec![Change::Founded(founding)], Start::Restarted);
        }
        server
    }

    /// Begins a life on this data with these changes.
    fn begin(&mut self, mut recovered: Recovered, changes: Vec<Change>, start: Start) {
        for change in changes {
            recovered.durable.apply(&change);
            recovered.checkpointer.note(&change);
            recovered.sequence += 1;
            self.pending.push(Output::Persist(change));
        }
        let now_ms = self.fabric.now_ms();
        let core = Storage::new(now_ms, self.gossip_delay_ms, recovered.durable, start);
        self.node = Some(Node::new(core, recovered.checkpointer, recovered.sequence));
    }

    /// Runs until the engine fails for good, the node must not go on, or all handles are gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), Ended> {
        let mut tick = self.fabric.sleep(TICK);
        loop {
            let has_room = self.pending.len() < PENDING_MAX;
            tokio::select! {
                done = self.writer.done() => match done {
                    Done::Committed(outputs, stats) => {
                        self.stats = stats;
                        self.perform(outputs)?;
                    }
                    Done::Failed(error) => self.recover(error).await?,
                },
                event = events.recv(), if has_room => {
                    let Some(event) = event else { return Ok(()) };
                    self.handle(event);
                    for _ in 0..EVENTS_AT_ONCE {
                        match events.try_recv() {
                            Ok(event) => self.handle(event),
                            Err(_) => break,
                        }
                    }
                }
                () = &mut tick => {
                    tick = self.fabric.sleep(TICK);
                    self.waiting.retain(|_, answer| !answer.is_closed());
                    self.resume().await;
                    self.step(Input::Tick);
                }
            }
            if !self.writer.is_busy() {
                self.hand_over()?;
            }
        }
    }

    /// Gives the writer what is pending; without changes the outputs need not wait.
    fn hand_over(&mut self) -> Result<(), Ended> {
        self.step(Input::Flush);
        let outputs = std::mem::take(&mut self.pending);
        let persists = |output: &Output| output.change().is_some();
        let is_late = self.stats.unsynced;
        if !self.writer.is_durable || !(is_late || outputs.iter().any(persists)) {
            return self.perform(outputs);
        }
        let now_ms = self.fabric.now_ms();
        let slice = self.node.as_mut().and_then(|node| {
            if self.stats.log_bytes >= CHECKPOINT_BYTES {
                node.checkpointer.begin(node.sequence);
            }
            node.checkpointer.slice(node.core.durable(), node.sequence)
        });
        let batch = Batch {
            outputs,
            slice,
            now_ms,
        };
        Ok(self.writer.commit(batch)?)
    }

    fn step(&mut self, input: Input) {
        let Some(node) = &mut self.node else { return };
        let first = self.pending.len();
        node.core
            .step(self.fabric.now_ms(), input, &mut self.pending);
        for change in self.pending.iter().skip(first).filter_map(Output::change) {
            node.sequence += 1;
            if self.writer.is_durable {
                node.checkpointer.note(change);
            }
        }
    }

    /// The engine has failed: what was not durable must not be shown. Goes back to what was, and only reads.
    async fn recover(&mut self, error: EngineError) -> Result<(), Ended> {
        tracing::error!(%error, "nothing can be written any more");
        self.pending.clear();
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            answer(waiting, Err(Refusal::Unknown));
        }
        let recovered = self.writer.recover().await?;
        let Some(recovered) = recovered else {
            return Err(error.into());
        };
        let joined = self.node.as_ref().is_some_and(|node| node.core.is_joined());
        let checkpointer = recovered.checkpointer;
        let now_ms = self.fabric.now_ms();
        let sequence = recovered.sequence;
        let start = Start::Uninterrupted { joined };
        let core = Storage::new(now_ms, self.gossip_delay_ms, recovered.durable, start);
        let mut node = Node::new(core, checkpointer, sequence);
        node.resume_at_ms = matches!(error, EngineError::Full(_)).then_some(now_ms + RESUME_MS);
        self.node = Some(node);
        self.step(Input::ReadOnly(Some(error.to_string())));
        Ok(())
    }

    /// Tries whether a full disk has room again.
    async fn resume(&mut self) {
        let now_ms = self.fabric.now_ms();
        let Some(node) = &mut self.node else { return };
        if node.resume_at_ms.is_none_or(|at| at > now_ms) || self.writer.is_busy() {
            return;
        }
        node.resume_at_ms = Some(now_ms + RESUME_MS);
        if self.writer.resume().await.is_ok() {
            node.resume_at_ms = None;
            tracing::info!("the disk has room again");
            self.step(Input::ReadOnly(None));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::SetRing { ring, fresh, done } => answer(done, self.set_ring(&ring, fresh)),
            Event::Query(query) => {
                if let Some(node) = &self.node {
                    let view = View {
                        now_ms: self.fabric.now_ms(),
                        stats: self.stats,
                    };
                    query(&node.core, view);
                }
            }
            Event::Request(input, answer) => {
                if self.node.is_none() {
                    // The dropped answer tells the service that there is no ring yet.
                    return;
                }
                self.next_token += 1;
                self.waiting.insert(self.next_token, answer);
                self.step(input(self.next_token));
            }
            Event::Peer(envelope) => self.step(Input::Peer(envelope)),
            Event::CertifyDeath {
                replica,
                incarnation,
                done,
            } => {
                self.step(Input::CertifyDeath {
                    replica,
                    incarnation,
                });
                answer(done, ());
            }
        }
    }

    fn set_ring(&mut self, ring: &Ring, fresh: bool) -> Result<(), Status> {
        if let Some(node) = &self.node {
            return if *node.ring == *ring {
                Ok(())
            } else {
                Err(Status::refused(format!(
                    "{} is a member of another ring already",
                    self.identity.name
                )))
            };
        }
        let own = ring.node_named(&self.identity.name).ok_or_else(|| {
            let names: Vec<_> = ring.nodes.iter().map(|node| node.name.as_str()).collect();
            Status::invalid(format!(
                "{} is not in the ring ({})",
                self.identity.name,
                names.join(", ")
            ))
        })?;
        let founding = Founding {
            replica: own.replica,
            ring: ring.clone(),
            disk: if self.writer.is_durable {
                self.fabric.random() | 1
            } else {
                0
            },
            replaces: self.replaces,
            incarnation: self.identity.incarnation,
        };
        let recovered = Recovered {
            durable: Durable::new(founding.clone()),
            sequence: 0,
            checkpointer: Checkpointer::default(),
        };
        let founded = Change::Founded(founding);
        if fresh {
            // A new cluster has nothing to copy.
            self.begin(recovered, vec![founded, Change::Joined], Start::Fresh);
        } else {
            self.begin(recovered, vec![founded], Start::Restarted);
        }
        Ok(())
    }

    fn perform(&mut self, outputs: Vec<Output>) -> Result<(), Ended> {
        for output in outputs {
            match output {
                Output::Persist(change) => {
                    if let Some((record, made)) = visible(&change) {
                        self.identity.debug(|| render(record, made));
                    }
                }
                Output::Send { to, message } => self.send(to, message),
                Output::Reply { token, reply } => {
                    if let Some(waiting) = self.waiting.remove(&token) {
                        answer(waiting, reply);
                    }
                }
                Output::Halt(halt) => return Err(Ended::Halt(halt)),
            }
        }
        Ok(())
    }

    fn send(&self, to: ReplicaId, message: Message) {
        let Some(node) = &self.node else { return };
        let Some(peer) = node.ring.node(to) else {
            return;
        };
        let body = encode(&proto::PeerMessage {
            from: node.me,
            incarnation: self.identity.incarnation,
            ring: node.ring_hash,
            disk: node.disk,
            body: Some(codec::encode(message)),
        });
        let delay = Duration::from_millis(self.gossip_delay_ms);
        if let Err(lost) = self.fabric.send(&peer.address, storage::PEER, body, delay) {
            // Lost messages are part of the protocol: whatever matters is sent again.
            tracing::warn!(peer = peer.name, %lost, "a message was lost");
        }
    }
}

/// Whoever asked may have gone away; that is no failure of ours.
fn answer<T>(to: oneshot::Sender<T>, answer: T) {
    drop(to.send(answer));
}

fn render(record: &str, made: &common::types::RecordVersion) -> String {
    match &made.value {
        Some(value) => format!(
            "record {record} {} {}",
            made.version,
            String::from_utf8_lossy(value)
        ),
        None => format!("record {record} {} deleted", made.version),
    }
}

/// Starts the task; it ends when the returned [`Task`] is dropped. Why it has ended is told on the receiver.
pub fn start(server: Server) -> (ServerHandle, Task, oneshot::Receiver<Ended>) {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let (failed, failure) = oneshot::channel();
    let fabric = server.fabric.clone();
    let task = fabric.spawn(Box::pin(async move {
        if let Err(ended) = server.run(events).await {
            answer(failed, ended);
        }
    }));
    (ServerHandle(sender), task, failure)
}
