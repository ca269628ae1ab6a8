//! What the PCSs say of the nodes: ready, exited, and the silence of a PCS itself.

use super::{CALL_MAX, Cluster, Node, Phase, State};
use crate::outcome::{Failure, Outcome};
use crate::output::Event;
use common::fabric::{Address, Serving};
use common::proto::process_event::What;
use common::proto::{Exited, Link, ProcessEvent, SetDebugRequest, WatchRequest};
use common::proto::{node, pcs};
use common::types::Ring;
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;

/// How long `Watch` waits for an event, and how long without `Watch` a PCS lets our processes live. Their sum is
/// below the 2 s in which no process may be left when this process is killed.
const WATCH_WAIT_MS: u32 = 300;
const LEASE_MS: u32 = 1_500;
/// A PCS silent for this long is lost, and its nodes with it.
const PCS_SILENCE_MAX_MS: u64 = 3_000;
/// The pause before a PCS that did not answer is asked again.
const PCS_RETRY: Duration = Duration::from_millis(100);

impl Cluster {
    pub(super) fn start_failed(&self, name: &str, why: &str) {
        let why = format!("could not be started: {why}");
        let news = self.change(|state| {
            state.outcome = state.outcome.and(Outcome::NodeLost);
            let node = state
                .nodes
                .get_mut(name)
                .filter(|node| node.phase == Phase::Starting)?;
            node.phase = Phase::Failed(why.clone());
            Some(())
        });
        if news.is_some() {
            self.output.say(&Event::NodeLost {
                name: name.to_owned(),
                why,
            });
        }
    }

    fn on_event(self: &Arc<Self>, event: ProcessEvent) {
        let Some(node) = self.node(&event.name) else {
            return;
        };
        if node.previous_pid == Some(event.pid) {
            return;
        }
        match event.what {
            Some(What::Ready(_)) => self.spawn(settle(Arc::clone(self), event.name)),
            Some(What::Exited(exited)) => self.on_exited(&event.name, &node, &exited),
            None => {}
        }
    }

    fn on_exited(self: &Arc<Self>, name: &str, node: &Node, exited: &Exited) {
        // Whoever asked for it notes it when the PCS has answered.
        if exited.asked {
            return;
        }
        let words = exited.last_words.trim();
        let words = if words.is_empty() {
            String::new()
        } else {
            format!("; its last words: {words}")
        };
        match node.phase {
            Phase::Starting => self.start_failed(name, &format!("{}{words}", exited.how)),
            Phase::Ready => self.lost(name, &format!("was lost: {}{words}", exited.how)),
            Phase::Down(_) | Phase::Failed(_) => {}
        }
    }

    fn lost(self: &Arc<Self>, name: &str, why: &str) {
        self.change(|state| state.outcome = state.outcome.and(Outcome::NodeLost));
        let Some(dead) = self.note_down(name, why, false) else {
            return;
        };
        self.output.say(&Event::NodeLost {
            name: name.to_owned(),
            why: why.to_owned(),
        });
        let (cluster, name) = (Arc::clone(self), name.to_owned());
        self.spawn(async move { cluster.certify_death(&name, &dead).await });
    }

    fn pcs_lost(self: &Arc<Self>, pcs: &Address, why: &str) {
        for (name, node) in self.nodes() {
            if node.pcs.as_ref() != Some(pcs) {
                continue;
            }
            let why = format!("the PCS at {pcs} is gone: {why}");
            match node.phase {
                Phase::Starting => self.start_failed(&name, &why),
                Phase::Ready => self.lost(&name, &format!("was lost: {why}")),
                Phase::Down(_) | Phase::Failed(_) => {}
            }
        }
        self.change(|state| state.watched.remove(pcs));
    }

