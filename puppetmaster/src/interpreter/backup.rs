//! `backup`: a copy of all records in a file.
//!
//! Promise: of each partition the file has the state of one replica at one instant, and that covers whatever any
//! replica that answers had acknowledged before the command began. Nothing stops meanwhile.

use super::Interpreter;
use crate::backup::Writer;
use crate::cluster::CALL_MAX;
use crate::language::Name;
use crate::outcome::Failure;
use crate::output::Event;
use crate::script::blocking;
use common::client::StorageClient;
use common::diagnostic::Line;
use common::proto::{
    BackupPartitions, PartitionTimestamp, ReadSnapshotRequest, RecordCopies, TakeSnapshotRequest,
    Timestamp, storage,
};
use common::status::{Kind, Status};
use common::types::{PartitionId, RUNS_PREFIX, ReplicaId};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Partitions that one replica copies at one instant: each copy goes through all of its records.
const PARTITIONS_AT_ONCE: usize = 32;
/// The person is told how far it is each time so many records were done.
const PROGRESS_RECORDS: u64 = 10_000;
/// The pause before a replica that lacks something is asked again.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(50);

/// What each replica that answers has applied, by its id, and why the others did not.
pub(super) struct Applied {
    pub timestamps: BTreeMap<ReplicaId, BTreeMap<PartitionId, Timestamp>>,
    /// Names, with the reason.
    pub silent: Vec<(String, String)>,
}

/// Where a file of this name is written: beside the script, as what it names is looked for there first.
pub(super) fn beside(line: &Line, file: &Name) -> PathBuf {
    let script = Path::new(line.file.as_ref());
    script.with_file_name("").join(file.text())
}

impl Interpreter {
    pub(super) async fn backup(&self, line: &Line, file: &Name) -> Result<(), Failure> {
        let client = self.cluster.storage().await?;
        let applied = self.applied(&client).await?;
        for (name, why) in &applied.silent {
            self.cluster.output.message(format!(
                "node `{name}` is not asked, since it does not answer ({why}): what only it has is not copied"
            ));
        }
        let plan = plan(&client, &applied)?;
        let (path, unique) = (beside(line, file), self.cluster.session.clone());
        let ring = client.ring().into();
        let mut writer = on_disk(move || Writer::create(&path, &unique, ring)).await?;
        let mut copied = 0;
        for (replica, partitions) in plan {
            for partitions in partitions.chunks(PARTITIONS_AT_ONCE) {
                writer = self
                    .copy(&client, replica, partitions, writer, &mut copied)
                    .await?;
            }
        }
        let trailer = on_disk(move || writer.finish()).await?;
        self.cluster.output.say(&Event::Copied {
            records: trailer.records,
            versions: trailer.versions,
            file: file.text().to_owned(),
        });
        Ok(())
    }

    /// Asks all storage nodes at once.
    pub(super) async fn applied(&self, client: &StorageClient) -> Result<Applied, Failure> {
        let mut applied = Applied {
            timestamps: BTreeMap::new(),
            silent: Vec::new(),
        };
        let asking = client.ring().nodes.iter().map(|member| async move {
            let answer = self.cluster.applied_by(&member.name).await;
            (member, answer)
        });
        for (member, answer) in futures::future::join_all(asking).await {
            match answer {
                Ok(answer) => {
                    let of = answer.timestamps.into_iter();
                    let timestamps = of.map(|of| (of.partition, of.timestamp.unwrap_or_default()));
                    let timestamps = timestamps.collect();
                    applied.timestamps.insert(member.replica, timestamps);
                }
                Err(failure) => {
                    let name = member.name.clone();
                    applied.silent.push((name, failure.message()));
                }
            }
        }
        Ok(applied)
    }

