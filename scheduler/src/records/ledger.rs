//! Writes records as the updates of one term: once a later one has fenced them, there are no more of them.
//!
//! Promises: when [`Ledger::put`] has returned, the value survives what the commit mode survives, and whoever begins to lead
//! later finds it. It is made by a comparison with the version before, under which nothing else can come to light later.
//!
//! Where storage nodes were told to hold back their messages (a `GOSSIP_DELAY`), a comparison takes seconds, and no run shall
//! wait for that: there a value is a plain write that is durable at one node, and its writer asks whether it still leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use common::client::components::Origin;
use common::client::{Condition, Named, StorageClient, UpdateError};
use common::fabric::{Duration, FabricHandle};
use common::proto::Level;
use common::status::{Detail, Status};
use common::types::{LeaderOrigin, RecordId, TaskMark, UpdateId, Version};

use crate::term::Term;

/// How long the storage may take for one call before it is asked anew: a replica that does not answer is then asked last.
/// A beat that is late by this renews the lease in time.
const STORAGE_MS: u64 = 1_500;
/// Pause before that.
const RETRY: Duration = Duration::from_millis(100);

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct Ledger {
    pub(super) fabric: FabricHandle,
    pub(super) client: StorageClient,
    pub term: Term,
    /// Storage nodes hold back their messages.
    pub is_slow: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Of each record, as it was last seen or made.
    versions: BTreeMap<RecordId, Version>,
    /// Updates of this term so far.
    updates: u64,
    /// Those of them that are not over.
    open: BTreeSet<u64>,
}

impl Ledger {
    /// `is_slow`: storage nodes hold back their messages. `versions`: of the records that exist.
    pub fn new(
        fabric: FabricHandle,
        client: StorageClient,
        term: Term,
        is_slow: bool,
        versions: BTreeMap<RecordId, Version>,
    ) -> Self {
        let state = State {
            versions,
            ..State::default()
        };
        Self {
            fabric,
            client,
            term,
            is_slow,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Makes a value durable, however long that takes; never returns when the term is over.
    pub async fn put(&self, record: RecordId, value: Bytes) {
        let update = self.begin();
        // One more whenever the storage was found empty.
        let mut tries = 0;
        let mut is_told = false;
        loop {
            let before = self.version(&record);
            let put = if self.is_slow {
                self.write(update, &record, &value, before).await
            } else {
                self.update(update, tries, &record, &value, before).await
            };
            match put {
                Ok(Put::Made(version)) => return self.made(update, record, version),
                Ok(Put::Empty) => {
                    self.state().versions.remove(&record);
                    tries += 1;
                }
                Ok(Put::Other) => return self.end(self.term.ballot).await,
                Err(status) => {
                    if let Some(Detail::Fenced(ballot)) = status.detail {
                        return self.end(ballot).await;
                    }
                    if !is_told {
                        tracing::warn!(record, %status, "the storage does not take a record yet");
                        is_told = true;
                    }
                    self.fabric.sleep(RETRY).await;
                }
            }
        }
    }

    /// What waits for this scheduler is told so when everything of it is dropped.
    async fn end(&self, ballot: u32) {
        self.term.end(ballot);
        std::future::pending::<()>().await;
    }

    async fn update(
        &self,
        update: u64,
        tries: u64,
        record: &str,
        value: &Bytes,
        before: Version,
    ) -> Result<Put, Status> {
        let named = self.named(update, tries);
        let (condition, new) = (Condition::VersionIs(before), Some(value.clone()));
        let client = &self.client;
        match client
            .update_if(named, record, condition, new, client.within(STORAGE_MS))
            .await
        {
            Ok(version) => Ok(Put::Made(version)),
            // Made by a try that was not answered.
            Err(UpdateError::Mismatch(found)) if found.value.as_ref() == Some(value) => {
                Ok(Put::Made(found.version))
            }
            Err(UpdateError::Mismatch(found)) if found.version.is_null() => Ok(Put::Empty),
            Err(UpdateError::Mismatch(_)) => Ok(Put::Other),
            Err(UpdateError::Failed(status)) => Err(status),
        }
    }

    async fn write(
        &self,
        update: u64,
        record: &str,
        value: &Bytes,
        before: Version,
    ) -> Result<Put, Status> {
        let (named, new) = (self.named(update, 0), Some(value.clone()));
        let client = &self.client;
        let version = client
            .write(
                named,
                record,
                new,
                Level::One,
                before,
                client.within(STORAGE_MS),
            )
            .await?;
        let ballot = self.term.ballot;
        client
            .fence(LeaderOrigin::STILL, ballot, client.within(STORAGE_MS))
            .await?;
        Ok(Put::Made(version))
    }

    fn named(&self, update: u64, sequence: u64) -> Named {
        let origin = self.origin(update).to_string();
        let mark = TaskMark {
            attempt: self.term.ballot,
            note: Bytes::new(),
        };
        Named {
            id: UpdateId { origin, sequence },
            task: Some(mark),
        }
    }

    fn origin(&self, update: u64) -> LeaderOrigin {
        let Term {
            ballot,
            incarnation,
            ..
        } = self.term;
        LeaderOrigin {
            ballot,
            incarnation,
            update,
        }
    }

    /// Names updates of this term that are made elsewhere. Those that are not over when it is dropped may be refused.
    pub fn open(&self) -> Open<'_> {
        let update = self.begin();
        Open {
            ledger: self,
            update,
            origin: Origin::of_leader(self.origin(update)),
        }
    }

    /// The storage may forget which updates of earlier terms and of this one were made.
    pub async fn forget_updates(&self) -> Result<(), Status> {
        let until = self.origin(self.first_open()).to_string();
        let client = &self.client;
        client.forget(LeaderOrigin::FIRST, &until, Vec::new()).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> u64 {
        let mut state = self.state();
        state.updates += 1;
        let update = state.updates;
        state.open.insert(update);
        update
    }

    /// All before it are over.
    fn first_open(&self) -> u64 {
        let state = self.state();
        let open = state.open.first().copied();
        open.unwrap_or(state.updates + 1)
    }

    fn version(&self, record: &str) -> Version {
        let known = self.state().versions.get(record).copied();
        known.unwrap_or(Version::NULL)
    }

    fn made(&self, update: u64, record: RecordId, version: Version) {
        let mut state = self.state();
        state.versions.insert(record, version);
        state.open.remove(&update);
    }
}

/// Updates of one origin, as long as it lives.
pub struct Open<'a> {
    ledger: &'a Ledger,
    update: u64,
    pub origin: Origin,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.ledger.state().open.remove(&self.update);
    }
}

/// What became of a try.
enum Put {
    Made(Version),
    /// There is no record any more: all replicas were lost at once.
    Empty,
    /// Somebody else has made a version, who leads as well or instead.
    Other,
}
