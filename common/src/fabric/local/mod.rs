//! Everything in one process: the routers of all nodes in one table, messages encoded as on the wire.
//!
//! - [`life`]: a node's tasks, which can be killed and frozen together. - [`nature`]: whether time and chance are the
//!   machine's or a simulation's.

mod courier;
mod life;
mod nature;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use self::courier::LocalCourier;
pub(super) use self::nature::{Leg, Nature, Passage};
use super::faults::{Faults, Verdict};
use super::outbox::Outbox;
use super::{
    Address, BoxFuture, Bytes, Duration, Fabric, Profile, Router, Serving, Status, Task, check_size,
};
use crate::proto;
pub use life::Life;

/// First port given out for port 0.
const EPHEMERAL_PORT_FIRST: u16 = 49_152;

/// One end of a network within this process; clones are the same end, [`LocalFabric::another_end`] is another node's.
#[derive(Clone)]
pub struct LocalFabric {
    end: End,
    outbox: Arc<Outbox>,
}

#[derive(Clone, Default)]
struct Network(Arc<Mutex<BTreeMap<Address, Listener>>>);

#[derive(Clone)]
struct Listener {
    router: Router,
    end: End,
    /// Closed when the node stops serving: its unfinished answers are lost, as with a killed process.
    alive: watch::Receiver<()>,
}

/// A node's place in the network.
#[derive(Clone)]
struct End {
    name: Arc<str>,
    network: Network,
    nature: Arc<Nature>,
    life: Life,
    faults: Arc<Faults>,
}

impl Default for LocalFabric {
    fn default() -> Self {
        Self::of("", Network::default(), Arc::new(Nature::Machine))
    }
}

impl LocalFabric {
    /// The first end of a network that is simulated.
    pub(super) fn simulated(name: &str, nature: Nature) -> Self {
        Self::of(name, Network::default(), Arc::new(nature))
    }

    /// For a node with faults and a life of its own; its name is for the log of a simulation.
    pub fn another_end(&self, name: &str) -> Self {
        Self::of(name, self.end.network.clone(), self.end.nature.clone())
    }

    /// Whether somebody listens there.
    pub fn reaches(&self, address: &Address) -> bool {
        self.end.network.lock().contains_key(address)
    }

    /// The tasks of this node.
    pub fn life(&self) -> &Life {
        &self.end.life
    }

    fn of(name: &str, network: Network, nature: Arc<Nature>) -> Self {
        let end = End {
            name: name.into(),
            network,
            nature,
            life: Life::default(),
            faults: Arc::new(Faults::new(true)),
        };
        Self {
            outbox: Outbox::new(LocalCourier(end.clone()), Arc::clone(&end.faults)),
            end,
        }
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listener(&self, at: &Address) -> Result<Listener, Status> {
        let listener = self.lock().get(at).cloned();
        listener.ok_or_else(|| Status::unavailable(format!("nobody listens at {at}")))
    }
}

impl Listener {
    /// The answer of its node. A task of that node: a caller that gives up does not stop the handler, as with a real peer.
    async fn answer(mut self, method: &str, body: Bytes) -> Result<Bytes, Status> {
        let (answer, answered) = oneshot::channel();
        let handling = self.router.handle(method, body);
        let handling = Box::pin(async move {
            // Nobody waits for it any more.
            let _ = answer.send(handling.await);
        });
        self.end.life.spawn(handling).detach();
        let stopped = || {
            let why = match self.end.life.panic() {
                Some(panic) => return Status::internal(format!("the handler failed: {panic}")),
                None => "it stopped before it answered",
            };
            Status::timeout(why)
        };
        tokio::select! {
            biased;
            answer = answered => answer.unwrap_or_else(|_| Err(stopped())),
            _ = self.alive.changed() => Err(stopped()),
        }
    }
}

impl End {
    /// Returns when a message to `peer` may go on; never when it is lost; an error when its connection broke.
    async fn cross(&self, peer: &Address, leg: Leg<'_>) -> Result<(), Status> {
        let verdict = self.faults.verdict(peer, self.nature.random());
        let passage = self.nature.passage(&self.name, peer, leg);
        let Verdict::Deliver { delay } = verdict else {
            return std::future::pending().await;
        };
        let delay = delay + passage.latency;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if self.faults.is_cut(peer) {
            return std::future::pending().await;
        }
        if passage.is_lost {
            return Err(Status::timeout(format!(
                "{peer}: the connection broke before the answer"
            )));
        }
        Ok(())
    }

    async fn ask(&self, to: &Address, method: &str, body: Bytes) -> Result<Bytes, Status> {
        self.cross(to, Leg::Request(method, &body)).await?;
        let listener = self.network.listener(to)?;
        let peer = listener.end.clone();
        let answer = listener.answer(method, body).await;
        if let Some(caller) = self.faults.caller() {
            peer.cross(caller, Leg::Answer(method, answer.as_ref().ok()))
                .await?;
        }
        answer
    }
}

impl Fabric for LocalFabric {
    fn call(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Status>> {
        let (end, to) = (self.end.clone(), to.clone());
        Box::pin(async move {
            check_size(&body)?;
            let answer = tokio::time::timeout(timeout, end.ask(&to, method, body)).await;
            answer.unwrap_or_else(|_| {
                Err(Status::timeout(format!(
                    "{to} did not answer within {} ms",
                    timeout.as_millis()
                )))
            })
        })
    }

    fn send(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        delay: Duration,
    ) -> Result<(), Status> {
        self.outbox.send(to, method, body, delay)
    }

    fn serve(&self, at: &Address, router: Router) -> BoxFuture<'static, Result<Serving, Status>> {
        let (end, at) = (self.end.clone(), at.clone());
        let router = router.with(proto::faults::Server(Arc::clone(&end.faults)));
        Box::pin(async move {
            let network = end.network.clone();
            let mut nodes = network.lock();
            let address = match at.port() {
                0 => (EPHEMERAL_PORT_FIRST..=u16::MAX)
                    .map(|port| at.with_port(port))
                    .find(|address| !nodes.contains_key(address))
                    .ok_or_else(|| Status::unavailable(format!("no free port is left for {at}")))?,
                _ => at,
            };
            if nodes.contains_key(&address) {
                return Err(Status::new(
                    super::Kind::AlreadyExists,
                    format!("{address} is taken by another node"),
                ));
            }
            let (alive_sender, alive) = watch::channel(());
            end.faults.listens_at(&address);
            let listener = Listener { router, end, alive };
            nodes.insert(address.clone(), listener);
            drop(nodes);
            let stop = Unlisten {
                network,
                address: address.clone(),
                _alive: alive_sender,
            };
            Ok(Serving {
                address,
                _stop: Box::new(stop),
            })
        })
    }

    fn now_ms(&self) -> u64 {
        self.end.nature.now_ms()
    }

    fn unix_ms(&self) -> u64 {
        self.end.nature.unix_ms()
    }

    fn incarnation(&self) -> u64 {
        self.end.nature.incarnation()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        self.end.life.spawn(task)
    }

    fn random(&self) -> u64 {
        self.end.nature.random()
    }

    fn set_weather(&self, profile: Profile) {
        self.end.nature.set_weather(profile);
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.end.nature.block(work)
    }
}

struct Unlisten {
    network: Network,
    address: Address,
    _alive: watch::Sender<()>,
}

impl Drop for Unlisten {
    fn drop(&mut self) {
        self.network.lock().remove(&self.address);
    }
}
