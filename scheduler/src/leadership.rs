//! Of several schedulers of one storage one leads.
//!
//! Who wants to lead takes a ballot above all that it knows, and fences the updates of all before it at enough storage
//! nodes (as in the first phase of Paxos); then it reads what they have kept, and takes the lease by a comparison. What
//! earlier ones still do is refused by the storage; they learn of it from that, forget everything, and stand by. So one
//! leads at a time whatever clocks do. The lease is there to keep the peace: nobody tries while it is renewed.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use common::client::StorageClient;
use common::fabric::{Address, Duration, FabricHandle, timeout};
use common::node::Identity;
use common::proto::StoredLease;
use common::status::{Detail, Status};
use common::types::{LEASE_RECORD, LeaderOrigin};
use prost::Message;
use tokio::sync::Notify;

use crate::core::lease::{LEASE_MS, RENEW_MS, WATCH_MS, Watch, ballot_above};
use crate::deploy::Deployer;
use crate::records::{self, Found, Ledger, RunStore};
use crate::server::{Event, ServerHandle};
use crate::service::Service;
use crate::standing::{Leader, Leading, Standing, StandingWatch};

/// How long the storage may take for one call.
const STORAGE_MS: u64 = 10_000;
/// And as long as there is another replica that may answer at once.
const FIRST_MS: u64 = 1_000;
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

/// What one that does not lead knows of the others.
#[derive(Default)]
struct Candidacy {
    watch: Watch,
    /// The highest ballot that it has heard of.
    floor: u32,
    /// In this life.
    has_tried: bool,
    /// Before that it does not try again.
    waits_until_ms: u64,
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
        let mut candidacy = Candidacy::default();
        loop {
            let pause = match self.lead_once(&mut candidacy).await {
                Ok(()) => Duration::from_millis(WATCH_MS),
                Err(trouble) => {
                    tracing::debug!(%trouble, "this scheduler cannot lead yet");
                    self.standing.note(&trouble);
                    match trouble.detail {
                        Some(Detail::Fenced(ballot)) => {
                            candidacy.floor = candidacy.floor.max(ballot);
                            // Another one is about to lead: let it.
                            let chance_ms = self.fabric.random() % LEASE_MS;
                            candidacy.waits_until_ms =
                                self.fabric.now_ms() + 2 * LEASE_MS + chance_ms;
                            Duration::from_millis(WATCH_MS)
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
    async fn lead_once(&self, candidacy: &mut Candidacy) -> Result<(), Status> {
        let client = self.deployer.storage().await?;
        let asked_ms = self.fabric.now_ms();
        let found = client
            .scan_everywhere(LEASE_RECORD, client.within(STORAGE_MS))
            .await?;
        if let Some(found) = found.get(LEASE_RECORD) {
            let lease = records::lease(found)?;
            candidacy.floor = lease.ballot.max(candidacy.floor);
            let (now_ms, beat) = (self.fabric.now_ms(), (lease.ballot, lease.beat));
            let is_old = candidacy.watch.may_take(asked_ms, now_ms, beat);
            // Where this one listens no other can: unless it has tried before, that was an earlier life of it.
            let is_mine = lease.url == self.address.to_string();
            let is_left = lease.is_free || is_mine && !candidacy.has_tried;
            if !is_old && !is_left {
                return if is_mine {
                    Ok(())
                } else {
                    self.stand_by(lease).await
                };
            }
        }
        if self.fabric.now_ms() < candidacy.waits_until_ms {
            return Ok(());
        }
        self.standing
            .set(Standing::Starting("it begins to lead".to_owned()));
        let ballot = ballot_above(candidacy.floor, self.fabric.random())
            .ok_or_else(|| Status::internal("there are no more ballots"))?;
        let (store, found) = self.recover(client.clone(), ballot).await?;
        candidacy.has_tried = true;
        self.load_catalog(&client, &store.ledger).await?;
        let term = store.ledger.term.clone();
        let higher = tokio::select! {
            led = self.lead(store, found) => return led,
            higher = term.is_over() => higher,
        };
        tracing::warn!(
            term = term.number,
            "another scheduler leads, or is about to"
        );
        self.held(None);
        let nobody = "another scheduler was about to lead".to_owned();
        self.standing.set(Standing::Starting(nobody.clone()));
        self.server.tell(Event::StandBy).await?;
        Err(Status::unavailable(nobody).with(Detail::Fenced(higher)))
    }

    /// Another one leads, as it seems.
    async fn stand_by(&self, lease: StoredLease) -> Result<(), Status> {
        let leader = Leader {
            name: lease.name,
            url: lease.url,
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
    ) -> Result<(RunStore, Found), Status> {
        let fenced = client.fence(LeaderOrigin::ALL, ballot, client.within(STORAGE_MS));
        let is_slow = fenced.await?.gossip_delay_ms > 0;
        let me = (self.identity.incarnation, ballot);
        RunStore::recover(self.fabric.clone(), client, me, is_slow).await
    }

    /// A replica that does not answer is asked last the next time.
    async fn load_catalog(&self, client: &StorageClient, ledger: &Ledger) -> Result<(), Status> {
        let tries = if ledger.is_slow {
            0
        } else {
            client.ring().nodes.len()
        };
        for _ in 0..tries {
            if self
                .deployer
                .load_catalog(client, ledger, FIRST_MS)
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        self.deployer.load_catalog(client, ledger, STORAGE_MS).await
    }

    /// Takes the lease, leads, and renews it for ever.
    async fn lead(&self, store: RunStore, found: Found) -> Result<(), Status> {
        let term = &store.ledger.term;
        let mut leading = Leading {
            term: term.number,
            ballot: term.ballot,
            lineage: term.lineage,
            is_sure: true,
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
            submitted: found.submitted,
        };
        put(&store, &lease).await;
        self.server.tell(Event::Lead(store.clone(), found)).await?;
        self.standing.set(Standing::Leading(leading));
        tracing::info!(term = leading.term, "this scheduler leads");
        loop {
            let held = (store.clone(), lease.clone());
            self.held(Some(held));
            self.fabric.sleep(Duration::from_millis(RENEW_MS)).await;
            lease.beat += 1;
            lease.submitted = self.server.inspect(|core, _| core.submitted()).await?;
            let mut beat = pin!(put(&store, &lease));
            let lease_time = Duration::from_millis(LEASE_MS);
            let in_time = timeout(self.fabric.as_ref(), lease_time, &mut beat).await;
            if in_time.is_none() {
                // Another one may lead by now; if none does, this one goes on.
                leading.is_sure = false;
                self.standing.set(Standing::Leading(leading));
                beat.await;
                leading.is_sure = true;
                self.standing.set(Standing::Leading(leading));
            }
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
}

async fn put(store: &RunStore, lease: &StoredLease) {
    let value = lease.encode_to_vec().into();
    store.ledger.put(LEASE_RECORD.to_owned(), value).await;
}
