//! The commands that speak to single records: directly to the storage, without a run.

use super::Interpreter;
use crate::language::Name;
use crate::language::data;
use crate::language::files::{Disk, find};
use crate::outcome::Failure;
use crate::output::{Event, RecordRow};
use bytes::Bytes;
use common::client::{Condition, Route, StorageClient, UpdateError};
use common::diagnostic::Line;
use common::proto::Level;
use common::types::{RecordVersion, UpdateId, Version, Wanted};
use futures::stream::{self, StreamExt};
use indexmap::IndexMap;

/// Most records of a data file that are written at the same time.
const POPULATE_WRITES_MAX: usize = 64;
/// How long a version that was named is waited for: it may not exist at all.
const VERSION_WAIT_MS: u64 = 3_000;
/// Progress is said after so many records.
const POPULATE_PROGRESS_RECORDS: usize = 10_000;

impl Interpreter {
    /// The storage, and where a command goes: to any replica of the record or to the node behind `at`.
    pub(super) async fn route(&self, at: Option<&Name>) -> Result<(StorageClient, Route), Failure> {
        let client = self.cluster.storage().await?;
        let only = match at {
            Some(name) => Some(self.cluster.storage_node(name.text()).await?.1),
            None => None,
        };
        let patience = self.cluster.settings().patience();
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = self.cluster.fabric.now_ms().saturating_add(patience_ms);
        Ok((client, Route { only, deadline_ms }))
    }

    pub(super) async fn read(
        &self,
        key: &str,
        version: Option<Version>,
        at: Option<&Name>,
    ) -> Result<(), Failure> {
        let (client, mut route) = self.route(at).await?;
        if version.is_some() {
            let wait_end_ms = self.cluster.fabric.now_ms() + VERSION_WAIT_MS;
            route.deadline_ms = route.deadline_ms.min(wait_end_ms);
        }
        let wanted = match (version, at) {
            (Some(version), _) => Wanted::Exactly(version),
            // What one node has is asked, whatever others have shown.
            (None, Some(_)) => Wanted::NEWEST,
            (None, None) => self.runs.seen.newest(key),
        };
        let found = client.read(key, wanted, route).await?;
        self.note_loss(key, wanted, &found);
        if version.is_none() {
            self.runs.seen.note(key, found.version);
        }
        match text(&found) {
            Some(value) => self.say_record(key, found.version, value),
            None => return Err(missing(key, &found)),
        }
        Ok(())
    }

    /// Says when a version that was seen before is gone.
    pub(super) fn note_loss(&self, key: &str, wanted: Wanted, found: &RecordVersion) {
        if let Some(lost) = self.runs.seen.lost(key, wanted, found.version) {
            self.cluster.output.message(lost_version(key, lost, found));
        }
    }

    pub(super) async fn write(
        &mut self,
        key: &str,
        value: &str,
        at: Option<&Name>,
    ) -> Result<(), Failure> {
        let (client, route) = self.route(at).await?;
        let level = self.cluster.settings().level();
        let bytes = Some(Bytes::copy_from_slice(value.as_bytes()));
        let version = client
            .write(self.update_id(), key, bytes, level, Version::NULL, route)
            .await?;
        self.runs.seen.note(key, version);
        self.say_record(key, version, value.to_owned());
        Ok(())
    }

    pub(super) async fn update_if(
        &mut self,
        key: &str,
        old: Option<&str>,
        new: &str,
        at: Option<&Name>,
    ) -> Result<(), Failure> {
        let (client, route) = self.route(at).await?;
        let tested = Condition::ValueIs(old.map(|old| Bytes::copy_from_slice(old.as_bytes())));
        let new_bytes = Some(Bytes::copy_from_slice(new.as_bytes()));
        match client
            .update_if(self.update_id(), key, tested, new_bytes, route)
            .await
        {
            Ok(version) => {
                self.runs.seen.note(key, version);
                self.say_record(key, version, new.to_owned());
                Ok(())
            }
            Err(UpdateError::Failed(status)) => Err(status.into()),
            Err(UpdateError::Mismatch(found)) => Err(mismatch(key, old, &found)),
        }
    }

    pub(super) async fn history(&self, key: &str, at: Option<&Name>) -> Result<(), Failure> {
        let (client, route) = self.route(at).await?;
        let (versions, truncated) = client.history(key, route).await?;
        if versions.is_empty() {
            return Err(Failure::new(format!("there is no record `{key}`")));
        }
        let rows = versions.iter().map(|found| RecordRow {
            key: key.to_owned(),
            version: found.version,
            value: text(found),
            nodes: None,
        });
        self.cluster.output.say(&Event::Records(rows.collect()));
        if truncated {
            self.cluster
                .output
                .message(format!("older versions of `{key}` were discarded"));
        }
        Ok(())
    }

