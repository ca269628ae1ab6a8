//! Requests from outside: checked, made into inputs, and answered.

use std::sync::Arc;

use common::fabric::{Address, Duration, FabricHandle, timeout};
use common::node::Identity;
use common::proto::{self, Empty, node, scheduler, worker};
use common::status::{Kind, Status};
use common::types::{ComponentHash, Ring, WorkerAddress, required};
use futures::future::join_all;
use tokio::sync::{Notify, oneshot};

use crate::convert;
use crate::core::{Answer, CancelError, Core, Input, ReassignError};
use crate::deploy::{Deployer, LEADS_MAX};
use crate::server::{Event, ServerHandle, WORKER_CALL_TIMEOUT};
use crate::standing::StandingWatch;
use crate::submission;

/// How long a caller waits until a run, or its end, is in the storage.
const KEPT_MAX: Duration = Duration::from_secs(10);
/// Longest time that `AwaitRun` waits.
const AWAIT_MS_MAX: u32 = 60_000;
/// Most runs that are named for one component.
const PINNED_RUNS_MAX: usize = 100;
/// Most runs in one answer.
const RUNS_LISTED_MAX: usize = 1_000;

/// The services of a scheduler.
pub struct Service {
    pub identity: Identity,
    pub fabric: FabricHandle,
    pub server: ServerHandle,
    pub deployer: Arc<Deployer>,
    pub standing: StandingWatch,
    /// The ring is another one.
    pub ring_set: Arc<Notify>,
    /// Where the gateway listens.
    pub http: Option<Address>,
}

impl Service {
    /// Returns when the run is in the storage.
    async fn kept(&self, run: u64) -> Result<(), Status> {
        let (reply, kept) = oneshot::channel();
        self.server.tell(Event::AwaitKept(run, reply)).await?;
        let late = || Status::timeout(format!("run {run} waits for the storage to take it"));
        let lost = || Status::timeout("another scheduler leads: it may know the run, or not");
        let kept = timeout(self.fabric.as_ref(), KEPT_MAX, kept).await;
        kept.ok_or_else(late)?.map_err(|_| lost())
    }

    /// Returns when the run has its outcome, or the patience is at its end.
    async fn await_outcome(&self, run: u64, patience: Duration) -> Result<(), Status> {
        let (reply, outcome) = oneshot::channel();
        self.server.tell(Event::AwaitOutcome(run, reply)).await?;
        // However this ends, who asks what is known gets it.
        timeout(self.fabric.as_ref(), patience, outcome).await;
        Ok(())
    }

    async fn report(&self, number: u64) -> Result<proto::RunReport, Status> {
        self.standing.leading()?;
        self.server
            .inspect(move |core, now_ms| {
                core.run(number).map(|run| convert::run_report(run, now_ms))
            })
            .await?
            .ok_or_else(|| convert::unknown_run(number))
    }

    /// Returns when nothing of the run starts at the worker any more.
    async fn tell_cancelled(&self, run: u64, worker: WorkerAddress) -> Result<(), Status> {
        let client = worker::Client::new(self.fabric.clone(), worker.address, WORKER_CALL_TIMEOUT);
        let request = proto::CancelRunRequest {
            run,
            scheduler_incarnation: self.standing.leading()?.lineage,
        };
        if let Err(failure) = client.cancel_run(&request).await {
            let name = worker.name;
            return Err(Status::timeout(format!(
                "run {run} is cancelled, but worker {name} has not confirmed it: {failure}"
            )));
        }
        Ok(())
    }

    /// Runs are counted anew in every storage: what is said about another one's is not for this one.
    fn check_lineage(&self, lineage: u64, run: u64) -> Result<(), Status> {
        if self.standing.leading()?.lineage != lineage {
            let message = format!("run {run} was counted by another scheduler");
            return Err(Status::not_found(message));
        }
        Ok(())
    }

    /// The URL of the scheduler that leads, when it is another one.
    fn other(&self) -> String {
        let other = self.standing.other();
        other.map_or_else(String::new, |leader| leader.url)
    }
}

impl scheduler::Service for Service {
    async fn submit(&self, request: proto::SubmitRequest) -> Result<proto::SubmitResponse, Status> {
        if self.server.inspect(|core, _| core.ring().is_some()).await? {
            let leads = self.standing.leads(self.fabric.as_ref(), LEADS_MAX);
            leads.await?;
        }
        let (application, submission) = submission::parse(request, self.fabric.unix_ms())?;
        match self.server.request(Input::Submit(submission)).await? {
            Some(Answer::Submitted(Ok(run))) => {
                self.kept(run).await?;
                Ok(proto::SubmitResponse { run })
            }
            Some(Answer::Submitted(Err(error))) => Err(submission::refused(&error, &application)),
            _ => Err(unanswered()),
        }
    }

