//! Network faults: which links between nodes are faulty, and telling each node about its own.
//!
//! Nodes are told one by one: while a command is being executed, some links are faulty already and others not yet.

use super::{CALL_MAX, Cluster, State};
use crate::language::{Fault, Name};
use crate::outcome::Failure;
use common::fabric::Address;
use common::proto::{Link, SetFaultsRequest, faults};
use common::status::{Kind, Status};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct LinkFaults {
    cut: bool,
    delay_ms: u32,
    loss_percent: u32,
}

/// The faulty links, by the names of their two ends: who sends, who gets.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultPlan(BTreeMap<String, BTreeMap<String, LinkFaults>>);

impl FaultPlan {
    fn add(&mut self, from: &str, to: &str, fault: Fault) {
        let links = self.0.entry(from.to_owned()).or_default();
        let link = links.entry(to.to_owned()).or_default();
        match fault {
            Fault::Cut => link.cut = true,
            Fault::Delay { delay_ms } => link.delay_ms = delay_ms,
            Fault::Loss { percent } => link.loss_percent = percent,
        }
    }

    fn remove(&mut self, from: &str, to: &str) {
        if let Some(links) = self.0.get_mut(from) {
            links.remove(to);
        }
    }
}

impl State {
    /// All faulty links from a node.
    pub(super) fn faulty_links(&self, from: &str) -> Vec<Link> {
        let links = self.faults.0.get(from).into_iter().flatten();
        let link = |(to, faults): (&String, &LinkFaults)| {
            Some(Link {
                peer: self.nodes.get(to)?.address.to_string(),
                cut: faults.cut,
                delay_ms: faults.delay_ms,
                loss_percent: faults.loss_percent,
            })
        };
        links.filter_map(link).collect()
    }
}

impl Cluster {
    /// Cuts all links between nodes of different groups.
    pub async fn partition(&self, groups: &[Vec<Name>]) -> Result<(), Failure> {
        self.change(|state| {
            for group in groups {
                let others = groups.iter().filter(|other| *other != group);
                for to in others.flatten() {
                    for from in group {
                        state.faults.add(from.text(), to.text(), Fault::Cut);
                    }
                }
            }
        });
        self.tell_faults(groups.iter().flatten().map(Name::text))
            .await
    }

    pub async fn set_fault(&self, from: &str, to: &str, fault: Fault) -> Result<(), Failure> {
        self.change(|state| state.faults.add(from, to, fault));
        self.tell_faults([from]).await
    }

    /// Gives links a fault, or ends what is wrong with them.
    pub(super) async fn set_faults_of_links<'a>(
        &self,
        links: impl Iterator<Item = (&'a String, &'a String, Option<Fault>)>,
    ) -> Result<(), Failure> {
        let mut senders = BTreeSet::new();
        self.change(|state| {
            for (from, to, fault) in links {
                match fault {
                    Some(fault) => state.faults.add(from, to, fault),
                    None => state.faults.remove(from, to),
                }
                senders.insert(from.as_str());
            }
        });
        self.tell_faults(senders).await
    }

    /// Ends all faults of links.
    pub async fn heal(&self) -> Result<(), Failure> {
        let healed = self.change(|state| std::mem::take(&mut state.faults));
        self.tell_faults(healed.0.keys().map(String::as_str)).await
    }

    /// Tells these nodes about their links, once they are ready. One that does not run, or is frozen, is told when it
    /// goes on.
    pub(super) async fn tell_faults(
        &self,
        names: impl IntoIterator<Item = &str>,
    ) -> Result<(), Failure> {
        let telling = names.into_iter().map(async |name| {
            let node = self.settled(name).await?;
            if !node.is_awake() {
                return Ok(());
            }
            let links = self.state().faulty_links(name);
            let told = self.set_faults(&node.address, links).await;
            told.map_err(|status| {
                if status.kind == Kind::Refused {
                    self.change(|state| state.faults.0.remove(name));
                }
                Failure::new(format!("node `{name}`: {}", status.message))
            })
        });
        join_all(telling).await.into_iter().collect()
    }

    pub(super) async fn set_faults(&self, node: &Address, links: Vec<Link>) -> Result<(), Status> {
        let client = faults::Client::new(self.fabric.clone(), node.clone(), CALL_MAX);
        client.set_faults(&SetFaultsRequest { links }).await?;
        Ok(())
    }
}
