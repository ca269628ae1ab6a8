//! Everything in one process: the routers of all nodes in one table, messages encoded as on the wire.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use super::outbox::{Courier, Letter, Outbox};
use super::{Address, BoxFuture, Bytes, Duration, Fabric, Router, Serving, Status, check_size};

/// First port given out for port 0.
const EPHEMERAL_PORT_FIRST: u16 = 49_152;

/// A network within this process; clones are ends of the same network.
#[derive(Clone)]
pub struct LocalFabric {
    network: Network,
    outbox: Arc<Outbox>,
}

#[derive(Clone, Default)]
struct Network(Arc<Mutex<BTreeMap<Address, Listener>>>);

#[derive(Clone)]
struct Listener {
    router: Router,
    /// Closed when the node stops serving: its unfinished answers are lost, as with a killed process.
    alive: watch::Receiver<()>,
}

impl Default for LocalFabric {
    fn default() -> Self {
        let network = Network::default();
        Self {
            outbox: Outbox::new(network.clone()),
            network,
        }
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(&self, to: &Address, method: &str, body: Bytes) -> Result<Bytes, Status> {
        let listener = self.lock().get(to).cloned();
        let Some(Listener { router, mut alive }) = listener else {
            return Err(Status::unavailable(format!("nobody listens at {to}")));
        };
        tokio::select! {
            answer = router.handle(method, body) => answer,
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
        let (network, to) = (self.network.clone(), to.clone());
        Box::pin(async move {
            check_size(&body)?;
            // A task of its own: a caller that gives up does not stop the handler, as with a real peer.
            let delivery = tokio::spawn({
                let to = to.clone();
                async move { network.deliver(&to, method, body).await }
            });
            match tokio::time::timeout(timeout, delivery).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(failure)) => Err(Status::internal(format!(
                    "the handler at {to} failed: {failure}"
                ))),
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
        let (network, at) = (self.network.clone(), at.clone());
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
            nodes.insert(address.clone(), Listener { router, alive });
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

impl Courier for Network {
    fn carry(&self, to: Address, mut letters: mpsc::Receiver<Letter>) -> BoxFuture<'static, ()> {
        let network = self.clone();
        Box::pin(async move {
            while let Some(letter) = letters.recv().await {
                tokio::time::sleep_until(letter.due).await;
                if let Err(lost) = network.deliver(&to, letter.method, letter.body).await {
                    tracing::debug!(%to, method = letter.method, %lost, "one-way message not handled");
                }
            }
        })
    }
}