    async fn await_run(&self, request: proto::AwaitRunRequest) -> Result<proto::RunReport, Status> {
        if request.wait_ms > 0 {
            let patience = Duration::from_millis(request.wait_ms.min(AWAIT_MS_MAX).into());
            self.await_outcome(request.run, patience).await?;
        }
        self.report(request.run).await
    }

    async fn cancel(&self, request: proto::CancelRequest) -> Result<Empty, Status> {
        let term = self.standing.leading()?.term;
        let run = request.run;
        let involved = match self.server.request(Input::Cancel { run }).await? {
            Some(Answer::Cancelled(Ok(involved))) => involved,
            Some(Answer::Cancelled(Err(error))) => {
                let kind = match error {
                    CancelError::Unknown(_) => Kind::NotFound,
                    CancelError::Ended { .. } => Kind::Refused,
                };
                return Err(Status::new(kind, error.to_string()));
            }
            _ => return Err(unanswered()),
        };
        let told = involved
            .into_iter()
            .map(|worker| self.tell_cancelled(run, worker));
        let told = join_all(told).await;
        told.into_iter().collect::<Result<(), Status>>()?;
        self.await_outcome(run, KEPT_MAX).await?;
        // A run that is not known any more was settled, if this is still the same term.
        let is_settled = move |core: &Core, _| core.run(run).is_none_or(|run| run.settled);
        let is_settled = self.server.inspect(is_settled).await?;
        let leads = self.standing.leading();
        if is_settled && leads.is_ok_and(|leading| leading.term == term) {
            return Ok(Empty {});
        }
        Err(Status::timeout(format!(
            "run {run} may be cancelled, or not: the storage has not taken that yet"
        )))
    }

    async fn trace(&self, request: proto::TraceRequest) -> Result<proto::TraceResponse, Status> {
        self.standing.leading()?;
        let number = request.run;
        let look = move |core: &Core, now_ms| {
            let waits_for = core.waits_for(now_ms, number)?;
            core.run(number).map(|run| convert::trace(run, waits_for))
        };
        let traced = self.server.inspect(look).await?;
        traced.ok_or_else(|| convert::unknown_run(number))
    }

    async fn runs(&self, request: proto::RunsRequest) -> Result<proto::RunsResponse, Status> {
        self.standing.leading()?;
        let limit = match usize::try_from(request.limit) {
            Ok(limit @ 1..=RUNS_LISTED_MAX) => limit,
            _ => RUNS_LISTED_MAX,
        };
        let list = move |core: &Core, now_ms| {
            core.runs()
                .take(limit)
                .map(|run| convert::run_summary(run, now_ms))
                .collect()
        };
        Ok(proto::RunsResponse {
            runs: self.server.inspect(list).await?,
        })
    }

    async fn cluster(&self, _: Empty) -> Result<proto::ClusterResponse, Status> {
        let (leads, leader) = (self.standing.is_sure(), self.other());
        self.server
            .inspect(move |core, now_ms| proto::ClusterResponse {
                leads,
                leader,
                workers: core
                    .workers()
                    .map(|worker| convert::worker_status(worker, now_ms))
                    .collect(),
                ring: core.ring().map(|ring| proto::Ring::from(ring.as_ref())),
            })
            .await
    }

    async fn set_ring(&self, request: proto::SetRingRequest) -> Result<Empty, Status> {
        let ring = required(request.ring, "ring")?;
        let ring = Ring::try_from(ring).map_err(|error| Status::invalid(error.to_string()))?;
        match self.server.request(Input::SetRing(ring)).await? {
            Some(Answer::RingSet(Ok(()))) => {
                self.ring_set.notify_one();
                Ok(Empty {})
            }
            Some(Answer::RingSet(Err(error))) => Err(Status::refused(error.to_string())),
            _ => Err(unanswered()),
        }
    }

    async fn heartbeat(
        &self,
        request: proto::HeartbeatRequest,
    ) -> Result<proto::HeartbeatResponse, Status> {
        let leader = self.other();
        if !leader.is_empty() {
            let ring = self.server.inspect(|core, _| core.ring().cloned()).await?;
            let ring = ring.as_deref().map(proto::Ring::from);
            return Ok(proto::HeartbeatResponse {
                ring,
                leader,
                leads: false,
            });
        }
        match self
            .server
            .request(Input::Heartbeat(convert::heartbeat(request)?))
            .await?
        {
            Some(Answer::Registered(Ok(ring))) => Ok(proto::HeartbeatResponse {
                ring: ring.as_deref().map(proto::Ring::from),
                leader,
                leads: self.standing.is_sure(),
            }),
            Some(Answer::Registered(Err(error))) => Err(Status::overloaded(error.to_string())),
            _ => Err(unanswered()),
        }
    }

