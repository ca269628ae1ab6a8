//! One task that owns the core: turns events into inputs, makes changes durable, performs the outputs in order.

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
use crate::core::message::Message;
use crate::core::{Input, Output, Refusal, Reply, Storage, Token};
use crate::engine::{Engine, EngineError};

/// Events that wait for the task, at most; senders wait when it is full.
pub const EVENTS_MAX: usize = 4_096;
/// Inputs handled before their changes are made durable and their outputs performed (group commit).
const BATCH_MAX: usize = 256;
/// The core is told the time this often.
const TICK: Duration = Duration::from_millis(25);

pub type Answer = oneshot::Sender<Result<Reply, Refusal>>;

/// A question that the core answers at once and without a change.
pub type Query = Box<dyn FnOnce(&Storage, u64) + Send>;

pub enum Event {
    /// A client's request: the input is made with the token under which the answer will come.
    Request(Box<dyn FnOnce(Token) -> Input + Send>, Answer),
    Query(Query),
    Peer {
        from: ReplicaId,
        incarnation: u64,
        ring: u64,
        message: Box<Message>,
    },
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

pub struct Server<E> {
    identity: Identity,
    fabric: FabricHandle,
    gossip_delay_ms: u64,
    engine: E,
    /// Absent until the ring is set.
    node: Option<Node>,
    waiting: BTreeMap<Token, Answer>,
    next_token: Token,
}

struct Node {
    core: Storage,
    me: ReplicaId,
    ring: Arc<Ring>,
    ring_hash: u64,
}

impl<E: Engine> Server<E> {
    pub fn new(identity: Identity, fabric: FabricHandle, gossip_delay_ms: u64, engine: E) -> Self {
        Self {
            identity,
            fabric,
            gossip_delay_ms,
            engine,
            node: None,
            waiting: BTreeMap::new(),
            next_token: 0,
        }
    }

    /// Runs until the engine fails or all handles are gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), EngineError> {
        let mut tick = self.fabric.sleep(TICK);
        loop {
            let mut outputs = Vec::new();
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.handle(event, &mut outputs),
                    None => return Ok(()),
                },
                () = &mut tick => {
                    tick = self.fabric.sleep(TICK);
                    self.waiting.retain(|_, answer| !answer.is_closed());
                    self.step(Input::Tick, &mut outputs);
                }
            }
            for _ in 0..BATCH_MAX {
                match events.try_recv() {
                    Ok(event) => self.handle(event, &mut outputs),
                    Err(_) => break,
                }
            }
            self.step(Input::Flush, &mut outputs);
            self.perform(outputs)?;
        }
    }

    fn step(&mut self, input: Input, outputs: &mut Vec<Output>) {
        if let Some(node) = &mut self.node {
            node.core.step(self.fabric.now_ms(), input, outputs);
        }
    }

    fn handle(&mut self, event: Event, outputs: &mut Vec<Output>) {
        match event {
            Event::SetRing { ring, fresh, done } => answer(done, self.set_ring(ring, fresh)),
            Event::Query(query) => {
                if let Some(node) = &self.node {
                    query(&node.core, self.fabric.now_ms());
                }
            }
            Event::Request(input, answer) => {
                if self.node.is_none() {
                    // The dropped answer tells the service that there is no ring yet.
                    return;
                }
                self.next_token += 1;
                self.waiting.insert(self.next_token, answer);
                self.step(input(self.next_token), outputs);
            }
            Event::Peer {
                from,
                incarnation,
                ring,
                message,
            } => match &self.node {
                Some(node) if node.ring_hash == ring => {
                    self.step(
                        Input::Peer {
                            from,
                            incarnation,
                            message: *message,
                        },
                        outputs,
                    );
                }
                Some(_) => tracing::warn!(
                    from,
                    "refused a message: its sender has another ring or other settings"
                ),
                None => {}
            },
            Event::CertifyDeath {
                replica,
                incarnation,
                done,
            } => {
                let certificate = Input::CertifyDeath {
                    replica,
                    incarnation,
                };
                self.step(certificate, outputs);
                answer(done, ());
            }
        }
    }

    fn set_ring(&mut self, ring: Ring, fresh: bool) -> Result<(), Status> {
        if let Some(node) = &self.node {
            return if *node.ring == ring {
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
        let me = own.replica;
        let core = Storage::new(
            self.fabric.now_ms(),
            me,
            self.identity.incarnation,
            self.gossip_delay_ms,
            ring.clone(),
            fresh,
        );
        self.node = Some(Node {
            core,
            me,
            ring_hash: ring.settings_hash(),
            ring: Arc::new(ring),
        });
        Ok(())
    }

    /// Everything that the outputs imply is durable before the first of them leaves (I11).
    fn perform(&mut self, outputs: Vec<Output>) -> Result<(), EngineError> {
        let changes: Vec<_> = outputs
            .iter()
            .filter_map(|output| {
                if let Output::Persist(change) = output {
                    Some(change)
                } else {
                    None
                }
            })
            .collect();
        if !changes.is_empty() {
            self.engine.commit(&changes)?;
        }
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

/// Starts the task; it ends when the returned [`Task`] is dropped. A failed engine is reported on the receiver.
pub fn start<E: Engine>(server: Server<E>) -> (ServerHandle, Task, oneshot::Receiver<EngineError>) {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let (failed, failure) = oneshot::channel();
    let fabric = server.fabric.clone();
    let task = fabric.spawn(Box::pin(async move {
        if let Err(error) = server.run(events).await {
            answer(failed, error);
        }
    }));
    (ServerHandle(sender), task, failure)
}
