//! `restore`: takes the records of a backup into the cluster.
//!
//! Promises: nothing is changed before the whole file was read and every replica has said that it can take all of it;
//! what a replica has acknowledged is durable there; a restore that was interrupted can be repeated. Relies on nobody
//! else using the records meanwhile: what is written in between ends it with an error that names the record.

use super::Interpreter;
use super::backup::{Applied, on_disk};
use crate::backup::{Reader, check};
use crate::language::Name;
use crate::language::files::{Disk, find_path};
use crate::outcome::Failure;
use crate::output::Event;
use common::client::StorageClient;
use common::diagnostic::Line;
use common::proto::{RecordCopy, RestoreRequest, storage};
use common::types::ReplicaId;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// How long a replica may take to make a page of records durable.
const RESTORE_MAX: Duration = Duration::from_mins(1);

impl Interpreter {
    pub(super) async fn restore(&self, line: &Line, file: &Name) -> Result<(), Failure> {
        let path = find_path(&Disk, &line.file, file.text()).map_err(Failure::new)?;
        let client = self.cluster.storage().await?;
        let checked = path.clone();
        let contents = on_disk(move || check(&checked)).await?;
        let applied = self.applied(&client).await?;
        self.all_needed(&client, &applied)?;
        let replicas: BTreeSet<ReplicaId> = applied.timestamps.keys().copied().collect();
        self.each_page(&client, &replicas, &path, true).await?;
        self.each_page(&client, &replicas, &path, false).await?;
        self.cluster.output.say(&Event::Restored {
            records: contents.trailer.records,
            versions: contents.trailer.versions,
            file: file.text().to_owned(),
        });
        Ok(())
    }

    /// Gossip does not bring what is restored to a node that was not there: only one that will copy everything when it
    /// comes back need not be.
    fn all_needed(&self, client: &StorageClient, applied: &Applied) -> Result<(), Failure> {
        let missing = applied.silent.iter().filter(|(name, _)| {
            let member = client.ring().node_named(name);
            let holds = |replica| client.placement().held_by(replica).next().is_some();
            member.is_some_and(|member| holds(member.replica))
                && !self.cluster.comes_back_empty(name)
        });
        let (mut named, mut remedies) = (Vec::new(), Vec::new());
        for (name, why) in missing {
            named.push(format!("`{name}` ({why})"));
            match self.cluster.node(name) {
                Some(node) if node.frozen => remedies.push(format!("`unfreeze {name}`")),
                Some(node) if !node.is_ready() => remedies.push(format!("`start {name}`")),
                // Nothing is known here that would make it answer.
                _ => {}
            }
        }
        if named.is_empty() {
            return Ok(());
        }
        let failure = Failure::new(format!(
            "`restore` needs all replicas; these do not answer: {}",
            named.join(", ")
        ));
        Err(if remedies.is_empty() {
            failure
        } else {
            failure.hint(format!("{} first", remedies.join(", ")))
        })
    }

    async fn each_page(
        &self,
        client: &StorageClient,
        replicas: &BTreeSet<ReplicaId>,
        path: &Path,
        only_check: bool,
    ) -> Result<(), Failure> {
        let path = path.to_owned();
        let mut reader = on_disk(move || Reader::open(&path)).await?;
        let mut restored = 0;
        loop {
            let page;
            (reader, page) = on_disk(move || reader.records().map(|page| (reader, page))).await?;
            let Some(records) = page else { return Ok(()) };
            let count = records.len() as u64;
            send(self, client, replicas, records, only_check).await?;
            if !only_check {
                self.say_progress("restored", &mut restored, count);
            }
        }
    }
}

/// Gives each replica its records of one page; returns when all have them.
async fn send(
    interpreter: &Interpreter,
    client: &StorageClient,
    replicas: &BTreeSet<ReplicaId>,
    records: Vec<RecordCopy>,
    only_check: bool,
) -> Result<(), Failure> {
    let mut shares: BTreeMap<ReplicaId, Vec<RecordCopy>> = BTreeMap::new();
    for record in records {
        let wanted = client.placement().replicas_of(&record.record).iter();
        for replica in wanted.filter(|replica| replicas.contains(replica)) {
            shares.entry(*replica).or_default().push(record.clone());
        }
    }
    let giving = shares.into_iter().filter_map(|(replica, records)| {
        let node = client.ring().node(replica)?;
        let request = RestoreRequest {
            records,
            only_check,
        };
        let fabric = interpreter.cluster.fabric.clone();
        let replica = storage::Client::new(fabric, node.address.clone(), RESTORE_MAX);
        Some(async move {
            let given = interpreter.patiently(|| replica.restore(&request)).await;
            given
                .map_err(|status| Failure::new(format!("node `{}`: {}", node.name, status.message)))
        })
    });
    join_all(giving)
        .await
        .into_iter()
        .try_for_each(|given| given.map(|_| ()))
}
