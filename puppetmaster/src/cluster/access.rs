//! Holds commands until the nodes that they need are ready, and gives clients of them.

use super::launcher::Launcher;
use super::{CALL_MAX, Cluster, Node, POLL_INTERVAL, Phase, StartPcs};
use crate::language::Role;
use crate::outcome::Failure;
use crate::output::Output;
use common::fabric::{Address, FabricHandle};
use common::proto::{ClusterResponse, Empty, node, scheduler, storage};
use common::status::{Kind, Status};
use common::types::{ReplicaId, Ring};
use futures::future::select_ok;
use std::sync::Arc;
use std::time::Duration;

impl Cluster {
    /// A cluster that was started by hand, as that of its schedulers knows it which leads. One of them has to answer.
    pub async fn connect(
        fabric: FabricHandle,
        output: Output,
        mut schedulers: Vec<Address>,
        no_pcs: StartPcs,
    ) -> Result<Arc<Self>, Failure> {
        let launcher = Launcher::new(Vec::new(), no_pcs);
        let cluster = Self::build(fabric, output, launcher, true, None);
        let (mut failure, mut known) = (None, None);
        let mut next = 0;
        while let Some(at) = schedulers.get(next).cloned() {
            next += 1;
            let answer = cluster.ask_scheduler(&at).await;
            let name = match answer {
                Ok((name, answer)) => {
                    let leader = Address::parse(&answer.leader).ok();
                    schedulers.extend(leader.filter(|leader| !schedulers.contains(leader)));
                    known = known.filter(|_| !answer.leads).or(Some(answer));
                    name
                }
                // It may come back.
                Err(status) => {
                    failure.get_or_insert_with(|| no_answer("scheduler", &at, &status));
                    at.to_string()
                }
            };
            let node = Node::external(Role::Scheduler, at);
            cluster.change(|state| state.nodes.insert(name, node));
        }
        let Some(known) = known else {
            let failure = failure.unwrap_or_else(|| Failure::new("no scheduler is named"));
            return Err(failure.hint("start one: marionette scheduler ID URL"));
        };
        cluster.adopt(known)?;
        Ok(cluster)
    }

    async fn ask_scheduler(&self, at: &Address) -> Result<(String, ClusterResponse), Status> {
        let client = scheduler::Client::new(self.fabric.clone(), at.clone(), CALL_MAX);
        let known = client.cluster(&Empty {}).await?;
        let status = node::Client::new(self.fabric.clone(), at.clone(), CALL_MAX);
        let name = status.status(&Empty {}).await?.name;
        Ok((name, known))
    }

    /// Asks the scheduler of a cluster that was started by hand who is there now.
    pub async fn refresh(&self) -> Result<(), Failure> {
        if self.connected {
            let client = self.scheduler(CALL_MAX).await?;
            self.adopt(client.cluster(&Empty {}).await?)?;
        }
        Ok(())
    }

    fn adopt(&self, known: ClusterResponse) -> Result<(), Failure> {
        let ring = known.ring.map(Ring::try_from).transpose();
        let ring =
            ring.map_err(|error| Failure::new(format!("the scheduler's ring is wrong: {error}")))?;
        let mut nodes = Vec::new();
        for member in ring.iter().flat_map(|ring| &ring.nodes) {
            nodes.push((
                member.name.clone(),
                Node::external(Role::Storage, member.address.clone()),
            ));
        }
        for worker in known.workers.into_iter().filter_map(|status| status.worker) {
            let address =
                Address::parse(&worker.url).map_err(|error| Failure::new(error.to_string()))?;
            nodes.push((worker.name, Node::external(Role::Worker, address)));
        }
        self.change(|state| {
            state.nodes.extend(nodes);
            state.ring = ring.map(Arc::new);
        });
        Ok(())
    }

    /// The node called `name`, once it is not starting any more.
    pub async fn settled(&self, name: &str) -> Result<Node, Failure> {
        let patience = self.settings().patience();
        let settled = self.wait_for(patience, |state| match state.nodes.get(name) {
            None => Some(Err(Failure::new(format!("there is no node `{name}`")))),
            Some(node) if node.phase == Phase::Starting || node.returns => None,
            Some(node) => Some(Ok(node.clone())),
        });
        settled
            .await
            .unwrap_or_else(|| Err(still_starting(name, patience)))
    }

