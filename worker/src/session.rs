//! The storage as one run sees it: repeatable read and read-your-writes, on any worker and any replica.
//!
//! The first read of a record pins its version; later reads see exactly that version; the null version pins an absent
//! record. Own writes move the pin, and so does a failed update, to the record that it found. The pins travel with the
//! request along the chain. What the submitter has seen comes along as floors: the first read is not older. A version that was discarded ends the run, never another version in its place.
//!
//! Every update carries an id made of run, stage and a sequence number: in every attempt the first update has number
//! 0, so a repeat after a crash is known to the replicas that have executed it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use common::client::{self, Condition, Route, StorageClient};
use common::proto::Level;
use common::status::{Detail, Kind, Status};
use common::types::{
    self, CallKind, Item, PINS_MAX, Pin, RESERVED_PREFIX, Record, RecordId, RecordVersion,
    UpdateId, VALUE_BYTES_MAX, Version, Wanted,
};

use crate::core::{Ended, Task};
use crate::host::{OperatorError, OperatorFailure, StorageCalls, StorageError, UpdateError};
use crate::ring::RingWatch;

/// The session of one run, for the time of one stage.
pub struct Session {
    ring: RingWatch,
    /// Taken at the first call, so that a stage sees one ring.
    client: Option<StorageClient>,
    /// Names run and stage.
    origin: String,
    sequence: u64,
    deadline_ms: u64,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    pins: BTreeMap<RecordId, Version>,
    /// Of records without a pin.
    floors: BTreeMap<RecordId, Version>,
    /// A record whose pinned version is gone.
    discarded: Option<RecordId>,
    calls: types::CallLog,
}

/// What remains of a session when its stage has ended.
pub struct Afterwards(Arc<Mutex<Seen>>);

impl Session {
    /// `deadline_ms`: of the stage, on the fabric's clock.
    pub fn new(task: &Task, ring: RingWatch, deadline_ms: u64) -> (Self, Afterwards) {
        let (floors, pins): (Vec<_>, Vec<_>) = task.pins.iter().partition(|pin| pin.is_floor);
        let versions = |pins: Vec<&Pin>| {
            let version = |pin: &Pin| (pin.record.clone(), pin.version);
            pins.into_iter().map(version).collect()
        };
        let seen = Arc::new(Mutex::new(Seen {
            pins: versions(pins),
            floors: versions(floors),
            discarded: None,
            calls: types::CallLog::default(),
        }));
        let (run, stage) = (task.key.run, task.key.stage);
        let origin = format!("{:016x}/{}/{stage}", run.scheduler_incarnation, run.number);
        let session = Self {
            ring,
            client: None,
            origin,
            sequence: 0,
            deadline_ms,
            seen: seen.clone(),
        };
        (session, Afterwards(seen))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pin(&self, id: &str, version: Version) {
        let mut seen = self.seen();
        seen.floors.remove(id);
        seen.pins.insert(id.to_owned(), version);
    }

    fn route(&self) -> Route {
        Route {
            only: None,
            deadline_ms: self.deadline_ms,
        }
    }

    fn next_update(&mut self) -> UpdateId {
        let sequence = self.sequence;
        self.sequence += 1;
        UpdateId {
            origin: self.origin.clone(),
            sequence,
        }
    }

    async fn client(&mut self) -> Result<StorageClient, StorageError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = self.ring.client(self.deadline_ms).await;
        let client = client.ok_or_else(|| {
            StorageError::Unavailable("the storage nodes are not known yet".to_owned())
        })?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// What every call checks: the id, and that the session can go on. Returns the record's pin.
    fn begin(&self, id: &str) -> Result<Option<Version>, StorageError> {
        types::record_id(id.to_owned())
            .map_err(|status| StorageError::InvalidId(status.message))?;
        if id.starts_with(RESERVED_PREFIX) {
            let why = format!("ids that begin with `{RESERVED_PREFIX}` are reserved");
            return Err(StorageError::InvalidId(why));
        }
        let seen = self.seen();
        if seen.discarded.is_some() {
            return Err(StorageError::Discarded);
        }
        let pin = seen.pins.get(id).copied();
        let new = pin.is_none() && !seen.floors.contains_key(id);
        if new && seen.pins.len() + seen.floors.len() >= PINS_MAX {
            return Err(StorageError::LimitExceeded(format!(
                "a run and its submitter touch at most {PINS_MAX} records"
            )));
        }
        Ok(pin)
    }

    async fn read_pinned(&mut self, id: &str) -> Result<Record, StorageError> {
        let pin = self.begin(id)?;
        if pin.is_some_and(Version::is_null) {
            return Err(StorageError::NotFound);
        }
        let not_older = self.floor(id);
        let wanted = pin.map_or(Wanted::Newest { not_older }, Wanted::Exactly);
        let found = self.client().await?.read(id, wanted, self.route()).await;
        let found: RecordVersion = found.map_err(|status| self.error(id, status))?;
        if found.version < not_older {
            tracing::warn!(record = id, seen = %not_older, "a version that was seen is lost");
        }
        self.pin(id, found.version);
        found.existing().ok_or(StorageError::NotFound)
    }

    async fn write_above(
        &mut self,
        id: &str,
        value: bytes::Bytes,
    ) -> Result<Version, StorageError> {
        let above = self.begin(id)?.unwrap_or_else(|| self.floor(id));
        check_value(&value)?;
        let client = self.client().await?;
        let update = self.next_update();
        let written = client
            .write(update, id, Some(value), Level::One, above, self.route())
            .await;
        let version = written.map_err(|status| self.error(id, status))?;
        self.pin(id, version);
        Ok(version)
    }

    /// Notes what came of a call, with the version that the run sees of the record from now on.
    fn note<T, E: std::fmt::Display>(&self, kind: CallKind, id: &str, result: &Result<T, E>) {
        let mut seen = self.seen();
        let version = seen.pins.get(id).copied();
        let error = result.as_ref().err().map(E::to_string);
        seen.calls.note(kind, id, version, error);
    }

    async fn update_if(
        &mut self,
        id: &str,
        condition: Condition,
        new: bytes::Bytes,
    ) -> Result<Version, UpdateError> {
        let updated = self.compare_and_swap(id, condition, new).await;
        self.note(CallKind::Update, id, &updated);
        updated
    }

    async fn compare_and_swap(
        &mut self,
        id: &str,
        condition: Condition,
        new: bytes::Bytes,
    ) -> Result<Version, UpdateError> {
        self.begin(id)?;
        check_value(&new)?;
        let client = self.client().await?;
        let update = self.next_update();
        match client
            .update_if(update, id, condition, Some(new), self.route())
            .await
        {
            Ok(version) => {
                self.pin(id, version);
                Ok(version)
            }
            Err(client::UpdateError::Mismatch(found)) => {
                self.pin(id, found.version);
                Err(UpdateError::Mismatch(found.existing()))
            }
            Err(client::UpdateError::Failed(status)) => Err(self.error(id, status).into()),
        }
    }

    fn floor(&self, id: &str) -> Version {
        self.seen().floors.get(id).copied().unwrap_or(Version::NULL)
    }

    fn error(&self, id: &str, status: Status) -> StorageError {
        if let Some(Detail::ValueBytesMax(bytes_max)) = status.detail {
            return StorageError::TooLarge { bytes_max };
        }
        match status.kind {
            Kind::Discarded => {
                self.seen().discarded = Some(id.to_owned());
                StorageError::Discarded
            }
            Kind::Overloaded => StorageError::Overloaded,
            Kind::Unavailable | Kind::Refused => StorageError::Unavailable(status.message),
            Kind::Timeout => StorageError::Timeout,
            Kind::Cancelled => StorageError::Cancelled,
            Kind::InvalidArgument
            | Kind::NotFound
            | Kind::AlreadyExists
            | Kind::Unimplemented
            | Kind::Internal => StorageError::Other(status.message),
        }
    }
}

fn check_value(value: &bytes::Bytes) -> Result<(), StorageError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(StorageError::TooLarge {
            bytes_max: VALUE_BYTES_MAX as u64,
        });
    }
    Ok(())
}

