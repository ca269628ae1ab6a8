//! Finds the PCS that launches the nodes of a host.
//!
//! A URL's host decides: a PCS named on the command line for that host, else the one at port 10000, else, on a
//! loopback host, one embedded in this process. Roles never import one another, so the embedded one comes from
//! `main` as a closure.

use super::access::no_answer;
use crate::outcome::Failure;
use common::fabric::{Address, BoxFuture, FabricHandle, Serving};
use common::proto::{Empty, pcs};
use common::status::Status;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Where the PCS of a machine listens.
const PCS_PORT: u16 = 10_000;
/// How long a PCS may take to answer that it is there.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// A PCS within this process.
pub struct EmbeddedPcs {
    /// Where it listens.
    pub serving: Serving,
    /// Whatever else it needs to live; dropped with it.
    pub guard: Box<dyn std::any::Any + Send + Sync>,
}

/// Starts a PCS within this process, on a free loopback port.
pub type StartPcs = Arc<dyn Fn() -> BoxFuture<'static, Result<EmbeddedPcs, Status>> + Send + Sync>;

pub struct Launcher {
    named: Vec<Address>,
    start_embedded: StartPcs,
    embedded: Mutex<Option<EmbeddedPcs>>,
}

impl Launcher {
    pub fn new(named: Vec<Address>, start_embedded: StartPcs) -> Self {
        Self {
            named,
            start_embedded,
            embedded: Mutex::new(None),
        }
    }

    /// The PCS for a node at `node`. Errors name the PCS that should be there.
    pub async fn pcs_for(&self, fabric: &FabricHandle, node: &Address) -> Result<Address, Failure> {
        let named = self
            .named
            .iter()
            .find(|pcs| host(pcs) == host(node))
            .cloned();
        let is_named = named.is_some();
        let address = named.unwrap_or_else(|| at_standard_port(node));
        let probe = pcs::Client::new(fabric.clone(), address.clone(), PROBE_MAX);
        match probe.list(&Empty {}).await {
            Ok(_) => Ok(address),
            Err(_) if node.is_loopback() && !is_named => self.embedded().await,
            Err(status) => {
                let failure = no_answer("PCS", &address, &status);
                Err(failure.hint(format!(
                    "start it there: marionette pcs --listen {}",
                    address.authority()
                )))
            }
        }
    }

    async fn embedded(&self) -> Result<Address, Failure> {
        let mut embedded = self.embedded.lock().await;
        if let Some(pcs) = &*embedded {
            return Ok(pcs.serving.address.clone());
        }
        let pcs = (self.start_embedded)().await?;
        let address = pcs.serving.address.clone();
        *embedded = Some(pcs);
        Ok(address)
    }

    /// Ends the embedded PCS.
    pub async fn close(&self) {
        self.embedded.lock().await.take();
    }
}

/// One machine has one PCS, whatever it is called.
fn host(address: &Address) -> &str {
    match address.host() {
        "localhost" => "127.0.0.1",
        other => other,
    }
}

fn at_standard_port(node: &Address) -> Address {
    let standard = node.with_port(PCS_PORT);
    Address::parse(&format!("http://{}:{PCS_PORT}", host(node))).unwrap_or(standard)
}
