//! The commands that show many things at once, in a fixed order.

use super::Interpreter;
use super::storage::text;
use crate::cluster::{Node, Phase};
use crate::language::Role;
use crate::outcome::Failure;
use crate::output::{Event, RecordRow};
use common::proto::{
    Empty, ListRequest, NodeStatus, RunReport, RunState, RunsRequest, node, storage,
};
use common::types::{RESERVED_PREFIX, RecordVersion, Version};
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a node may take to say how it fares.
const STATUS_MAX: Duration = Duration::from_secs(2);
/// The state of a node that answers.
const PRESENT: &str = "present";
/// Records asked for at once.
const LIST_PAGE_RECORDS: u32 = 1000;
/// Outputs of runs asked for at the same time.
const OUTPUTS_FETCHED_MAX: usize = 64;
/// Runs that are shown, the newest ones.
const RUNS_SHOWN_MAX: u32 = 1000;

/// All that one storage node holds: per record its versions, newest first.
pub(super) type Contents = BTreeMap<String, Vec<RecordVersion>>;

/// What several storage nodes hold, each by its name, in order of creation.
#[derive(Default)]
pub(super) struct AllContents {
    pub known: Vec<(String, Contents)>,
    /// Those that did not say it, and why.
    pub silent: Vec<(String, String)>,
}

impl Interpreter {
    /// Every node in order of creation.
    pub(super) async fn status(&self) -> Result<(), Failure> {
        self.cluster.refresh().await?;
        for (name, _) in self.cluster.nodes() {
            self.cluster.settled(&name).await?;
        }
        let nodes = self.cluster.nodes();
        let rows = join_all(
            nodes
                .iter()
                .map(|(name, node)| self.node_status(name, node)),
        )
        .await;
        self.cluster.output.say(&Event::Nodes(rows));
        Ok(())
    }

    async fn node_status(&self, name: &str, node: &Node) -> (NodeStatus, String) {
        let unheard = NodeStatus {
            name: name.to_owned(),
            role: node.role.name().to_owned(),
            url: node.address.to_string(),
            ..NodeStatus::default()
        };
        match &node.phase {
            Phase::Starting => (unheard, "starting".to_owned()),
            // Why was said when it happened; here it would only make the table wide.
            Phase::Failed(_) => (unheard, "dead: could not be started".to_owned()),
            Phase::Down(why) => {
                let short = why.split(';').next().unwrap_or_default();
                (unheard, format!("dead: {short}"))
            }
            Phase::Ready if node.frozen => (unheard, "frozen".to_owned()),
            Phase::Ready => {
                let client = node::Client::new(
                    self.cluster.fabric.clone(),
                    node.address.clone(),
                    STATUS_MAX,
                );
                match client.status(&Empty {}).await {
                    Ok(status) => (status, PRESENT.to_owned()),
                    Err(status) => (unheard, format!("silent: {}", status.message)),
                }
            }
        }
    }

    pub(super) async fn list_server(&self, name: &str) -> Result<(), Failure> {
        let contents = self.contents_of(name).await?;
        self.say_records(vec![(name.to_owned(), contents)]);
        Ok(())
    }

    /// Nodes that do not answer are left out, and named.
    pub(super) async fn list_global(&self) -> Result<(), Failure> {
        let all = self.all_contents(&BTreeSet::new()).await?;
        for (name, why) in &all.silent {
            let left_out = format!("node `{name}` is left out, since it does not answer: {why}");
            self.cluster.output.message(left_out);
        }
        if all.known.is_empty() && !all.silent.is_empty() {
            return Err(Failure::new("no storage node answers"));
        }
        self.say_records(all.known);
        Ok(())
    }

    /// What every living storage node holds, without those of `except`.
    pub(super) async fn all_contents(
        &self,
        except: &BTreeSet<String>,
    ) -> Result<AllContents, Failure> {
        let mut asked = self.living_storage().await?;
        asked.retain(|(name, _)| !except.contains(name));
        let answers = join_all(asked.iter().map(|(name, _)| self.contents_of(name))).await;
        let mut all = AllContents::default();
        for ((name, _), answer) in asked.into_iter().zip(answers) {
            match answer {
                Ok(contents) => all.known.push((name, contents)),
                Err(failure) => all.silent.push((name, failure.message())),
            }
        }
        Ok(all)
    }

