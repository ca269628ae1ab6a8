//! Of several schedulers of one storage one leads.
//!
//! Who wants to lead takes a ballot above all that it knows, and fences the updates of all before it at enough storage
//! nodes (as in the first phase of Paxos); then it reads what they have kept, and takes the lease by a comparison. What
//! earlier ones still do is refused by the storage; they learn of it from that, forget everything, and stand by. So one
//! leads at a time whatever clocks do. The lease is there to keep the peace: nobody tries while it is renewed.

use std::sync::{Arc, Mutex, PoisonError};

use common::client::{Route, StorageClient};
use common::fabric::{Address, Duration, FabricHandle, timeout};
use common::node::Identity;
use common::proto::StoredLease;
use common::status::{Detail, Status};
use common::types::{LEASE_RECORD, LeaderOrigin};
use prost::Message;
use tokio::sync::Notify;

use crate::core::Recovered;
use crate::core::lease::{RENEW_MS, WATCH_MS, Watch, ballot_above};
use crate::deploy::Deployer;
use crate::records::{self, RunStore};
use crate::server::{Event, ServerHandle};
use crate::service::Service;
use crate::standing::{Leader, Leading, Standing, StandingWatch};

/// How long the storage may take for one call.
const STORAGE_MS: u64 = 10_000;
/// Pause before something that has failed is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How long a scheduler that ends tries to give the lease back.
const FREE_MAX: Duration = Duration::from_millis(300);

/// One for a scheduler.
pub struct Leadership {
    identity: Identity,
    fabric: FabricHandle,
    /// Where this scheduler is reached.
    address: Address,
    /// Its gateway, if it has one.
    http: Option<Address>,
    server: ServerHandle,
    deployer: Arc<Deployer>,
    standing: StandingWatch,
    /// The ring may be known now.
    ring_set: Arc<Notify>,
    held: Mutex<Option<Held>>,
}

/// The lease, while this scheduler has it, and where it is kept.
type Held = (RunStore, StoredLease);

impl Leadership {
    /// For what answers at this address.
    pub fn new(service: &Service, address: Address) -> Self {
        Self {
            identity: service.identity.clone(),
            fabric: service.fabric.clone(),
            address,
            http: service.http.clone(),
            server: service.server.clone(),
            deployer: service.deployer.clone(),
            standing: service.standing.clone(),
            ring_set: service.ring_set.clone(),
            held: Mutex::default(),
        }
    }

    /// For ever.
    pub async fn run(&self) {
        let (mut watch, mut floor) = (Watch::default(), 0);
        loop {
            let pause = match self.lead_once(&mut watch, &mut floor).await {
                Ok(()) => Duration::from_millis(WATCH_MS),
                Err(trouble) => {
                    tracing::debug!(%trouble, "this scheduler cannot lead yet");
                    self.standing.note(&trouble);
                    match trouble.detail {
                        Some(Detail::Fenced(ballot)) => {
                            floor = floor.max(ballot);
                            // Another one is about to lead: let it.
                            let chance_ms = self.fabric.random() % (2 * WATCH_MS);
                            Duration::from_millis(WATCH_MS + chance_ms)
                        }
                        _ => RETRY,
                    }
                }
            };
            tokio::select! {
                () = self.ring_set.notified() => {}
                () = self.fabric.sleep(pause) => {}
            }
        }
    }

