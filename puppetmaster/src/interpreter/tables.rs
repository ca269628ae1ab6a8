//! The commands that show many things at once, in a fixed order.

use super::Interpreter;
use super::storage::text;
use crate::cluster::{Node, Phase};
use crate::language::Role;
use crate::outcome::Failure;
use crate::output::{Event, RecordRow};
use common::proto::{Empty, ListRequest, NodeStatus, RunsRequest, node, storage};
use common::types::{RecordVersion, Version};
use futures::future::join_all;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a node may take to say how it fares.
const STATUS_MAX: Duration = Duration::from_secs(2);
/// Records asked for at once.
const LIST_PAGE_RECORDS: u32 = 1000;
/// Runs that are shown, the newest ones.
const RUNS_SHOWN_MAX: u32 = 1000;

/// All that one storage node holds: per record its versions, newest first.
pub(super) type Contents = BTreeMap<String, Vec<RecordVersion>>;

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
            Phase::Ready => {
                let client = node::Client::new(
                    self.cluster.fabric.clone(),
                    node.address.clone(),
                    STATUS_MAX,
                );
                match client.status(&Empty {}).await {
                    Ok(status) => (status, "present".to_owned()),
                    Err(status) => (unheard, format!("silent: {}", status.message)),
                }
            }
        }
    }

    pub(super) async fn list_server(&self, name: &str) -> Result<(), Failure> {
        let (client, _) = self.cluster.storage_node(name).await?;
        let contents = contents(&client).await?;
        self.say_records(vec![(name.to_owned(), contents)]);
        Ok(())
    }

    pub(super) async fn list_global(&self) -> Result<(), Failure> {
        let all = self.all_contents().await?;
        self.say_records(all);
        Ok(())
    }

    /// What every living storage node holds, in order of creation.
    pub(super) async fn all_contents(&self) -> Result<Vec<(String, Contents)>, Failure> {
        self.cluster.storage().await?;
        self.cluster.role_settled(Role::Storage).await?;
        let living = self
            .cluster
            .nodes()
            .into_iter()
            .filter(|(_, node)| node.role == Role::Storage && node.is_ready());
        let asking = living.map(|(name, _)| async move {
            let (client, _) = self.cluster.storage_node(&name).await?;
            let contents = contents(&client).await;
            let contents = contents
                .map_err(|failure| Failure::new(format!("node `{name}`: {}", failure.message())))?;
            Ok((name, contents))
        });
        join_all(asking).await.into_iter().collect()
    }

    /// One row for each version of each record, with the nodes that hold it.
    fn say_records(&self, all: Vec<(String, Contents)>) {
        let mut rows: BTreeMap<(String, Reverse<Version>, Option<String>), Vec<String>> =
            BTreeMap::new();
        for (name, contents) in all {
            for (key, versions) in contents {
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
        // The scheduler lists runs without their outputs; those of our own are known here.
        for report in &mut runs {
            if let Some(ended) = self.runs.ended(report.run) {
                report.output = ended.output;
            }
        }
        self.cluster.output.say(&Event::Runs(runs));
        Ok(())
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