    /// The node called `name`, once it is ready.
    pub async fn ready(&self, name: &str) -> Result<Node, Failure> {
        let node = self.settled(name).await?;
        match &node.phase {
            Phase::Down(why) | Phase::Failed(why) => {
                Err(Failure::new(format!("node `{name}` {why}")))
            }
            Phase::Ready | Phase::Starting => Ok(node),
        }
    }

    /// Returns once no node of this role is starting any more.
    pub async fn role_settled(&self, role: Role) -> Result<(), Failure> {
        let names = self
            .nodes()
            .into_iter()
            .filter(|(_, node)| node.role == role);
        for (name, _) in names {
            self.settled(&name).await?;
        }
        Ok(())
    }

    /// Returns once no node is starting any more, and those with data from before are members; fails if one could not be
    /// started.
    pub async fn all_ready(&self) -> Result<(), Failure> {
        for name in self.names() {
            let node = self.settled(&name).await?;
            if let Phase::Failed(why) = node.phase {
                return Err(Failure::new(format!("node `{name}` {why}")));
            }
        }
        if self.schedulers().iter().any(|(_, node)| node.is_ready()) {
            self.workers_registered().await?;
        }
        self.all_members().await
    }

    /// The scheduler, once it is ready; of several, the one that leads.
    pub async fn scheduler(&self, call_max: Duration) -> Result<scheduler::Client, Failure> {
        let leader = self.leader().await?;
        let fabric = self.fabric.clone();
        Ok(scheduler::Client::new(fabric, leader, call_max))
    }

    /// The answer of the scheduler, or of several the one that leads. When another one begins to lead meanwhile it is asked, too:
    /// the call may be made several times, and has to mean the same again.
    pub async fn ask<A, F: Future<Output = Result<A, Status>>>(
        &self,
        call_max: Duration,
        call: impl Fn(scheduler::Client) -> F,
    ) -> Result<A, Failure> {
        let until_ms = self.until_ms();
        let mut leader = self.leader().await?;
        loop {
            let client = scheduler::Client::new(self.fabric.clone(), leader.clone(), call_max);
            let status = match call(client).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let may_pass = matches!(status.kind, Kind::Unavailable | Kind::Timeout);
            let may_pass = may_pass && self.schedulers().len() > 1;
            if !may_pass || self.fabric.now_ms() >= until_ms {
                return Err(status.into());
            }
            self.fabric.sleep(POLL_INTERVAL).await;
            let now = self.leader().await?;
            // Who does not lead has done nothing; what one has done that still leads is not asked again.
            if status.kind == Kind::Timeout && now == leader {
                return Err(status.into());
            }
            leader = now;
        }
    }

    async fn leader(&self) -> Result<Address, Failure> {
        match &self.schedulers()[..] {
            [] => Err(Failure::new("there is no scheduler")),
            [(only, _)] => Ok(self.ready(only).await?.address),
            _ => self.leader_of_several().await,
        }
    }

    /// When a command that begins now waits no longer.
    fn until_ms(&self) -> u64 {
        let patience_ms = u64::try_from(self.settings().patience().as_millis());
        let patience_ms = patience_ms.unwrap_or(u64::MAX);
        self.fabric.now_ms().saturating_add(patience_ms)
    }

    /// Where the scheduler is that leads, of several. When one is lost, another one takes its place in some seconds.
    async fn leader_of_several(&self) -> Result<Address, Failure> {
        let until_ms = self.until_ms();
        loop {
            let schedulers = self.schedulers();
            let awake = schedulers.iter().filter(|(_, node)| node.is_awake());
            let leads = awake.map(|(_, node)| Box::pin(self.leads(node.address.clone())));
            let leads: Vec<_> = leads.collect();
            // The first that leads; one that does not answer now is asked again. Of none at all nobody can be asked.
            if !leads.is_empty()
                && let Ok((leader, _)) = select_ok(leads).await
            {
                return Ok(leader);
            }
            let may_come = |node: &Node| node.is_ready() || node.phase == Phase::Starting;
            if !schedulers.iter().any(|(_, node)| may_come(node)) {
                return Err(Failure::new("no scheduler is left"));
            }
            if self.fabric.now_ms() >= until_ms {
                return Err(Failure::new("no scheduler leads"));
            }
            self.fabric.sleep(POLL_INTERVAL).await;
        }
    }

