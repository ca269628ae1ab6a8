//! Whether a data directory is whole: its log, its table, and the state that a node would recover from them.
//!
//! Promises: the directory is as it was before; nobody can use it meanwhile; what is wrong is named with its file and
//! place. Relies on nothing but what a node relies on at its start, whose code this is. What only other replicas could
//! tell (that a whole log is an old one) it cannot find.

use std::path::{Path, PathBuf};

use common::types::RESERVED_PREFIX;

use crate::core::durable::Durable;
use crate::core::soundness::{check_change, check_durable, check_record};
use crate::disk::log::format::segment_first;
use crate::disk::read_only::{ReadOnlyFiles, TableCopy};
use crate::disk::{DiskError, Files, Log, LogSettings, Table, Torn};
use crate::engine::recovery::{Examine, Recovery};

/// The parts of a data directory, as [`crate::engine::directory`] names them.
const LOG: &str = "log";
const TABLE: &str = "table";

/// What a whole directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub owner: Owner,
    /// Those of users, and their versions.
    pub records: usize,
    pub versions: usize,
    /// Those of Marionette itself: operators, runs, the lease.
    pub reserved: usize,
    /// Records with an update whose outcome this node does not know.
    pub undecided: Vec<String>,
    /// Changes since the data began.
    pub changes: u64,
    /// Of the table, which holds all changes up to `covers`.
    pub table_keys: u64,
    pub covers: u64,
    pub log_segments: usize,
    pub log_bytes: u64,
    /// What the next start will cut off, for it was never synced.
    pub torn: Option<Torn>,
}

/// Whose data it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub node: String,
    pub replica: u32,
    /// `ID=URL,ID=URL`.
    pub ring: String,
    /// On which all nodes of the ring agree.
    pub settings: String,
    /// Names this copy of the data; the other replicas know it.
    pub disk: u64,
    /// It votes.
    pub joined: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{0} is no data directory of a storage node, or no node has begun in it")]
    NoData(PathBuf),
    /// In use, or not to be read: nothing is known about it.
    #[error("{0}")]
    Unreadable(DiskError),
    #[error("{0}")]
    Damaged(String),
}

/// Reads all of it. The table is copied to the directory for temporary files, since sled writes when it is opened.
pub fn verify(directory: &Path) -> Result<Report, VerifyError> {
    let log_directory = directory.join(LOG);
    if !log_directory.is_dir() {
        return Err(VerifyError::NoData(directory.to_owned()));
    }
    let files = ReadOnlyFiles::open(log_directory.clone()).map_err(failed)?;
    let names = files.list().map_err(failed)?;
    let is_segment = |name: &&String| segment_first(name).is_some();
    let log_segments = names.iter().filter(is_segment).count();
    let examine = Examine {
        record: check_record,
        change: check_change,
    };
    let mut recovery = Recovery::examining(examine);
    let mut table_keys = 0;
    let copy = TableCopy::open(&directory.join(TABLE)).map_err(failed)?;
    let read = copy.table.for_each(&mut |key, value| {
        table_keys += 1;
        recovery.restore(key, value)
    });
    read.map_err(|error| failed(copy.named(error)))?;
    let covers = recovery.covers();
    let settings = LogSettings::default();
    let opened = Log::open(files, settings, covers, |sequence, entry| {
        recovery.replay(sequence, entry)
    });
    let (_log, found) = opened.map_err(|error| failed(in_directory(error, &log_directory)))?;
    let Some(recovered) = recovery.done() else {
        return Err(VerifyError::NoData(directory.to_owned()));
    };
    let durable = &recovered.durable;
    let damaged = |why| VerifyError::Damaged(format!("{}: {why}", directory.display()));
    check_durable(durable).map_err(damaged)?;
    // A replica may have promised something about a record that was never written.
    let records = durable.records().iter();
    let records = records.map(|(name, of)| (name, of.versions().count()));
    let written = records.filter(|(_, versions)| *versions > 0);
    let (reserved, records): (Vec<_>, Vec<_>) =
        written.partition(|(name, _)| name.starts_with(RESERVED_PREFIX));
    Ok(Report {
        owner: Owner::of(durable),
        records: records.len(),
        reserved: reserved.len(),
        versions: records.iter().map(|(_, versions)| versions).sum(),
        undecided: durable.undecided().iter().cloned().collect(),
        changes: recovered.sequence,
        table_keys,
        covers,
        log_segments,
        log_bytes: found.bytes,
        torn: found.torn,
    })
}

impl Owner {
    fn of(durable: &Durable) -> Self {
        let founding = &durable.founding;
        let members = founding.ring.nodes.iter();
        let ring: Vec<String> = members
            .map(|node| format!("{}={}", node.name, node.address))
            .collect();
        let own = founding.ring.node(founding.replica);
        Self {
            node: own.map_or_else(|| "nobody".to_owned(), |node| node.name.clone()),
            replica: founding.replica,
            ring: ring.join(","),
            settings: format!(
                "replication {}, commit {}, max_versions {}",
                founding.ring.replication, founding.ring.commit, founding.ring.max_versions
            ),
            disk: founding.disk,
            joined: durable.joined,
        }
    }
}

fn failed(error: DiskError) -> VerifyError {
    match error {
        DiskError::Corrupt { .. } | DiskError::Format { .. } => {
            VerifyError::Damaged(error.to_string())
        }
        other => VerifyError::Unreadable(other),
    }
}

/// The log's errors name its files only.
fn in_directory(error: DiskError, directory: &Path) -> DiskError {
    match error {
        DiskError::Corrupt {
            file,
            place,
            reason,
        } => DiskError::Corrupt {
            file: directory.join(file).display().to_string(),
            place,
            reason,
        },
        DiskError::Format {
            file,
            found,
            expected,
        } => DiskError::Format {
            file: directory.join(file).display().to_string(),
            found,
            expected,
        },
        other => other,
    }
}