    async fn contents_of(&self, name: &str) -> Result<Contents, Failure> {
        let (client, _) = self.cluster.storage_node(name).await?;
        contents(&client).await
    }

    /// The storage nodes that do not answer and that others take for dead: nobody waits for them.
    pub(super) async fn given_up(&self) -> Result<BTreeSet<String>, Failure> {
        let living = self.living_storage().await?;
        let asking = living
            .iter()
            .map(|(name, node)| self.node_status(name, node));
        let (answered, silent): (Vec<_>, Vec<_>) = join_all(asking)
            .await
            .into_iter()
            .partition(|(_, state)| state == PRESENT);
        let peers = answered.iter().flat_map(|(status, _)| &status.peers);
        let dead: BTreeSet<&str> = peers
            .filter(|peer| ["dead", "suspected"].contains(&peer.state.as_str()))
            .map(|peer| peer.name.as_str())
            .collect();
        let names = silent.into_iter().map(|(status, _)| status.name);
        Ok(names.filter(|name| dead.contains(name.as_str())).collect())
    }

    /// In order of creation, once none is starting.
    async fn living_storage(&self) -> Result<Vec<(String, Node)>, Failure> {
        self.cluster.storage().await?;
        self.cluster.role_settled(Role::Storage).await?;
        let mut nodes = self.cluster.nodes();
        nodes.retain(|(_, node)| node.role == Role::Storage && node.is_ready());
        Ok(nodes)
    }

    /// One row for each version of each record of users, with the nodes that hold it.
    fn say_records(&self, all: Vec<(String, Contents)>) {
        let mut rows: BTreeMap<(String, Reverse<Version>, Option<String>), Vec<String>> =
            BTreeMap::new();
        for (name, contents) in all {
            let of_users = |(key, _): &(String, _)| !key.starts_with(RESERVED_PREFIX);
            for (key, versions) in contents.into_iter().filter(of_users) {
                for found in versions {
                    let row = (key.clone(), Reverse(found.version), text(&found));
                    rows.entry(row).or_default().push(name.clone());
                }
            }
        }
        let rows = rows
            .into_iter()
            .map(|((key, Reverse(version), value), nodes)| RecordRow {
                key,
                version,
                value,
                nodes: Some(nodes),
            });
        self.cluster.output.say(&Event::Records(rows.collect()));
    }

    /// The oldest first.
    pub(super) async fn list_runs(&self) -> Result<(), Failure> {
        let client = self.cluster.scheduler(STATUS_MAX).await?;
        let mut runs = client
            .runs(&RunsRequest {
                limit: RUNS_SHOWN_MAX,
            })
            .await?
            .runs;
        runs.sort_by_key(|report| report.run);
        // The scheduler lists runs without their outputs.
        let completed = runs.into_iter().map(|report| self.with_output(report));
        let runs = stream::iter(completed)
            .buffered(OUTPUTS_FETCHED_MAX)
            .collect::<Vec<_>>()
            .await;
        self.cluster.output.say(&Event::Runs(runs));
        Ok(())
    }

    /// A completed run with its output: known here when the run was followed to its end, otherwise fetched.
    async fn with_output(&self, mut report: RunReport) -> RunReport {
        if report.state() == RunState::Completed {
            let ended = match self.runs.ended(report.run) {
                Some(ended) => Ok(ended),
                None => self.runs.report_now(report.run).await,
            };
            match ended {
                Ok(ended) => report.output = ended.output,
                Err(failure) => {
                    let (run, why) = (report.run, failure.message());
                    let message = format!("the result of run {run} is not shown: {why}");
                    self.cluster.output.message(message);
                }
            }
        }
        report
    }
}

async fn contents(client: &storage::Client) -> Result<Contents, Failure> {
    let mut contents = Contents::new();
    let mut after = String::new();
    loop {
        let page = client
            .list(&ListRequest {
                after: after.clone(),
                limit: LIST_PAGE_RECORDS,
            })
            .await?;
        let last = page.records.last().map(|record| record.record.clone());
        for listed in page.records {
            contents.insert(
                listed.record,
                listed.versions.into_iter().map(Into::into).collect(),
            );
        }
        match last {
            Some(last) if page.more => after = last,
            _ => return Ok(contents),
        }
    }
}