    pub(super) async fn expect(
        &self,
        key: &str,
        value: Option<&str>,
        at: Option<&Name>,
    ) -> Result<(), Failure> {
        let (client, route) = self.route(at).await?;
        let wanted = at.map_or_else(|| self.runs.seen.newest(key), |_| Wanted::NEWEST);
        let found = client.read(key, wanted, route).await?;
        self.note_loss(key, wanted, &found);
        if text(&found).as_deref() == value {
            return Ok(());
        }
        Err(mismatch(key, value, &found))
    }

    /// Writes every line of a data file to all replicas. Lines with the same id are written in their order.
    pub(super) async fn populate(&mut self, line: &Line, file: &Name) -> Result<(), Failure> {
        let found = find(&Disk, &line.file, file.text()).map_err(Failure::new)?;
        let entries = data::parse(&found.path, &found.text).map_err(Failure::Wrong)?;
        let records = entries.len();
        let mut by_key: IndexMap<String, Vec<(UpdateId, String)>> = IndexMap::new();
        for (key, value) in entries {
            let id = self.update_id();
            by_key.entry(key).or_default().push((id, value));
        }
        let mut written = 0;
        let mut writes = stream::iter(by_key)
            .map(|(key, values)| self.write_in_order(key, values))
            .buffer_unordered(POPULATE_WRITES_MAX);
        while let Some(answer) = writes.next().await {
            let before = written;
            written += answer?;
            if before / POPULATE_PROGRESS_RECORDS != written / POPULATE_PROGRESS_RECORDS {
                self.cluster
                    .output
                    .message(format!("{written} of {records} records written"));
            }
        }
        drop(writes);
        self.cluster.output.say(&Event::Populated {
            records,
            file: file.text().to_owned(),
        });
        Ok(())
    }

    async fn write_in_order(
        &self,
        key: String,
        values: Vec<(UpdateId, String)>,
    ) -> Result<usize, Failure> {
        let count = values.len();
        for (id, value) in values {
            let (client, route) = self.route(None).await?;
            let written = client
                .write(
                    id,
                    &key,
                    Some(value.into()),
                    Level::All,
                    Version::NULL,
                    route,
                )
                .await;
            written.map_err(|status| {
                Failure::new(format!(
                    "record `{key}` was not written: {}",
                    status.message
                ))
            })?;
        }
        Ok(count)
    }

    pub(super) fn say_record(&self, key: &str, version: Version, value: String) {
        self.cluster.output.say(&Event::Record {
            key: key.to_owned(),
            version,
            value: Some(value),
        });
    }
}

/// The value for people, unless there is none.
pub(super) fn text(found: &RecordVersion) -> Option<String> {
    found
        .value
        .as_ref()
        .map(|value| String::from_utf8_lossy(value).into_owned())
}

fn lost_version(key: &str, lost: Version, found: &RecordVersion) -> String {
    let left = if found.version.is_null() {
        "no living replica has the record".to_owned()
    } else {
        format!("the living replicas have {} at most", found.version)
    };
    format!(
        "version {lost} of record `{key}`, which this script has seen, is lost: {left}; `await converged` before a crash keeps it"
    )
}

fn missing(key: &str, found: &RecordVersion) -> Failure {
    if found.version.is_null() {
        return Failure::new(format!("there is no record `{key}`"));
    }
    Failure::new(format!("record `{key}` was deleted ({})", found.version))
}

/// The record is not what it was expected to be.
fn mismatch(key: &str, expected: Option<&str>, found: &RecordVersion) -> Failure {
    let expected = expected.map_or("absent".to_owned(), |value| format!("`{value}`"));
    match text(found) {
        Some(value) => Failure::new(format!(
            "record `{key}` is `{value}` ({}), not {expected}",
            found.version
        )),
        None => Failure::new(format!(
            "{}; expected {expected}",
            missing(key, found).message()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_lost_version_is_named_with_what_is_left_and_what_helps() {
        let left = |version| RecordVersion {
            version,
            value: None,
        };
        let lost = Version::write(2, 1);
        expect!["version 3.1 of record `visits`, which this script has seen, is lost: no living replica has the record; `await converged` before a crash keeps it"].assert_eq(&lost_version("visits", lost, &left(Version::NULL)));
        expect!["version 3.1 of record `visits`, which this script has seen, is lost: the living replicas have 2.1 at most; `await converged` before a crash keeps it"].assert_eq(&lost_version("visits", lost, &left(Version::write(1, 1))));
    }
}
