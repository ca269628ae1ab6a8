//! The storage as one run sees it: repeatable read and read-your-writes, on any worker and any replica.
//!
//! The first read of a record pins its version; later reads see exactly that version; the null version pins an absent
//! record. Own writes move the pin, and so does a failed update, to the record that it found. The pins travel with the
//! request along the chain. What the submitter has seen comes along as floors: the first read is not older. A version that was discarded ends the run, never another version in its place.
//!
//! Every update carries an id made of the task's origin and a sequence number: in every attempt the first update has number
//! 0, so a repeat after a crash is known to the replicas that have executed it. A retry first recovers: it keeps older
//! attempts from doing anything more, and then is told what they were told ([`replay`]). So that this is all that an
//! operator's doing depends on, a call without a certain answer ends the attempt, whatever the operator makes of it.

mod replay;
mod seen;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use common::client::journal::{Did, Journal};
use common::client::{self, Condition, Named, Route, StorageClient};
use common::proto::Level;
use common::status::{Detail, Kind, Status};
use common::types::{
    self, CallKind, NOTE_BYTES_MAX, PINS_MAX, Pin, RESERVED_PREFIX, Record, RecordVersion,
    RunOrigin, TaskMark, TaskOrigin, UpdateId, VALUE_BYTES_MAX, Version, Wanted,
};

use crate::core::{Ended, Task};
use crate::host::{StorageCalls, StorageError, UpdateError};
use crate::ring::RingWatch;
use replay::{Past, Versions, encode_note};
pub use seen::Afterwards;
use seen::{Over, Seen};

/// The session of one run, for the time of one stage.
pub struct Session {
    ring: RingWatch,
    /// Taken at the first call, so that a stage sees one ring.
    client: Option<StorageClient>,
    /// Names the task.
    origin: TaskOrigin,
    /// Whether other workers may be at other tasks of its stage.
    is_parallel: bool,
    attempt: u32,
    /// Of the next update.
    sequence: u64,
    /// What earlier attempts did from there on.
    past: Past,
    deadline_ms: u64,
    seen: Arc<Mutex<Seen>>,
}