    async fn stage_done(&self, request: proto::StageReport) -> Result<Empty, Status> {
        self.check_lineage(request.scheduler_incarnation, request.run)?;
        self.server
            .request(Input::StageDone(convert::stage_report(request)?))
            .await?;
        Ok(Empty {})
    }

    async fn reassign(
        &self,
        request: proto::ReassignRequest,
    ) -> Result<proto::ReassignResponse, Status> {
        self.check_lineage(request.scheduler_incarnation, request.run)?;
        let proto::ReassignRequest {
            run, attempt, gone, ..
        } = request;
        let stage = convert::stage_index(request.stage)?;
        match self
            .server
            .request(Input::Reassign {
                run,
                attempt,
                stage,
                gone,
            })
            .await?
        {
            Some(Answer::Reassigned(Ok(reassignment))) => Ok(proto::ReassignResponse {
                worker: Some((&reassignment.worker).into()),
                attempt: reassignment.attempt,
            }),
            Some(Answer::Reassigned(Err(error))) => {
                let kind = match error {
                    ReassignError::NotWanted => Kind::Cancelled,
                    ReassignError::NoOther { .. } => Kind::Unavailable,
                };
                Err(Status::new(kind, error.to_string()))
            }
            _ => Err(unanswered()),
        }
    }

    async fn certify_death(&self, request: proto::CertifyDeathRequest) -> Result<Empty, Status> {
        self.server
            .request(Input::CertifyDeath {
                worker: convert::name(request.name)?,
            })
            .await?;
        Ok(Empty {})
    }

    async fn deploy(&self, request: proto::DeployRequest) -> Result<proto::DeployResponse, Status> {
        let hash = ComponentHash::try_from(&request.component[..])?;
        let (classes, catalog) = self.deployer.deploy(hash).await?;
        let is_named = |deployed: &proto::DeployedClass| classes.contains(&deployed.class);
        let classes = catalog.classes.into_iter().filter(is_named).collect();
        Ok(proto::DeployResponse { classes })
    }

    async fn rollback(
        &self,
        request: proto::RollbackRequest,
    ) -> Result<proto::DeployResponse, Status> {
        let catalog = self.deployer.roll_back(&request.class).await?;
        let is_named = |deployed: &proto::DeployedClass| deployed.class == request.class;
        let classes = catalog.classes.into_iter().filter(is_named).collect();
        Ok(proto::DeployResponse { classes })
    }

    async fn operators(&self, _: Empty) -> Result<proto::OperatorsResponse, Status> {
        let catalog = self.deployer.read().await?;
        let pinned = self.server.inspect(|core, _| core.pinned()).await?;
        let pinned = pinned.into_iter().map(|(hash, runs)| proto::Pinned {
            component: hash.bytes().to_vec().into(),
            runs: runs.into_iter().take(PINNED_RUNS_MAX).collect(),
        });
        Ok(proto::OperatorsResponse {
            catalog: Some(catalog),
            pinned: pinned.collect(),
        })
    }
}

impl node::Service for Service {
    async fn status(&self, _: Empty) -> Result<proto::NodeStatus, Status> {
        let (identity, http) = (self.identity.clone(), self.http.clone());
        let standing = self.standing.now().to_string();
        let look = move |core: &Core, now_ms| {
            let mut details = details(core);
            details.insert(0, ("standing", standing));
            details.extend(http.map(|address| ("http", address.to_string())));
            identity.status(details, peers(core, now_ms))
        };
        self.server.inspect(look).await
    }

    async fn set_debug(&self, request: proto::SetDebugRequest) -> Result<Empty, Status> {
        self.identity.set_debug(&request)?;
        Ok(Empty {})
    }
}

fn details(core: &Core) -> Vec<(&'static str, String)> {
    let outstanding: u32 = core.workers().map(|worker| worker.outstanding).sum();
    let ring = match core.ring() {
        Some(ring) => format!(
            "epoch {} of {} storage node(s)",
            ring.epoch,
            ring.nodes.len()
        ),
        None => "not set".to_owned(),
    };
    vec![
        ("workers", core.workers().count().to_string()),
        ("runs submitted", core.submitted().to_string()),
        ("runs in flight", core.in_flight().to_string()),
        ("tasks outstanding", outstanding.to_string()),
        ("ring", ring),
    ]
}

fn peers(core: &Core, now_ms: u64) -> Vec<proto::PeerStatus> {
    let peer = |presence: crate::core::Presence| proto::PeerStatus {
        name: presence.name,
        state: presence.state.to_owned(),
        silent_ms: presence.silent_ms,
    };
    core.presences(now_ms).into_iter().map(peer).collect()
}

fn unanswered() -> Status {
    Status::internal("the scheduler has not answered a request")
}
