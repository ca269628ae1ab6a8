//! One task that owns the core: turns events into inputs, hands what must be durable to the engine's thread, and
//! performs the outputs when what they imply is (I11). What comes meanwhile is the next batch (group commit).

use std::collections::BTreeMap;
use std::time::Duration;

use common::fabric::{FabricHandle, Task, encode};
use common::node::Identity;
use common::proto::{self, storage};
use common::status::Status;
use common::types::{ReplicaId, Ring};
use tokio::sync::{mpsc, oneshot};

use crate::codec;
use crate::core::client::visible;
use crate::core::durable::Founding;
use crate::core::message::Message;
use crate::core::queue::QueueBounds;
use crate::core::{Envelope, Halt, Input, Output, Refusal, Reply, Storage, Token};
use crate::engine::writer::{Done, Writer};
use crate::engine::{EngineError, EngineStats, Recovered};
use crate::node::Node;

/// Events that wait for the task, at most; senders wait when it is full.
pub const EVENTS_MAX: usize = 4_096;
/// Outputs that wait while a batch is made durable; more events wait in their queue.
const PENDING_MAX: usize = 4_096;
/// Events handled before the outputs are looked at.
const EVENTS_AT_ONCE: usize = 256;
/// The core is told the time this often.
const TICK: Duration = Duration::from_millis(25);

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
    SetRing {
        ring: Ring,
        fresh: bool,
        done: oneshot::Sender<Result<(), Status>>,
    },
    Stop,
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
    queues: QueueBounds,
    writer: Writer,
    /// Absent until the ring is set.
    node: Option<Node>,
    waiting: BTreeMap<Token, Answer>,
    next_token: Token,
    stats: EngineStats,
    is_stopping: bool,
}

/// What a server starts with.
pub struct Settings {
    pub gossip_delay_ms: u64,
    pub replaces: bool,
    pub queues: QueueBounds,
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
            queues: settings.queues,
            writer,
            node: None,
            waiting: BTreeMap::new(),
            next_token: 0,
            stats: EngineStats::default(),
            is_stopping: false,
        };
        if let Some(recovered) = recovered {
            let now_ms = server.fabric.now_ms();
            let incarnation = server.identity.incarnation;
            let delay_ms = server.gossip_delay_ms;
            let mut node = Node::restart(now_ms, delay_ms, recovered, incarnation);
            node.core.bound_queues(settings.queues);
            server.node = Some(node);
        }
        server
    }

    /// Runs until it is stopped and all is written, the engine fails for good, or the node must not go on.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), Ended> {
        let mut tick = self.fabric.sleep(TICK);
        while !self.is_stopping {
            let pending = self.node.as_ref().map_or(0, Node::pending);
            let has_room = pending < PENDING_MAX;
            tokio::select! {
                done = self.writer.done() => self.written(done).await?,
                event = events.recv(), if has_room => {
                    self.handle(event.unwrap_or(Event::Stop));
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
            self.hand_over()?;
        }
        self.finish().await
    }

    async fn written(&mut self, done: Done) -> Result<(), Ended> {
        match done {
            Done::Committed(changes, stats) => {
                self.stats = stats;
                if let Some(node) = &mut self.node {
                    node.committed(changes);
                }
                Ok(())
            }
            Done::Failed(error) => self.recover(error).await,
        }
    }

    /// An orderly end: what nobody waits for, such as the last decisions, is written too, and synced if `sync` says so.
    async fn finish(mut self) -> Result<(), Ended> {
        self.drain().await?;
        if let Some(node) = &mut self.node {
            node.make_due();
        }
        self.hand_over()?;
        self.drain().await?;
        self.writer.end().await;
        Ok(())
    }

    /// Waits for the batch under way. There is no next life of this server to recover for.
    async fn drain(&mut self) -> Result<(), Ended> {
        if !self.writer.is_busy() {
            return Ok(());
        }
        match self.writer.done().await {
            Done::Failed(error) => Err(error.into()),
            done @ Done::Committed(..) => self.written(done).await,
        }
    }

    /// Gives the writer what waits for it, if it has nothing to do, and performs what need not wait.
    fn hand_over(&mut self) -> Result<(), Ended> {
        let now_ms = self.fabric.now_ms();
        let Some(node) = &mut self.node else {
            return Ok(());
        };
        if !self.writer.is_busy()
            && let Some(batch) = node.hand_over(now_ms, self.stats)
        {
            self.writer.commit(batch)?;
        }
        let ready = node.ready();
        self.perform(ready)
    }

    fn step(&mut self, input: Input) {
        if let Some(node) = &mut self.node {
            node.step(self.fabric.now_ms(), input);
        }
    }

    /// The engine has failed: what was not durable must not be shown. Goes back to what was, and only reads.
    async fn recover(&mut self, error: EngineError) -> Result<(), Ended> {
        tracing::error!(%error, "nothing can be written any more");
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            answer(waiting, Err(Refusal::Unknown));
        }
        let recovered = self.writer.recover().await?;
        let (Some(recovered), Some(node)) = (recovered, &mut self.node) else {
            return Err(error.into());
        };
        let now_ms = self.fabric.now_ms();
        *node = node.go_on(now_ms, self.gossip_delay_ms, recovered, &error);
        Ok(())
    }

    /// Tries whether a full disk has room again.
    async fn resume(&mut self) {
        let now_ms = self.fabric.now_ms();
        let Some(node) = &mut self.node else {
            return;
        };
        if !self.writer.is_busy()
            && node.wants_to_resume(now_ms)
            && self.writer.resume().await.is_ok()
        {
            tracing::info!("the disk has room again");
            node.resume(now_ms);
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
            Event::Stop => self.is_stopping = true,
        }
    }

    fn set_ring(&mut self, ring: &Ring, fresh: bool) -> Result<(), Status> {
        if let Some(node) = &self.node {
            return if node.founding().ring == *ring {
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
        let now_ms = self.fabric.now_ms();
        let mut node = Node::found(now_ms, self.gossip_delay_ms, founding, fresh);
        node.core.bound_queues(self.queues);
        self.node = Some(node);
        Ok(())
    }

    fn perform(&mut self, outputs: Vec<Output>) -> Result<(), Ended> {
        for output in outputs {
            match output {
                Output::Persist(change) => {
                    for (record, made) in visible(&change) {
                        self.identity.debug(|| render(record, made));
                    }
                }
                Output::Send { to, message } => self.send(to, message),
                Output::Reply { token, reply, .. } => {
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
        let founding = node.founding();
        let Some(peer) = founding.ring.node(to) else {
            return;
        };
        let body = encode(&proto::PeerMessage {
            from: founding.replica,
            incarnation: self.identity.incarnation,
            ring: node.core.ring_hash(),
            disk: founding.disk,
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

/// Starts the task; it is aborted when the returned [`Task`] is dropped. How it has ended is told on the receiver.
pub fn start(server: Server) -> (ServerHandle, Task, oneshot::Receiver<Result<(), Ended>>) {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let (ended, end) = oneshot::channel();
    let fabric = server.fabric.clone();
    let task = fabric.spawn(Box::pin(async move {
        answer(ended, server.run(events).await);
    }));
    (ServerHandle(sender), task, end)
}
