//! A node whose disk is full: it refuses to write, goes on reading, and writes again when there is room.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::fabric::{Address, AddressError};
use common::proto::{HistoryRequest, ReadRequest, UpdateId, WriteRequest, storage::Client};
use common::status::{Kind, Status};
use common::types::ReplicaId;
use tempfile::TempDir;

use crate::cluster::{Cluster, ClusterError, PATIENCE, Place, Settings, detail};
use crate::launcher::{Launcher, LauncherError};
use crate::ports;

const DISK_BYTES: usize = 24 << 20;
/// Of a file that is in the way until it is deleted.
const FILLER_BYTES: usize = 8 << 20;
const VALUE_BYTES: usize = 64 << 10;
const NODE: ReplicaId = 1;
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum FullDiskError {
    /// Here the test cannot be done.
    #[error("no small disk can be mounted here: {0}")]
    Mount(#[from] LauncherError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("cannot use the small disk: {0}")]
    Io(#[from] std::io::Error),
    #[error("the disk never became full")]
    NeverFull,
    #[error("{what}: {status}")]
    Asked { what: String, status: Status },
    #[error("record {0} lacks what was acknowledged")]
    Lost(u64),
}

#[derive(Debug)]
pub struct Outcome {
    /// Acknowledged before the disk was full.
    pub written: u64,
    /// The first write that failed: its outcome was unknown, or it was refused.
    pub first_failure: Status,
    /// What every later one is told.
    pub refusal: Status,
    /// As `status` shows it meanwhile.
    pub state: String,
    /// From the end of the lack of room until a write was acknowledged.
    pub resumed_in: Duration,
}

impl Outcome {
    /// The refusal says that nothing has happened and that the node can only be read.
    pub fn is_as_promised(&self) -> bool {
        self.refusal.kind == Kind::Unavailable && self.state.starts_with("read-only")
    }
}

pub async fn run(mut settings: Settings) -> Result<Outcome, FullDiskError> {
    let directory = TempDir::new()?;
    let disk = directory.path().to_owned();
    let launcher = Arc::new(Launcher::in_new_mounts()?);
    launcher.shell("mount --make-rprivate /")?;
    launcher.shell(&format!(
        "mount -t tmpfs -o size={DISK_BYTES} tmpfs {}",
        disk.display()
    ))?;
    let filler = disk.join("filler");
    fill(&launcher, filler.clone())?;
    let port = ports::free().next().ok_or(ClusterError::NoPort)?;
    let place = Place {
        launcher: launcher.clone(),
        address: Address::parse(&format!("http://127.0.0.1:{port}"))?,
        data: Some(disk.join("data")),
    };
    settings.max_versions = 1;
    let mut cluster = Cluster::start_at(settings, vec![place]).await?;
    let node = cluster.raw(NODE, PATIENCE)?;
    let (written, first_failure) = write_until_full(&node).await?;
    let refusal = write(&node, written + 1).await.err();
    let refusal = refusal.ok_or(FullDiskError::NeverFull)?;
    let state = detail(&cluster.status(NODE).await?, "state").to_owned();
    read_all(&node, written).await?;
    launcher.run(move || std::fs::remove_file(filler))??;
    let begun = Instant::now();
    while let Err(status) = write(&node, written + 1).await {
        if begun.elapsed() > PATIENCE {
            let what = "no write after there was room again".to_owned();
            return Err(FullDiskError::Asked { what, status });
        }
        tokio::time::sleep(POLL).await;
    }
    let resumed_in = begun.elapsed();
    // All of it was durable, also what came after.
    cluster.kill(NODE)?;
    cluster.restart(NODE).await?;
    cluster.await_members(PATIENCE).await?;
    read_all(&node, written).await?;
    read(&node, written + 1).await?;
    Ok(Outcome {
        written,
        first_failure,
        refusal,
        state,
        resumed_in,
    })
}

fn fill(launcher: &Launcher, filler: PathBuf) -> Result<(), FullDiskError> {
    Ok(launcher.run(move || std::fs::write(filler, vec![1; FILLER_BYTES]))??)
}

async fn write_until_full(node: &Client) -> Result<(u64, Status), FullDiskError> {
    let enough = u64::try_from(2 * DISK_BYTES / VALUE_BYTES).unwrap_or(u64::MAX);
    for number in 1..enough {
        if let Err(status) = write(node, number).await {
            return Ok((number - 1, status));
        }
    }
    Err(FullDiskError::NeverFull)
}

/// Of random bytes, which do not compress.
async fn write(node: &Client, number: u64) -> Result<(), Status> {
    let value: Vec<u8> = std::iter::repeat_with(rand::random)
        .take(VALUE_BYTES)
        .collect();
    let request = WriteRequest {
        id: Some(UpdateId {
            origin: "full-disk".to_owned(),
            sequence: number,
        }),
        record: format!("r{number}"),
        value: Some(Bytes::from(value)),
        ..WriteRequest::default()
    };
    node.write(&request).await.map(drop)
}

async fn read_all(node: &Client, written: u64) -> Result<(), FullDiskError> {
    for number in 1..=written {
        read(node, number).await?;
    }
    Ok(())
}

async fn read(node: &Client, number: u64) -> Result<(), FullDiskError> {
    let record = format!("r{number}");
    let request = ReadRequest {
        record: record.clone(),
        ..ReadRequest::default()
    };
    let asked = |status| FullDiskError::Asked {
        what: format!("record {record} cannot be read"),
        status,
    };
    let found = node.read(&request).await.map_err(asked)?.found;
    let value = found.and_then(|found| found.value);
    let record = record.clone();
    let history = node.history(&HistoryRequest { record }).await;
    let is_there = value.is_some_and(|value| value.len() == VALUE_BYTES);
    if is_there && history.is_ok_and(|history| history.versions.len() == 1) {
        Ok(())
    } else {
        Err(FullDiskError::Lost(number))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} writes of {VALUE_BYTES} bytes until the disk of {DISK_BYTES} bytes was full",
            self.written
        )?;
        let told = |status: &Status| format!("{:?}: {status}", status.kind);
        writeln!(f, "the first that failed: {}", told(&self.first_failure))?;
        writeln!(f, "the next: {}", told(&self.refusal))?;
        writeln!(f, "meanwhile all could be read; state: {}", self.state)?;
        write!(
            f,
            "writes went on {} ms after there was room; nothing was lost, also after a crash",
            self.resumed_in.as_millis()
        )
    }
}
