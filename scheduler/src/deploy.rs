//! Deploys operators: has a worker look at a component, enters it into the catalog in the storage, and tells the machine.
//!
//! Promises: when a call has returned, runs submitted from then on use what it says; before, none does. By then the workers
//! are ready for it, unless one takes longer than [`WARM_UP_MAX`] or cannot: so no run meets a cold one, neither the first
//! run after a deployment nor those that are submitted meanwhile. The catalog that the machine has is one that the storage
//! had; a scheduler does not lead before it has read the first one ([`crate::leadership`]), as an update of its term: from
//! then on no earlier leader changes it. What is answered as an error with [`Kind::Timeout`] may be done, or not; to deploy
//! the same component again does nothing more.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::client::StorageClient;
use common::client::components::Origin;
use common::fabric::{Duration, FabricHandle};
use common::node::Identity;
use common::proto::{Catalog, Deployment, PrepareResponse, worker};
use common::status::{Detail, Kind, Status};
use common::types::{ComponentHash, WorkerAddress};

use crate::catalog;
use crate::convert;
use crate::core::{Core, Input};
use crate::records::Ledger;
use crate::server::{PREPARE_TIMEOUT, ServerHandle};
use crate::standing::{Leading, StandingWatch};

/// How long the storage may take to read or change the catalog.
const STORAGE_MS: u64 = 10_000;
/// How long a change of the catalog waits for the workers to be ready for it; those that are not by then get ready while
/// runs use it.
const WARM_UP_MAX: Duration = Duration::from_secs(15);
/// How long a request waits until this scheduler leads.
pub const LEADS_MAX: Duration = Duration::from_secs(10);

/// Cheap to share; one for a scheduler.
pub struct Deployer {
    identity: Identity,
    fabric: FabricHandle,
    server: ServerHandle,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    standing: StandingWatch,
    /// Of the last term in which this scheduler led.
    ledger: Mutex<Option<Ledger>>,
}

impl Deployer {
    pub fn new(
        identity: Identity,
        fabric: FabricHandle,
        server: ServerHandle,
        standing: StandingWatch,
    ) -> Self {
        Self {
            identity,
            fabric,
            server,
            changing: tokio::sync::Mutex::default(),
            standing,
            ledger: Mutex::default(),
        }
    }

    /// Reads the catalog, for runs submitted from now on; what the term of this ledger begins with.
    pub async fn load_catalog(
        &self,
        client: &StorageClient,
        ledger: &Ledger,
        patience_ms: u64,
    ) -> Result<(), Status> {
        let route = client.within(patience_ms);
        let mut catalog = client.catalog(&mut self.origin(), route).await?;
        // One that is not there yet is not made: whoever restores a backup brings one.
        if !ledger.is_slow && !catalog.classes.is_empty() {
            // A new version: a change of an earlier leader that comes to light later compares with the one before.
            let origin = &mut ledger.open().origin;
            catalog = client.change_catalog(origin, route, |_| Ok(())).await?;
        }
        *self.ledger() = Some(ledger.clone());
        self.publish(&catalog).await
    }

