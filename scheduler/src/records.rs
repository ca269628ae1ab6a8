//! Runs and their outcomes as records of the replicated storage, so that they outlive the scheduler.
//!
//! Each run has a *place*, which it gives back when it is forgotten: there are never more records than runs that were
//! known at once. Operators cannot reach them.
//!
//! Promises: when [`RunStore::keep_run`] or [`RunStore::keep_outcome`] has returned well, the value is durable at one
//! storage node, and at all that are needed to survive what the commit mode survives, unless that takes longer than
//! [`SPREAD_MS`]: a script may delay gossip by seconds, and no run shall wait for that. What was kept last is what
//! [`RunStore::recover`] finds, if the nodes that have it are there.

mod convert;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use common::client::{Route, StorageClient};
use common::fabric::FabricHandle;
use common::proto::{Level, StoredOutcome, StoredRun};
use common::status::Status;
use common::types::{
    CommitMode, RUNS_PREFIX, RecordId, RecordVersion, RunOrigin, UpdateId, Version,
};
use prost::Message;

use crate::core::{Recovered, Run, RunNumber};

/// How long the storage may take for one record.
const STORAGE_MS: u64 = 10_000;
/// How long a run waits until its record is at more than one replica.
const SPREAD_MS: u64 = 250;

/// Cheap to clone.
#[derive(Clone)]
pub struct RunStore {
    fabric: FabricHandle,
    client: StorageClient,
    /// Names this life of the scheduler.
    origin: Arc<str>,
    /// Names all its lives.
    pub lineage: u64,
    state: Arc<Mutex<Places>>,
}

#[derive(Default)]
struct Places {
    of: BTreeMap<RunNumber, u32>,
    free: BTreeSet<u32>,
    /// How many there are.
    count: u32,
    /// The newest version of each record: what is written is newer.
    versions: BTreeMap<RecordId, Version>,
    writes: u64,
}

fn run_record(place: u32) -> RecordId {
    format!("{RUNS_PREFIX}{place:08}")
}

/// The place whose run this record holds.
fn place_of(id: &str) -> Option<u32> {
    id.strip_prefix(RUNS_PREFIX)?.parse().ok()
}

fn outcome_record(place: u32) -> RecordId {
    format!("{RUNS_PREFIX}{place:08}/outcome")
}

/// What earlier lives of the scheduler have kept.
pub struct Found {
    pub runs: Vec<Recovered>,
    /// All storage nodes have answered.
    pub is_whole: bool,
}

