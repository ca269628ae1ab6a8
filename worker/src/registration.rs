//! Tells the scheduler that leads every second that this worker is there, and learns the ring from its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::fabric::{Address, Duration, FabricHandle};
use common::node::Identity;
use common::proto::{
    HeartbeatRequest, HeartbeatResponse, PeerStatus, StoredLease, WorkerAddress, scheduler,
};
use common::schedulers::Schedulers;
use common::status::Status;
use common::types::{LEASE_RECORD, Ring, Wanted};
use prost::Message;

use crate::host::OperatorHost;
use crate::ring::RingWatch;

const BEAT: Duration = Duration::from_secs(1);
/// How long the storage may take to name the scheduler that leads.
const LOOK_UP_MS: u64 = 500;
/// A scheduler that has not answered for this long is shown as suspected.
const SUSPECTED_MS: u64 = 2_500;

/// When the scheduler answered last. Cheap to clone.
#[derive(Clone)]
pub struct SchedulerPresence {
    fabric: FabricHandle,
    answered_ms: Arc<AtomicU64>,
}

impl SchedulerPresence {
    pub fn new(fabric: FabricHandle) -> Self {
        let answered_ms = Arc::new(AtomicU64::new(fabric.now_ms()));
        Self {
            fabric,
            answered_ms,
        }
    }

    fn answered(&self) {
        self.answered_ms
            .store(self.fabric.now_ms(), Ordering::Relaxed);
    }

    pub fn peer(&self) -> PeerStatus {
        let silent_ms = self
            .fabric
            .now_ms()
            .saturating_sub(self.answered_ms.load(Ordering::Relaxed));
        let state = if silent_ms > SUSPECTED_MS {
            "suspected"
        } else {
            "present"
        };
        PeerStatus {
            name: "scheduler".to_owned(),
            state: state.to_owned(),
            silent_ms,
        }
    }
}

pub struct Registration {
    pub identity: Identity,
    pub fabric: FabricHandle,
    /// Where this worker is reached.
    pub address: Address,
    pub schedulers: Schedulers,
    pub slots: u32,
    pub host: Arc<OperatorHost>,
    pub ring: RingWatch,
    pub presence: SchedulerPresence,
}

impl Registration {
    /// Beats for ever, and looks for new operators beside that: a file that is slow to load delays no heartbeat.
    pub async fn run(self) {
        tokio::join!(self.beats(), self.rescans());
    }

    /// New files in the directory of operators become known to the scheduler without a restart.
    async fn rescans(&self) {
        loop {
            self.host.rescan().await;
            self.fabric.sleep(BEAT).await;
        }
    }

    /// A scheduler that is away is tried again at the next beat.
    async fn beats(&self) {
        let mut registered = false;
        loop {
            let answer = self.beat().await;
            if answer.is_ok() != registered {
                registered = answer.is_ok();
                self.tell(&answer);
            }
            tokio::select! {
                () = self.fabric.sleep(BEAT) => {}
                () = self.ring.wanted() => {}
            }
        }
    }

    async fn beat(&self) -> Result<(), Status> {
        let request = HeartbeatRequest {
            worker: Some(WorkerAddress {
                name: self.identity.name.clone(),
                url: self.address.to_string(),
            }),
            incarnation: self.identity.incarnation,
            classes: self
                .host
                .classes()
                .into_iter()
                .map(|info| info.class)
                .collect(),
            slots: self.slots,
        };
        let beat =
            async |scheduler: scheduler::Client| self.heed(scheduler.heartbeat(&request).await?);
        let answer = self.schedulers.ask(BEAT, beat).await;
        if answer.is_ok() {
            self.presence.answered();
        } else if let Some(leader) = self.look_up().await {
            self.schedulers.leads(leader);
        }
        answer
    }

    fn heed(&self, response: HeartbeatResponse) -> Result<(), Status> {
        let HeartbeatResponse {
            ring,
            leader,
            leads,
        } = response;
        if let Some(ring) = ring {
            let ring = Ring::try_from(ring).map_err(|error| Status::invalid(error.to_string()))?;
            self.ring.publish(ring);
        }
        if leads {
            return Ok(());
        }
        if leader.is_empty() {
            // It has noted this worker; but another one may lead meanwhile.
            self.presence.answered();
            return Err(Status::unavailable("the scheduler does not lead yet"));
        }
        let leader = Address::parse(&leader).map_err(|error| Status::invalid(error.to_string()))?;
        let elsewhere = format!("the scheduler at {leader} leads");
        self.schedulers.leads(leader);
        Err(Status::unavailable(elsewhere))
    }

    /// Whom the storage names: it may have come after this worker.
    async fn look_up(&self) -> Option<Address> {
        let client = self.ring.known()?;
        let route = client.within(LOOK_UP_MS);
        let found = client.read(LEASE_RECORD, Wanted::NEWEST, route).await;
        let lease = StoredLease::decode(found.ok()?.value?).ok()?;
        Address::parse(&lease.url).ok()
    }

    fn tell(&self, answer: &Result<(), Status>) {
        match answer {
            Ok(()) => {
                let leader = self.schedulers.leader().map(|leader| leader.to_string());
                tracing::info!(scheduler = leader, "registered with the scheduler");
            }
            Err(failure) => tracing::warn!(%failure, "no scheduler answers that leads"),
        }
    }
}