    async fn leads(&self, at: Address) -> Result<Address, Status> {
        let client = scheduler::Client::new(self.fabric.clone(), at.clone(), CALL_MAX);
        match client.cluster(&Empty {}).await? {
            known if known.leads => Ok(at),
            _ => Err(Status::unavailable("it does not lead")),
        }
    }

    /// The storage node called `name`, once it is ready and the storage is sealed: its client and its replica id.
    pub async fn storage_node(&self, name: &str) -> Result<(storage::Client, ReplicaId), Failure> {
        let client = self.storage().await?;
        let node = self.ready(name).await?;
        let member = client.ring().node_named(name);
        let replica = member.map(|member| member.replica);
        let replica = replica
            .ok_or_else(|| Failure::new(format!("`{name}` is not in the ring of storage nodes")))?;
        Ok((
            storage::Client::new(self.fabric.clone(), node.address, CALL_MAX),
            replica,
        ))
    }

    /// Everything that a run needs: the storage, the scheduler, and every worker known to it.
    pub async fn ready_for_runs(&self) -> Result<scheduler::Client, Failure> {
        if self
            .state()
            .nodes
            .values()
            .any(|node| node.role == Role::Storage)
        {
            self.storage().await?;
        }
        let client = self.scheduler(CALL_MAX).await?;
        self.role_settled(Role::Worker).await?;
        self.workers_registered().await?;
        Ok(client)
    }

    /// Returns once the scheduler knows every worker that is ready, as the process that it is now.
    async fn workers_registered(&self) -> Result<(), Failure> {
        let until_ms = self.until_ms();
        loop {
            let client = self.scheduler(CALL_MAX).await?;
            let unregistered = self.unregistered_workers();
            let Some((missing, _)) = unregistered.first() else {
                return Ok(());
            };
            if self.fabric.now_ms() >= until_ms {
                return Err(Failure::new(format!(
                    "worker `{missing}` did not register with the scheduler"
                )));
            }
            let known = match client.cluster(&Empty {}).await {
                Ok(known) => known,
                // It may just have been lost, and another one lead soon.
                Err(status) if matches!(status.kind, Kind::Unavailable | Kind::Timeout) => {
                    self.fabric.sleep(POLL_INTERVAL).await;
                    continue;
                }
                Err(status) => return Err(status.into()),
            };
            for (name, address) in &unregistered {
                let worker = node::Client::new(self.fabric.clone(), address.clone(), CALL_MAX);
                // A worker that does not answer now is asked again.
                let Ok(status) = worker.status(&Empty {}).await else {
                    continue;
                };
                let is_known = known
                    .workers
                    .iter()
                    .any(|worker| worker.incarnation == status.incarnation);
                self.change(|state| {
                    if let Some(node) = state.nodes.get_mut(name) {
                        node.registered |= is_known;
                    }
                });
            }
            if !self.unregistered_workers().is_empty() {
                self.fabric.sleep(POLL_INTERVAL).await;
            }
        }
    }

    fn unregistered_workers(&self) -> Vec<(String, Address)> {
        let state = self.state();
        let missing =
            |node: &Node| node.role == Role::Worker && node.is_ready() && !node.registered;
        let workers = state.nodes.iter().filter(|(_, node)| missing(node));
        workers
            .map(|(name, node)| (name.clone(), node.address.clone()))
            .collect()
    }
}

/// The status may begin with the address itself.
pub(super) fn no_answer(role: &str, at: &Address, status: &Status) -> Failure {
    let why = status.message.strip_prefix(&format!("{at}: "));
    let why = why.unwrap_or(&status.message);
    Failure::new(format!("no {role} answers at {at}: {why}"))
}

fn still_starting(name: &str, patience: Duration) -> Failure {
    let failure = Failure::new(format!(
        "node `{name}` is still starting after {} ms",
        patience.as_millis()
    ));
    failure.hint("`set timeout MS` makes commands wait longer")
}