    /// Where nodes send their debug lines; those that are ready are told at once.
    pub async fn debug_to(&self, serving: Serving) -> Result<(), Failure> {
        let url = serving.address.to_string();
        let ready: Vec<Address> = self.change(|state| {
            state.debug = Some(Arc::new(serving));
            state
                .nodes
                .values()
                .filter(|node| node.is_ready())
                .map(|node| node.address.clone())
                .collect()
        });
        let telling = ready
            .into_iter()
            .map(|address| self.tell_debug(address, url.clone()));
        join_all(telling).await.into_iter().collect()
    }

    /// Whether debug lines are collected already.
    pub fn is_debugging(&self) -> bool {
        self.state().debug.is_some()
    }

    async fn tell_debug(&self, address: Address, url: String) -> Result<(), Failure> {
        let client = node::Client::new(self.fabric.clone(), address, CALL_MAX);
        client.set_debug(&SetDebugRequest { url }).await?;
        Ok(())
    }

    async fn introduce(&self, name: &str, node: &Node, news: &News) -> Result<(), Failure> {
        if !news.faulty_links.is_empty() {
            let links = news.faulty_links.clone();
            self.set_faults(&node.address, links).await?;
        }
        if let Some(url) = &news.debug {
            self.tell_debug(node.address.clone(), url.clone()).await?;
        }
        match &news.ring {
            Some(ring) => self.introduce_ring(name, node, ring).await,
            None => Ok(()),
        }
    }
}

/// Hears what becomes of the processes of one PCS; it is also our sign of life to it.
pub(super) async fn watch(cluster: Arc<Cluster>, pcs: Address) {
    let wait = Duration::from_millis(u64::from(WATCH_WAIT_MS));
    let client = pcs::Client::new(cluster.fabric.clone(), pcs.clone(), wait + CALL_MAX);
    let mut after = 0;
    let mut silent_since_ms = None;
    loop {
        let request = WatchRequest {
            session: cluster.session.clone(),
            after,
            wait_ms: WATCH_WAIT_MS,
            lease_ms: LEASE_MS,
        };
        match client.watch(&request).await {
            Ok(response) => {
                silent_since_ms = None;
                for event in response.events {
                    after = after.max(event.number);
                    cluster.on_event(event);
                }
            }
            Err(status) => {
                let now_ms = cluster.fabric.now_ms();
                let since_ms = *silent_since_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(since_ms) > PCS_SILENCE_MAX_MS {
                    cluster.pcs_lost(&pcs, &status.message);
                    return;
                }
                cluster.fabric.sleep(PCS_RETRY).await;
            }
        }
    }
}

/// Tells a node that has just become ready what it must know, and only then lets commands use it.
async fn settle(cluster: Arc<Cluster>, name: String) {
    loop {
        let (node, news) = {
            let state = cluster.state();
            let Some(node) = state.nodes.get(&name) else {
                return;
            };
            (node.clone(), News::of(&state, &name))
        };
        if let Err(failure) = cluster.introduce(&name, &node, &news).await {
            cluster.start_failed(&name, &failure.message());
            return;
        }
        // What was changed meanwhile must be told as well.
        let told_all = cluster.change(|state| {
            let told_all = News::of(state, &name) == news;
            let node = state
                .nodes
                .get_mut(&name)
                .filter(|node| node.phase == Phase::Starting)?;
            if told_all {
                node.phase = Phase::Ready;
            }
            Some(told_all)
        });
        match told_all {
            Some(true) => {
                let (role, url) = (node.role.name(), node.address.to_string());
                cluster.output.say(&Event::NodeReady { name, role, url });
                return;
            }
            Some(false) => {}
            None => return,
        }
    }
}

/// What a node must know.
#[derive(PartialEq)]
struct News {
    /// Set once.
    ring: Option<Arc<Ring>>,
    /// Where its debug lines go.
    debug: Option<String>,
    faulty_links: Vec<Link>,
}

impl News {
    fn of(state: &State, node: &str) -> Self {
        let debug = state.debug.as_ref();
        Self {
            ring: state.ring.clone(),
            debug: debug.map(|serving| serving.address.to_string()),
            faulty_links: state.faulty_links(node),
        }
    }
}
