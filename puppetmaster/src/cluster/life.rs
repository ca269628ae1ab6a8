//! The life of nodes as commands want it: created, crashed, stopped, started again.

use super::events::watch;
use super::{CALL_MAX, Cluster, Node, Phase};
use crate::language::{Native, NewNode, Role};
use crate::outcome::Failure;
use common::fabric::Address;
use common::proto::pcs;
use common::proto::{CloseRequest, ProcessRequest, StartRequest};
use futures::future::join_all;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long a process may take to be ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long a PCS may take to stop a process, or all of them.
const STOP_MAX: Duration = Duration::from_secs(15);

impl Cluster {
    /// Creates a node; returns at once. The name and URL were checked.
    pub fn create(self: &Arc<Self>, node: &NewNode) {
        let name = node.name.text().to_owned();
        self.change(|state| state.nodes.insert(name.clone(), Node::starting(node)));
        self.launch(name);
    }

    /// Starts a node again; returns at once.
    pub async fn start(self: &Arc<Self>, name: &str) -> Result<(), Failure> {
        self.settled(name).await?;
        self.restart(name)
    }

    /// The same for a node that is not starting.
    pub(super) fn restart(self: &Arc<Self>, name: &str) -> Result<(), Failure> {
        let refused = self.change(|state| {
            let node = state.nodes.get_mut(name)?;
            if node.is_ready() {
                return Some(());
            }
            node.phase = Phase::Starting;
            node.registered = false;
            node.previous_pid = node.pid.take();
            node.incarnation = 0;
            node.frozen = false;
            node.returns = false;
            if node.role == Role::Scheduler {
                // A new scheduler knows nobody.
                state
                    .nodes
                    .values_mut()
                    .for_each(|node| node.registered = false);
            }
            None
        });
        if refused.is_some() {
            return Err(Failure::new(format!("node `{name}` runs already")));
        }
        self.launch(name.to_owned());
        Ok(())
    }

    /// Kills a node at once, without a goodbye.
    pub async fn crash(self: &Arc<Self>, name: &str) -> Result<(), Failure> {
        self.kill(name, false).await
    }

    /// `returns`: it is started again soon, and who needs it waits for it.
    pub(super) async fn kill(self: &Arc<Self>, name: &str, returns: bool) -> Result<(), Failure> {
        let (client, request) = self.running(name).await?;
        client.kill(&request).await?;
        self.ended(name, "was crashed", returns).await;
        Ok(())
    }

    /// Stops a node gracefully.
    pub async fn stop(self: &Arc<Self>, name: &str) -> Result<(), Failure> {
        let (client, request) = self.running(name).await?;
        client.stop(&request).await?;
        self.ended(name, "was stopped", false).await;
        Ok(())
    }

    /// Stops a node's process where it is.
    pub async fn freeze(&self, name: &str) -> Result<(), Failure> {
        let (client, request) = self.running(name).await?;
        client.freeze(&request).await?;
        self.note_frozen(name, true);
        Ok(())
    }

    /// Lets a frozen node go on, and tells it what it has missed.
    pub async fn unfreeze(&self, name: &str) -> Result<(), Failure> {
        let (client, request) = self.running(name).await?;
        client.unfreeze(&request).await?;
        self.note_frozen(name, false);
        self.tell_faults([name]).await?;
        self.tell_deaths(name).await
    }

    fn note_frozen(&self, name: &str, frozen: bool) {
        self.change(|state| {
            if let Some(node) = state.nodes.get_mut(name) {
                node.frozen = frozen;
            }
        });
    }

    /// Stops everything that was started here, and ends the faults of what was not.
    pub async fn close(&self) {
        if self.connected
            && let Err(failure) = self.heal().await
        {
            let why = failure.message();
            self.output
                .message(format!("the network is not healed: {why}"));
        }
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let watched: Vec<Address> = self.state().watched.iter().cloned().collect();
        let request = CloseRequest {
            session: self.session.clone(),
        };
        let closing = watched.into_iter().map(|pcs| {
            let client = pcs::Client::new(self.fabric.clone(), pcs.clone(), STOP_MAX);
            let request = request.clone();
            async move { (pcs, client.close(&request).await) }
        });
        for (pcs, answer) in join_all(closing).await {
            if let Err(status) = answer {
                self.output.message(format!(
                    "the PCS at {pcs} did not stop its nodes: {}",
                    status.message
                ));
            }
        }
        self.launcher.close().await;
    }

    /// The PCS of a node that runs; held while the node is starting.
    async fn running(&self, name: &str) -> Result<(pcs::Client, ProcessRequest), Failure> {
        let node = self.settled(name).await?;
        match (&node.phase, node.pcs) {
            (Phase::Ready, Some(pcs)) => {
                let request = ProcessRequest {
                    session: self.session.clone(),
                    name: name.to_owned(),
                };
                Ok((
                    pcs::Client::new(self.fabric.clone(), pcs, STOP_MAX),
                    request,
                ))
            }
            (Phase::Down(why) | Phase::Failed(why), _) => {
                Err(Failure::new(format!("node `{name}` {why}")))
            }
            _ => Err(Failure::new(format!(
                "node `{name}` was not started from here"
            ))),
        }
    }