    /// Copies some partitions of a replica as they are at one instant.
    async fn copy(
        &self,
        client: &StorageClient,
        replica: ReplicaId,
        partitions: &[PartitionTimestamp],
        mut writer: Writer,
        copied: &mut u64,
    ) -> Result<Writer, Failure> {
        let node = client.ring().node(replica);
        let node = node.ok_or_else(|| Failure::new(format!("there is no replica {replica}")))?;
        let (name, fabric) = (&node.name, self.cluster.fabric.clone());
        let stopped = |status: Status| Failure::new(format!("node `{name}`: {}", status.message));
        let replica = storage::Client::new(fabric, node.address.clone(), CALL_MAX);
        let request = TakeSnapshotRequest {
            partitions: partitions.to_vec(),
        };
        let taken = self.patiently(|| replica.take_snapshot(&request)).await;
        let taken = taken.map_err(stopped)?;
        let (snapshot, header) = (
            taken.snapshot,
            BackupPartitions {
                node: name.clone(),
                partitions: taken.partitions,
            },
        );
        writer = on_disk(move || writer.partitions(header).map(|()| writer)).await?;
        let mut after = 0;
        loop {
            let request = ReadSnapshotRequest { snapshot, after };
            let page = replica.read_snapshot(&request).await.map_err(stopped)?;
            if page.records.is_empty() {
                return Ok(writer);
            }
            after += page.records.len() as u64;
            let mut records = page.records;
            records.retain(|copy| !copy.record.starts_with(RUNS_PREFIX));
            self.say_progress("copied", copied, records.len() as u64);
            let records = RecordCopies { records };
            writer = on_disk(move || writer.records(records).map(|()| writer)).await?;
        }
    }

    /// Counts what was done of a long work, and says now and then how far it is.
    pub(super) fn say_progress(&self, done: &str, records: &mut u64, more: u64) {
        let before = *records;
        *records += more;
        if before / PROGRESS_RECORDS != *records / PROGRESS_RECORDS {
            let text = format!("{records} records {done}");
            self.cluster.output.message(text);
        }
    }

    /// Asks a replica again, as long as any command waits, while it still lacks what others have or has too much to do.
    pub(super) async fn patiently<T, A: Future<Output = Result<T, Status>>>(
        &self,
        ask: impl Fn() -> A,
    ) -> Result<T, Status> {
        let fabric = &self.cluster.fabric;
        let patience = self.cluster.settings().patience();
        let until_ms = fabric.now_ms() + u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        loop {
            match ask().await {
                Err(status)
                    if matches!(status.kind, Kind::Unavailable | Kind::Overloaded)
                        && fabric.now_ms() < until_ms =>
                {
                    fabric.sleep(CATCH_UP_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

/// Which replica copies which partitions, and what each copy has to cover. Partitions take turns among their replicas.
fn plan(
    client: &StorageClient,
    applied: &Applied,
) -> Result<BTreeMap<ReplicaId, Vec<PartitionTimestamp>>, Failure> {
    let mut plan: BTreeMap<ReplicaId, Vec<PartitionTimestamp>> = BTreeMap::new();
    for partition in 0..client.ring().partitions {
        let replicas = client.placement().replicas(partition);
        let answer = |replica: &&ReplicaId| applied.timestamps.contains_key(replica);
        let living: Vec<ReplicaId> = replicas.iter().filter(answer).copied().collect();
        let turn = partition as usize % living.len().max(1);
        let Some(chosen) = living.get(turn) else {
            let names = replicas.iter().filter_map(|id| client.ring().node(*id));
            let names: Vec<String> = names.map(|node| format!("`{}`", node.name)).collect();
            return Err(Failure::new(format!(
                "partition {partition} cannot be copied: none of its replicas answers ({})",
                names.join(", ")
            )));
        };
        let mut merged = Timestamp::default();
        let known = living.iter().filter_map(|id| applied.timestamps.get(id));
        for timestamp in known.filter_map(|of| of.get(&partition)) {
            for (replica, count) in &timestamp.counts {
                let most = merged.counts.entry(*replica).or_default();
                *most = (*most).max(*count);
            }
        }
        plan.entry(*chosen).or_default().push(PartitionTimestamp {
            partition,
            timestamp: Some(merged),
        });
    }
    Ok(plan)
}

/// Work on a file does not hold up the rest.
pub(super) async fn on_disk<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Display + Send + 'static,
{
    let done = blocking(work).await;
    let done = done.ok_or_else(|| Failure::new("the thread that uses the file has failed"))?;
    done.map_err(|error| Failure::new(error.to_string()))
}
