//! Runs and their outcomes as records of the replicated storage, so that they outlive the scheduler.
//!
//! Each run has a *place*, which it gives back when it is forgotten: there are never more records than runs that were
//! known at once. Operators cannot reach them.
//!
//! Promises: [`ledger`] says what it means that a value is kept. What was kept is what [`RunStore::recover`] finds.

mod convert;
mod ledger;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use common::client::StorageClient;
use common::fabric::FabricHandle;
use common::proto::{StoredLease, StoredOutcome, StoredRun};
use common::status::Status;
use common::types::{LEASE_RECORD, RUNS_PREFIX, RecordId, RecordVersion, RunOrigin};
use prost::Message;

use crate::core::{Recovered, Run, RunNumber};
use crate::term::Term;

pub use ledger::Ledger;

/// How long the storage may take to tell what was kept.
const STORAGE_MS: u64 = 10_000;

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct RunStore {
    pub ledger: Ledger,
    places: Arc<Mutex<Places>>,
}

#[derive(Default)]
struct Places {
    of: BTreeMap<RunNumber, u32>,
    free: BTreeSet<u32>,
    /// How many there are.
    count: u32,
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

/// What earlier terms have kept.
pub struct Found {
    pub runs: Vec<Recovered>,
    /// Runs that were counted at least.
    pub submitted: RunNumber,
}

impl RunStore {
    /// Finds what earlier terms have kept, which have to be fenced, and begins the next one.
    pub async fn recover(
        fabric: FabricHandle,
        client: StorageClient,
        (incarnation, ballot): (u64, u32),
        is_slow: bool,
    ) -> Result<(Self, Found), Status> {
        let route = client.within(STORAGE_MS);
        let records = client.scan_everywhere(RUNS_PREFIX, route).await?;
        let lease = records.get(LEASE_RECORD).map(lease).transpose()?;
        let before = lease.unwrap_or_else(|| StoredLease {
            lineage: fabric.random(),
            ..StoredLease::default()
        });
        let term = Term::new(before.term + 1, ballot, incarnation, before.lineage);
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
            } else {
                // Its run was not told of yet, or the one before had been forgotten.
                tracing::info!(place, "the record of a run was not written to its end");
            }
        }
        let mut runs = Vec::new();
        for (number, (place, run)) in newest {
            let id = outcome_record(place);
            let outcome = records
                .get(&id)
                .and_then(|found| value::decode::<StoredOutcome>(&records, &id, found))
                .filter(|outcome| (outcome.lineage, outcome.run) == (run.lineage, number));
            places.free.remove(&place);
            match convert::recovered(run, outcome, term.number, fabric.unix_ms()) {
                Ok(run) => {
                    places.of.insert(number, place);
                    runs.push(run);
                }
                // Its place stays as it is, for whoever can read it.
                Err(status) => {
                    tracing::error!(run = number, %status, "a run that was kept is damaged");
                }
            }
        }
        let version = |(id, found): (RecordId, RecordVersion)| (id, found.version);
        let versions = records.into_iter().map(version).collect();
        let store = Self {
            ledger: Ledger::new(fabric, client, term, is_slow, versions),
            places: Arc::new(Mutex::new(places)),
        };
        let submitted = before.submitted;
        Ok((store, Found { runs, submitted }))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run as it is to be kept, in its place.
    pub fn run(&self, run: &Run) -> (RecordId, Bytes) {
        let place = self.places().take(run.number);
        let stored = convert::stored_run(run, &self.ledger.term);
        (run_record(place), stored.encode_to_vec().into())
    }

    /// The outcome of a run as it is to be kept; absent: the run has none, or no place.
    pub fn outcome(&self, run: &Run) -> Option<(RecordId, Bytes)> {
        let place = *self.places().of.get(&run.number)?;
        let unix_ms = self.ledger.fabric.unix_ms();
        let stored = convert::stored_outcome(run, self.ledger.term.lineage, unix_ms)?;
        Some((outcome_record(place), stored.encode_to_vec().into()))
    }

    /// Makes a value durable, however long that takes; never returns when the term is over.
    pub async fn keep(&self, (record, value): (RecordId, Bytes)) {
        let value::Pieces { head, more } = value::pieces(&value);
        for (index, piece) in more.into_iter().enumerate() {
            let record = value::piece_of(&record, index);
            self.ledger.put(record, piece).await;
        }
        self.ledger.put(record, head).await;
    }

    /// The storage may forget what tasks did of all runs before `until` that are not `except`: nobody will ask; and which
    /// updates of runs were made.
    pub async fn forget_updates(
        &self,
        until: RunNumber,
        except: Vec<RunNumber>,
    ) -> Result<(), Status> {
        let path = |run| {
            let scheduler_incarnation = self.ledger.term.lineage;
            RunOrigin {
                scheduler_incarnation,
                run,
            }
            .to_string()
        };
        let except = except.into_iter().map(path).collect();
        let (from, until) = (path(0), path(until));
        // A node that is away keeps neither from reaching the others.
        let of_tasks = self.ledger.client.forget(&from, &until, except);
        let (of_tasks, of_runs) = futures::join!(of_tasks, self.ledger.forget_updates());
        of_tasks.and(of_runs)
    }

    /// The place of a run that is not known any more may be another's.
    pub fn forget(&self, run: RunNumber) {
        let mut places = self.places();
        if let Some(place) = places.of.remove(&run) {
            places.free.insert(place);
        }
    }
}

/// The lease as it was found.
pub fn lease(found: &RecordVersion) -> Result<StoredLease, Status> {
    let value = found.value.clone().unwrap_or_default();
    let damaged = |error| Status::internal(format!("the lease is damaged: {error}"));
    StoredLease::decode(value).map_err(damaged)
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
}