impl Session {
    /// `deadline_ms`: of the stage, on the fabric's clock.
    pub fn new(task: &Task, ring: RingWatch, deadline_ms: u64) -> (Self, Afterwards) {
        let (floors, pins): (Vec<_>, Vec<_>) = task.pins.iter().partition(|pin| pin.is_floor);
        let versions = |pins: Vec<&Pin>| -> Versions {
            let version = |pin: &Pin| (pin.record.clone(), pin.version);
            pins.into_iter().map(version).collect()
        };
        let pins = versions(pins);
        let seen = Arc::new(Mutex::new(Seen {
            noted: pins.clone(),
            pins,
            floors: versions(floors),
            ..Seen::default()
        }));
        let origin = TaskOrigin {
            run: RunOrigin {
                scheduler_incarnation: task.key.run.scheduler_incarnation,
                run: task.key.run.number,
            },
            segment: task.key.segment,
            stage: task.key.stage,
            task: task.key.task,
        };
        let session = Self {
            ring,
            client: None,
            origin,
            is_parallel: task.link().is_some_and(|link| link.dealing.is_parallel()),
            attempt: task.key.attempt,
            sequence: 0,
            past: Past::default(),
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

    /// Takes over from earlier attempts at the task: keeps them from doing anything more, and finds out what they did.
    /// Before the first call.
    ///
    /// # Errors
    /// How the stage ends: this attempt cannot begin, another one may.
    pub async fn recover(&mut self) -> Result<(), Ended> {
        let failed = |why: String| Ended::Failed {
            reason: format!("what earlier attempts at the task did is not known: {why}"),
            permanent: false,
        };
        let client = self.client().await;
        let client = client.map_err(|error| failed(error.to_string()))?;
        let mut journal = Journal::new();
        for (path, attempt) in self.fences() {
            let fenced = client.fence(&path, attempt, self.route()).await;
            journal.extend(fenced.map_err(|status| failed(status.message))?.journal);
        }
        let past = Past::new(journal, &self.origin.to_string());
        self.past = past.map_err(|status| failed(status.message))?;
        if self.past.next_reads().is_some() {
            // The first note has all that the first attempt began with.
            std::mem::take(&mut self.seen().pins);
            self.see_noted();
        } else {
            self.see_later();
        }
        Ok(())
    }

    /// From now on calls may take until then, on the fabric's clock.
    pub fn ends_at(&mut self, deadline_ms: u64) {
        self.deadline_ms = deadline_ms;
    }

    /// What this attempt takes over. A plain stage may have been handed on before its worker was lost, so that what later
    /// stages did tells what this one had read.
    fn fences(&self) -> Vec<(String, u32)> {
        if self.is_parallel {
            return vec![(self.origin.to_string(), self.attempt)];
        }
        let mut fences = vec![(self.origin.segment(), self.attempt)];
        let recoveries = types::recoveries_before(self.attempt);
        if recoveries > 0 {
            let run = self.origin.run.to_string();
            fences.push((run, types::first_attempt(recoveries)));
        }
        fences
    }

    /// Until its next update, the operator sees what it has seen then.
    fn see_noted(&mut self) {
        self.seen().noted.clear();
        let Some(reads) = self.past.next_reads() else {
            return self.see_later();
        };
        let mut seen = self.seen();
        for (record, version) in reads {
            seen.floors.remove(record);
            seen.pins.insert(record.clone(), *version);
        }
    }

    /// Behind its last update, the operator sees what later stages have found.
    fn see_later(&mut self) {
        let later = self.past.take_later();
        let mut seen = self.seen();
        for (record, version) in later {
            seen.floors.remove(&record);
            seen.pins.entry(record).or_insert(version);
        }
    }

    /// What the next update did in an earlier attempt.
    fn repeat(&mut self, id: &str, kind: CallKind) -> Result<Option<Did>, StorageError> {
        let Some((record, did)) = self.past.take(self.sequence) else {
            return Ok(None);
        };
        let is_write = matches!(did, Did::Wrote(_));
        if record != id || is_write != (kind == CallKind::Write) {
            let (did, does) = (verb(is_write), verb(kind == CallKind::Write));
            let reason = format!(
                "the operator is not deterministic: its update {} {did} record `{record}` before, and {does} record `{id}` now",
                self.sequence
            );
            let error = StorageError::Other(reason.clone());
            return Err(self.end(error, reason, true));
        }
        self.sequence += 1;
        let version = match &did {
            Did::Wrote(version) | Did::Updated(version) | Did::Discarded(version) => *version,
            Did::Mismatched(found) => found.version,
        };
        self.pin(id, version);
        self.see_noted();
        if matches!(did, Did::Discarded(_)) {
            return Err(self.discarded(id));
        }
        Ok(Some(did))
    }

    fn route(&self) -> Route {
        Route {
            only: None,
            deadline_ms: self.deadline_ms,
        }
    }

    /// The next update, with what its retry has to know.
    fn next_update(&mut self) -> Result<Named, StorageError> {
        let note = encode_note(&self.seen().noted).ok_or_else(|| {
            StorageError::LimitExceeded(format!(
                "the versions that a task reads before an update take at most {NOTE_BYTES_MAX} bytes"
            ))
        })?;
        let id = UpdateId {
            origin: self.origin.to_string(),
            sequence: self.sequence,
        };
        self.sequence += 1;
        let attempt = self.attempt;
        let task = Some(TaskMark { attempt, note });
        Ok(Named { id, task })
    }

    /// An update has this outcome: the record is seen so from now on, and what was read before it is known with it.
    fn done(&self, id: &str, version: Version) {
        self.pin(id, version);
        self.seen().noted.clear();
    }

    async fn client(&mut self) -> Result<StorageClient, StorageError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = self.ring.client(self.deadline_ms).await;
        let client = client.ok_or_else(|| {
            let why = "the storage nodes are not known yet".to_owned();
            self.end(StorageError::Unavailable(why.clone()), why, false)
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
        if let Some(over) = &seen.over {
            return Err(over.error.clone());
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
        if pin.is_none() {
            self.seen().noted.insert(id.to_owned(), found.version);
        }
        found.existing().ok_or(StorageError::NotFound)
    }

    async fn write_above(
        &mut self,
        id: &str,
        value: bytes::Bytes,
    ) -> Result<Version, StorageError> {
        let above = self.begin(id)?.unwrap_or_else(|| self.floor(id));
        check_value(&value)?;
        if let Some(Did::Wrote(version)) = self.repeat(id, CallKind::Write)? {
            return Ok(version);
        }
        let client = self.client().await?;
        let update = self.next_update()?;
        let written = client
            .write(update, id, Some(value), Level::One, above, self.route())
            .await;
        let version = written.map_err(|status| self.error(id, status))?;
        self.done(id, version);
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
        match self.repeat(id, CallKind::Update)? {
            Some(Did::Updated(version)) => return Ok(version),
            Some(Did::Mismatched(found)) => return Err(UpdateError::Mismatch(found.existing())),
            _ => {}
        }
        let client = self.client().await?;
        let update = self.next_update()?;
        match client
            .update_if(update, id, condition, Some(new), self.route())
            .await
        {
            Ok(version) => {
                self.done(id, version);
                Ok(version)
            }
            Err(client::UpdateError::Mismatch(found)) => {
                self.done(id, found.version);
                Err(UpdateError::Mismatch(found.existing()))
            }
            Err(client::UpdateError::Failed(status)) => Err(self.error(id, status).into()),
        }
    }

    fn floor(&self, id: &str) -> Version {
        self.seen().floors.get(id).copied().unwrap_or(Version::NULL)
    }

    fn error(&self, id: &str, status: Status) -> StorageError {
        match status.detail {
            Some(Detail::ValueBytesMax(bytes_max)) => return StorageError::TooLarge { bytes_max },
            Some(Detail::Fenced(_)) => {
                return self.end(StorageError::Cancelled, status.message, false);
            }
            _ => {}
        }
        let error = match status.kind {
            Kind::Discarded => return self.discarded(id),
            // The same in every attempt.
            Kind::InvalidArgument => return StorageError::Other(status.message),
            Kind::Overloaded => StorageError::Overloaded,
            Kind::Unavailable | Kind::Refused => StorageError::Unavailable(status.message.clone()),
            Kind::Timeout => StorageError::Timeout,
            Kind::Cancelled => StorageError::Cancelled,
            Kind::NotFound | Kind::AlreadyExists | Kind::Unimplemented | Kind::Internal => {
                StorageError::Other(status.message.clone())
            }
        };
        let reason = format!("the storage did not answer for record `{id}`: {status}");
        self.end(error, reason, false)
    }

    fn discarded(&self, id: &str) -> StorageError {
        let reason = format!(
            "the version of record `{id}` that the run sees was discarded: too many newer ones"
        );
        self.end(StorageError::Discarded, reason, true)
    }

    /// The session cannot go on; returns the error.
    fn end(&self, error: StorageError, reason: String, permanent: bool) -> StorageError {
        self.seen().over = Some(Over {
            error: error.clone(),
            reason,
            permanent,
        });
        error
    }
}

fn verb(is_write: bool) -> &'static str {
    if is_write { "wrote" } else { "compared" }
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

#[cfg(test)]
mod tests;