    fn ledger(&self) -> MutexGuard<'_, Option<Ledger>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn leads(&self) -> Result<Leading, Status> {
        self.standing.leads(self.fabric.as_ref(), LEADS_MAX).await
    }

    /// Makes a component that is in the storage the current one of its classes, which are returned.
    pub async fn deploy(&self, hash: ComponentHash) -> Result<(Vec<String>, Catalog), Status> {
        let _one_at_a_time = self.changing.lock().await;
        self.leads().await?;
        // One first: it may refuse, and others may find what it has compiled.
        let info = self.prepare_somewhere(hash).await?;
        self.warm_up(hash).await?;
        let deployment = Deployment {
            component: hash.bytes().to_vec().into(),
            component_bytes: info.component_bytes,
            language: info.language,
            deployed_unix_ms: self.fabric.unix_ms(),
        };
        let classes = info.classes;
        let catalog = self
            .change(|catalog| catalog::deploy(catalog, &classes, &deployment))
            .await?;
        Ok((classes, catalog))
    }

    /// Makes the component that the class had before the current one.
    pub async fn roll_back(&self, class: &str) -> Result<Catalog, Status> {
        let _one_at_a_time = self.changing.lock().await;
        self.leads().await?;
        let mut coming = self.read().await?;
        catalog::roll_back(&mut coming, class)?;
        if let Some(hash) = catalog::current(&coming)?.get(class) {
            self.warm_up(*hash).await?;
        }
        self.change(|catalog| catalog::roll_back(catalog, class))
            .await
    }

    /// The catalog as the storage has it now.
    pub async fn read(&self) -> Result<Catalog, Status> {
        let client = self.storage().await?;
        let mut origin = self.origin();
        client.catalog(&mut origin, client.within(STORAGE_MS)).await
    }

    async fn change(
        &self,
        mut change: impl FnMut(&mut Catalog) -> Result<(), Status> + Send,
    ) -> Result<Catalog, Status> {
        let client = self.storage().await?;
        self.leads().await?;
        let ledger = self.ledger().clone();
        let ledger = ledger.ok_or_else(|| Status::unavailable("this scheduler has never led"))?;
        let mut open = ledger.open();
        let mut before = BTreeSet::new();
        let noting = |catalog: &mut Catalog| {
            before = catalog::components(catalog);
            change(catalog)
        };
        let route = client.within(STORAGE_MS);
        let changed = client.change_catalog(&mut open.origin, route, noting).await;
        if let Err(status) = &changed
            && let Some(Detail::Fenced(higher)) = status.detail
        {
            ledger.term.end(higher);
        }
        let catalog = changed?;
        let ballot = self.standing.leading().map(|leading| leading.ballot);
        if ballot != Ok(ledger.term.ballot) {
            // Whoever has begun to lead has read it.
            return Ok(catalog);
        }
        let published = self.publish(&catalog).await;
        published.map_err(|status| made(&status))?;
        let kept = catalog::components(&catalog);
        let pinned = self.server.inspect(|core, _| core.pinned()).await;
        let pinned = pinned.map_err(|status| made(&status))?;
        for hash in before.difference(&kept) {
            if pinned.contains_key(hash) {
                continue;
            }
            let removed =
                client.remove_component(*hash, &mut open.origin, client.within(STORAGE_MS));
            if let Err(status) = removed.await {
                tracing::warn!(component = ?hash, %status, "a component that nobody needs stays in the storage");
            }
        }
        Ok(catalog)
    }

    /// A worker's word on a component: the one with the least to do that answers.
    async fn prepare_somewhere(&self, hash: ComponentHash) -> Result<PrepareResponse, Status> {
        let mut none = Status::unavailable("no worker is active that could look at the component");
        for at in self.server.inspect(idle_first).await? {
            let client = worker::Client::new(self.fabric.clone(), at.address, PREPARE_TIMEOUT);
            match client.prepare(&convert::prepare_request(hash)).await {
                Ok(info) => return Ok(info),
                Err(status) if status.kind == Kind::Refused => return Err(status),
                Err(status) => none = status,
            }
        }
        Err(none)
    }

    /// Returns when all workers are ready for a component, those that can be in time.
    async fn warm_up(&self, hash: ComponentHash) -> Result<(), Status> {
        if !self.server.inspect(|core, _| core.warms_up()).await? {
            return Ok(());
        }
        let workers = self.server.inspect(idle_first).await?;
        let prepared = workers.into_iter().map(async |at| {
            let client = worker::Client::new(self.fabric.clone(), at.address, WARM_UP_MAX);
            if let Err(failure) = client.prepare(&convert::prepare_request(hash)).await {
                let worker = at.name;
                tracing::warn!(worker, component = ?hash, %failure, "a worker is not ready for what is deployed");
            }
        });
        futures::future::join_all(prepared).await;
        Ok(())
    }

    async fn publish(&self, catalog: &Catalog) -> Result<(), Status> {
        let current = catalog::current(catalog)?;
        let set = self.server.request(Input::SetCatalog(current));
        set.await.map(drop)
    }

    /// The storage as it is known now.
    pub async fn storage(&self) -> Result<StorageClient, Status> {
        let ring = self.server.inspect(|core, _| core.ring().cloned()).await?;
        let ring = ring.ok_or_else(|| Status::unavailable("no storage nodes are known"))?;
        Ok(StorageClient::new(self.fabric.clone(), ring, 0))
    }

    fn origin(&self) -> Origin {
        let incarnation = self.fabric.incarnation();
        Origin::new(format!("deploy/{}/{incarnation:016x}", self.identity.name))
    }
}

/// The catalog is changed, whatever came after that.
fn made(status: &Status) -> Status {
    Status::timeout(format!("the catalog of operators is changed, but {status}"))
}

fn idle_first(core: &Core, _: u64) -> Vec<WorkerAddress> {
    let mut workers: Vec<_> = core.workers().collect();
    workers.sort_by_key(|worker| worker.outstanding);
    workers
        .into_iter()
        .map(|worker| worker.at.clone())
        .collect()
}