impl RunStore {
    /// Finds what earlier lives have kept, and makes ready to keep more.
    pub async fn recover(
        fabric: FabricHandle,
        client: StorageClient,
        incarnation: u64,
    ) -> Result<(Self, Found), Status> {
        let deadline_ms = fabric.now_ms() + STORAGE_MS;
        let (records, is_whole) = value::read_all(&client, RUNS_PREFIX, deadline_ms).await?;
        let mut places = Places::default();
        let mut newest: BTreeMap<RunNumber, (u32, StoredRun)> = BTreeMap::new();
        for (id, found) in &records {
            let Some(place) = place_of(id) else {
                continue;
            };
            places.free.extend(places.count..=place);
            places.count = places.count.max(place + 1);
            if let Some(run) = value::decode::<StoredRun>(&records, id, found) {
                newest.insert(run.run, (place, run));
            }
        }
        let lineage = newest
            .last_key_value()
            .map_or(incarnation, |(_, (_, run))| run.lineage);
        let mut runs = Vec::new();
        for (number, (place, run)) in newest {
            let id = outcome_record(place);
            let outcome = records
                .get(&id)
                .and_then(|found| value::decode::<StoredOutcome>(&records, &id, found))
                .filter(|outcome| (outcome.lineage, outcome.run) == (run.lineage, number));
            // A damaged one is as good as none: nobody can be told more of it.
            match convert::recovered(run, outcome, fabric.unix_ms()) {
                Ok(run) => {
                    places.free.remove(&place);
                    places.of.insert(number, place);
                    runs.push(run);
                }
                Err(status) => {
                    tracing::warn!(run = number, %status, "a run that was kept is damaged");
                }
            }
        }
        let version = |(id, found): (RecordId, RecordVersion)| (id, found.version);
        places.versions = records.into_iter().map(version).collect();
        let store = Self {
            fabric,
            client,
            origin: format!("scheduler/{incarnation:016x}").into(),
            lineage,
            state: Arc::new(Mutex::new(places)),
        };
        Ok((store, Found { runs, is_whole }))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run as it is to be kept, in its place.
    pub fn run(&self, run: &Run) -> (RecordId, Bytes) {
        let place = self.places().take(run.number);
        let stored = convert::stored_run(run, self.lineage);
        (run_record(place), stored.encode_to_vec().into())
    }

    /// The outcome of a run as it is to be kept; absent: the run has none, or no place.
    pub fn outcome(&self, run: &Run) -> Option<(RecordId, Bytes)> {
        let place = *self.places().of.get(&run.number)?;
        let unix_ms = self.fabric.unix_ms();
        let stored = convert::stored_outcome(run, self.lineage, unix_ms)?;
        Some((outcome_record(place), stored.encode_to_vec().into()))
    }

    /// Makes a value durable.
    pub async fn keep(&self, (record, value): (RecordId, Bytes)) -> Result<(), Status> {
        let value::Pieces { head, more } = value::pieces(&value);
        for (index, piece) in more.into_iter().enumerate() {
            self.put(value::piece_of(&record, index), piece).await?;
        }
        self.put(record, head).await
    }

    async fn put(&self, record: RecordId, value: Bytes) -> Result<(), Status> {
        let (id, above) = self.places().begin(&self.origin, &record);
        let route = |patience_ms| Route {
            only: None,
            deadline_ms: self.fabric.now_ms() + patience_ms,
        };
        let write = |level, patience_ms| {
            let (id, value) = (id.clone(), Some(value.clone()));
            self.client
                .write(id, &record, value, level, above, route(patience_ms))
        };
        let safe = match self.client.ring().commit {
            CommitMode::Majority => Level::Majority,
            CommitMode::FailStop => Level::All,
        };
        // Usually it is everywhere at once; when that takes long, it is known to be somewhere before this goes on.
        let version = match write(safe, SPREAD_MS).await {
            Ok(version) => version,
            Err(status) => {
                tracing::debug!(record, %status, "a record of a run spreads slowly");
                write(Level::One, STORAGE_MS).await?
            }
        };
        self.places().versions.insert(record, version);
        Ok(())
    }

    /// The storage may forget what tasks did of all runs before `until` that are not `except`: nobody will ask.
    pub async fn forget_tasks(
        &self,
        until: RunNumber,
        except: Vec<RunNumber>,
    ) -> Result<(), Status> {
        let path = |run| {
            let scheduler_incarnation = self.lineage;
            RunOrigin {
                scheduler_incarnation,
                run,
            }
            .to_string()
        };
        let except = except.into_iter().map(path).collect();
        self.client.forget(&path(0), &path(until), except).await
    }

    /// The place of a run that is not known any more may be another's.
    pub fn forget(&self, run: RunNumber) {
        let mut places = self.places();
        if let Some(place) = places.of.remove(&run) {
            places.free.insert(place);
        }
    }
}

impl Places {
    fn take(&mut self, run: RunNumber) -> u32 {
        if let Some(place) = self.of.get(&run) {
            return *place;
        }
        let place = self.free.pop_first().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        });
        self.of.insert(run, place);
        place
    }

    fn begin(&mut self, origin: &str, record: &str) -> (UpdateId, Version) {
        self.writes += 1;
        let id = UpdateId {
            origin: origin.to_owned(),
            sequence: self.writes,
        };
        let above = self.versions.get(record).copied();
        (id, above.unwrap_or(Version::NULL))
    }
}