    /// Leads, if nobody does, until another one does.
    async fn lead_once(&self, watch: &mut Watch, floor: &mut u32) -> Result<(), Status> {
        let client = self.deployer.storage().await?;
        let found = client.scan_everywhere(LEASE_RECORD, self.route()).await?;
        if let Some(found) = found.get(LEASE_RECORD) {
            let lease = records::lease(found)?;
            *floor = lease.ballot.max(*floor);
            // Where this one listens no other can: that was an earlier life of it.
            let is_mine = lease.is_free || lease.url == self.address.to_string();
            if !watch.may_take(self.fabric.now_ms(), lease.ballot, lease.beat) && !is_mine {
                return self.stand_by(lease).await;
            }
        }
        self.standing
            .set(Standing::Starting("it begins to lead".to_owned()));
        let ballot = ballot_above(*floor, self.fabric.random())
            .ok_or_else(|| Status::internal("there are no more ballots"))?;
        let (store, runs) = self.recover(client, ballot).await?;
        let term = store.ledger.term.clone();
        tokio::select! {
            led = self.lead(store, runs) => led?,
            () = term.is_over() => {}
        }
        tracing::warn!(
            term = term.number,
            "another scheduler leads, or is about to"
        );
        self.held(None);
        let nobody = "another scheduler was about to lead".to_owned();
        self.standing.set(Standing::Starting(nobody));
        self.server.tell(Event::StandBy).await
    }

    /// Another one leads, as it seems.
    async fn stand_by(&self, lease: StoredLease) -> Result<(), Status> {
        let address = Address::parse(&lease.url);
        let damaged = |error| Status::internal(format!("the lease is damaged: {error}"));
        let leader = Leader {
            name: lease.name,
            address: address.map_err(damaged)?,
            http: Some(lease.http).filter(|http| !http.is_empty()),
        };
        if self.standing.other().as_ref() != Some(&leader) {
            tracing::info!(%leader, "this scheduler stands by");
            self.standing.set(Standing::Behind(leader));
            // Workers may have come while nobody was known to lead.
            self.server.tell(Event::StandBy).await?;
        }
        Ok(())
    }

    /// Keeps all others from doing anything more, and finds what they have kept.
    async fn recover(
        &self,
        client: StorageClient,
        ballot: u32,
    ) -> Result<(RunStore, Vec<Recovered>), Status> {
        let fenced = client.fence(LeaderOrigin::ALL, ballot, self.route());
        let is_slow = fenced.await?.gossip_delay_ms > 0;
        RunStore::recover(self.fabric.clone(), client, ballot, is_slow).await
    }

    /// Takes the lease, leads, and renews it for ever.
    async fn lead(&self, store: RunStore, runs: Vec<Recovered>) -> Result<(), Status> {
        let term = &store.ledger.term;
        let leading = Leading {
            term: term.number,
            ballot: term.ballot,
            lineage: term.lineage,
        };
        let mut lease = StoredLease {
            term: term.number,
            ballot: term.ballot,
            beat: 0,
            name: self.identity.name.clone(),
            url: self.address.to_string(),
            http: self
                .http
                .as_ref()
                .map(Address::to_string)
                .unwrap_or_default(),
            lineage: term.lineage,
            is_free: false,
        };
        self.deployer.load_catalog().await?;
        put(&store, &lease).await;
        self.server.tell(Event::Lead(store.clone(), runs)).await?;
        self.standing.set(Standing::Leading(leading));
        tracing::info!(term = leading.term, "this scheduler leads");
        loop {
            let held = (store.clone(), lease.clone());
            self.held(Some(held));
            self.fabric.sleep(Duration::from_millis(RENEW_MS)).await;
            lease.beat += 1;
            put(&store, &lease).await;
        }
    }

    /// Gives the lease back, so that another one need not wait for its end. Best effort: time does it, too.
    pub async fn free(&self) {
        let Some((store, mut lease)) = self.held(None) else {
            return;
        };
        lease.is_free = true;
        let freed = timeout(self.fabric.as_ref(), FREE_MAX, put(&store, &lease)).await;
        tracing::debug!(in_time = freed.is_some(), "the lease was to be given back");
    }

    /// What was held before.
    fn held(&self, now: Option<Held>) -> Option<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, now)
    }

    fn route(&self) -> Route {
        Route {
            only: None,
            deadline_ms: self.fabric.now_ms() + STORAGE_MS,
        }
    }
}

async fn put(store: &RunStore, lease: &StoredLease) {
    let value = lease.encode_to_vec().into();
    store.ledger.put(LEASE_RECORD.to_owned(), value).await;
}