#[async_trait]
impl StorageCalls for Session {
    async fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        let read = self.read_pinned(id).await;
        self.note(CallKind::Read, id, &read);
        read
    }

    async fn write(&mut self, id: &str, value: bytes::Bytes) -> Result<Version, StorageError> {
        let written = self.write_above(id, value).await;
        self.note(CallKind::Write, id, &written);
        written
    }

    async fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<bytes::Bytes>,
        new: bytes::Bytes,
    ) -> Result<Version, UpdateError> {
        self.update_if(id, Condition::ValueIs(old), new).await
    }

    async fn update_if_version_is(
        &mut self,
        id: &str,
        old: Version,
        new: bytes::Bytes,
    ) -> Result<Version, UpdateError> {
        self.update_if(id, Condition::VersionIs(old), new).await
    }
}

impl Afterwards {
    /// What the operator asked of the storage.
    pub fn calls(&self) -> types::CallLog {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut seen.calls)
    }

    /// How the stage ended, given what the operator said.
    pub fn end(self, result: Result<Vec<Item>, OperatorError>) -> Ended {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = &seen.discarded {
            let reason = format!(
                "the version of record `{record}` that the run sees was discarded: too many newer ones"
            );
            return Ended::Failed {
                reason,
                permanent: true,
            };
        }
        match result {
            Ok(items) => {
                let pin = |is_floor| {
                    move |(record, version)| Pin {
                        record,
                        version,
                        is_floor,
                    }
                };
                let pins = std::mem::take(&mut seen.pins).into_iter().map(pin(false));
                let floors = std::mem::take(&mut seen.floors).into_iter().map(pin(true));
                let pins = pins.chain(floors).collect();
                Ended::Returned { items, pins }
            }
            Err(OperatorError { failure, .. }) => {
                // Another worker may be faster, if the run's own deadline allows.
                let late = matches!(failure, OperatorFailure::DeadlineExceeded { .. });
                Ended::Failed {
                    permanent: !late && !failure.is_worth_retrying(),
                    reason: failure.to_string(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