    /// A node's process was reaped because we asked for it.
    async fn ended(self: &Arc<Self>, name: &str, why: &str, returns: bool) {
        if let Some(dead) = self.note_down(name, why, returns) {
            self.certify_death(name, &dead).await;
        }
    }

    /// The node as it was when it died.
    pub(super) fn note_down(&self, name: &str, why: &str, returns: bool) -> Option<Node> {
        self.change(|state| {
            let node = state.nodes.get_mut(name)?;
            node.returns = returns;
            node.phase = Phase::Down(why.to_owned());
            Some(node.clone())
        })
    }

    fn launch(self: &Arc<Self>, name: String) {
        let cluster = Arc::clone(self);
        self.spawn(async move {
            if let Err(failure) = cluster.start_process(&name).await {
                let hint = match &failure {
                    Failure::Failed {
                        hint: Some(hint), ..
                    } => format!(" ({hint})"),
                    _ => String::new(),
                };
                cluster.start_failed(&name, &format!("{}{hint}", failure.message()));
            }
        });
    }

    async fn start_process(self: &Arc<Self>, name: &str) -> Result<(), Failure> {
        let node = self
            .node(name)
            .ok_or_else(|| Failure::new("it is unknown"))?;
        let request = StartRequest {
            session: self.session.clone(),
            name: name.to_owned(),
            role: node.role.name().to_owned(),
            arguments: self.arguments(name, &node).await?,
        };
        let pcs = self.launcher.pcs_for(&self.fabric, &node.address).await?;
        self.change(|state| {
            if let Some(node) = state.nodes.get_mut(name) {
                node.pcs = Some(pcs.clone());
            }
        });
        let started = pcs::Client::new(self.fabric.clone(), pcs.clone(), CALL_MAX)
            .start(&request)
            .await?;
        let watched = self.change(|state| {
            if let Some(node) = state.nodes.get_mut(name) {
                node.pid = Some(started.pid);
            }
            !state.watched.insert(pcs.clone())
        });
        if !watched {
            self.spawn(watch(Arc::clone(self), pcs.clone()));
        }
        let settled = self.wait_for(READY_MAX, |state| {
            let phase = state.nodes.get(name).map(|node| &node.phase);
            (phase != Some(&Phase::Starting)).then_some(())
        });
        if settled.await.is_none() {
            let request = ProcessRequest {
                session: self.session.clone(),
                name: name.to_owned(),
            };
            let kill = pcs::Client::new(self.fabric.clone(), pcs, STOP_MAX)
                .kill(&request)
                .await;
            let killed = kill.map_or_else(
                |status| format!(", nor be killed: {}", status.message),
                |_| String::new(),
            );
            return Err(Failure::new(format!(
                "it did not become ready within {} s{killed}",
                READY_MAX.as_secs()
            )));
        }
        Ok(())
    }

    /// The command line of a node, behind the name of its role. A worker waits for a scheduler to be named.
    async fn arguments(&self, name: &str, node: &Node) -> Result<Vec<String>, Failure> {
        let mut arguments = vec![name.to_owned(), node.address.to_string()];
        if node.role != Role::Scheduler {
            arguments.push(node.gossip_delay_ms.to_string());
        }
        // What a person at the prompt will ask for is not known before.
        arguments.push("--allow-faults".to_owned());
        if node.role == Role::Scheduler {
            let place = self.schedulers().iter().position(|(of, _)| of == name);
            let settings = self.settings();
            if let Some(address) = place.and_then(|place| settings.http.get(place)) {
                arguments.extend(["--http".to_owned(), address.to_string()]);
            }
        }
        if node.role == Role::Storage {
            arguments.extend(self.data_arguments(name));
            let limits = self.settings().limits;
            let option = |(name, limit): (&str, u64)| {
                [format!("--{}", name.replace('_', "-")), limit.to_string()]
            };
            arguments.extend(limits.into_iter().flat_map(option));
        }
        if node.role == Role::Worker {
            let patience = self.settings().patience();
            let schedulers = self.wait_for(patience, |state| {
                let found = state.nodes.values();
                let found = found.filter(|node| node.role == Role::Scheduler);
                let urls: Vec<String> = found.map(|node| node.address.to_string()).collect();
                (!urls.is_empty()).then(|| urls.join(","))
            });
            let schedulers = schedulers
                .await
                .ok_or_else(|| Failure::new("no scheduler was created for it"))?;
            arguments.extend(["--scheduler".to_owned(), schedulers]);
            if let Some(directory) = self.settings().operators {
                arguments.extend(["--operators".to_owned(), directory.display().to_string()]);
            }
            arguments.extend(native_arguments(self.settings().native));
            if let Some(slots) = self.settings().slots {
                arguments.extend(["--slots".to_owned(), slots.to_string()]);
            }
        }
        Ok(arguments)
    }
}

fn native_arguments(native: Option<Native>) -> impl Iterator<Item = String> {
    let options: &[&str] = match native {
        None => &[],
        Some(Native::InTheWorker) => &["--allow-native"],
        Some(Native::Isolated) => &["--allow-native", "--native-isolated"],
    };
    options.iter().map(|option| (*option).to_owned())
}
