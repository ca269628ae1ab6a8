//! Everything in one process: the routers of all nodes in one table, messages encoded as on the wire.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use super::faults::Faults;
use super::outbox::{Courier, Letter, Outbox};
use super::{Address, BoxFuture, Bytes, Duration, Fabric, Router, Serving, Status, check_size};
use crate::proto;

/// First port given out for port 0.
const EPHEMERAL_PORT_FIRST: u16 = 49_152;

/// One end of a network within this process; clones are the same end, [`LocalFabric::another_end`] is another node's.
#[derive(Clone)]
pub struct LocalFabric {
    network: Network,
    outbox: Arc<Outbox>,
    faults: Arc<Faults>,
}

#[derive(Clone, Default)]
struct Network(Arc<Mutex<BTreeMap<Address, Listener>>>);

#[derive(Clone)]
struct Listener {
    router: Router,
    faults: Arc<Faults>,
    /// Closed when the node stops serving: its unfinished answers are lost, as with a killed process.
    alive: watch::Receiver<()>,
}

impl Default for LocalFabric {
    fn default() -> Self {
        Self::end_of(Network::default())
    }
}

impl LocalFabric {
    /// For a node with faults of its own.
    pub fn another_end(&self) -> Self {
        Self::end_of(self.network.clone())
    }

    /// Whether somebody listens there.
    pub fn reaches(&self, address: &Address) -> bool {
        self.network.lock().contains_key(address)
    }

    fn end_of(network: Network) -> Self {
        let faults = Arc::new(Faults::new(true));
        let courier = LocalCourier {
            network: network.clone(),
            faults: Arc::clone(&faults),
        };
        Self {
            outbox: Outbox::new(courier, Arc::clone(&faults)),
            network,
            faults,
        }
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, and the faults of who gives it.
    async fn deliver(
        &self,
        to: &Address,
        method: &str,
        body: Bytes,
    ) -> Result<(Result<Bytes, Status>, Arc<Faults>), Status> {
        let listener = self.lock().get(to).cloned();
        let Some(Listener {
            router,
            faults,
            mut alive,
        }) = listener
        else {
            return Err(Status::unavailable(format!("nobody listens at {to}")));
        };
        tokio::select! {
            answer = router.handle(method, body) => Ok((answer, faults)),
            _ = alive.changed() => Err(Status::timeout(format!("{to} stopped before it answered"))),
        }
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
        let (network, faults, to) = (self.network.clone(), Arc::clone(&self.faults), to.clone());
        Box::pin(async move {
            check_size(&body)?;
            let answer = async {
                faults.cross(&to).await;
                // A task of its own: a caller that gives up does not stop the handler, as with a real peer.
                let delivery = tokio::spawn({
                    let to = to.clone();
                    async move { network.deliver(&to, method, body).await }
                });
                let delivered = delivery.await.map_err(|failure| {
                    Status::internal(format!("the handler at {to} failed: {failure}"))
                })?;
                let (answer, peer_faults) = delivered?;
                if let Some(caller) = faults.caller() {
                    peer_faults.cross(caller).await;
                }
                answer
            };
            match tokio::time::timeout(timeout, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::timeout(format!(
                    "{to} did not answer within {} ms",
                    timeout.as_millis()
                ))),
            }
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
        let (network, faults, at) = (self.network.clone(), Arc::clone(&self.faults), at.clone());
        let router = router.with(proto::faults::Server(Arc::clone(&faults)));
        Box::pin(async move {
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
            faults.listens_at(&address);
            let listener = Listener {
                router,
                faults,
                alive,
            };
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

struct LocalCourier {
    network: Network,
    faults: Arc<Faults>,
}

impl Courier for LocalCourier {
    fn carry(&self, to: Address, mut letters: mpsc::Receiver<Letter>) -> BoxFuture<'static, ()> {
        let (network, faults) = (self.network.clone(), Arc::clone(&self.faults));
        Box::pin(async move {
            while let Some(letter) = letters.recv().await {
                tokio::time::sleep_until(letter.due).await;
                if faults.is_cut(&to) {
                    continue;
                }
                let delivered = network.deliver(&to, letter.method, letter.body).await;
                if let Err(lost) = delivered.and_then(|(answer, _)| answer) {
                    tracing::debug!(%to, method = letter.method, %lost, "one-way message not handled");
                }
            }
        })
    }
}
