//! What a task asked of the storage, for people who want to know what a run did.

use super::{RECORD_ID_BYTES_DEFAULT, RecordId, Version};
use crate::proto;

/// The first calls of a task that are told.
pub const CALLS_TOLD_MAX: usize = 64;
/// The text of a failure; the rest is cut.
const ERROR_BYTES_MAX: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    Read,
    Write,
    Update,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageCall {
    pub kind: CallKind,
    /// Its first 1,024 bytes.
    pub record: RecordId,
    /// The version read or made; the null version: there is no such record. Of a failed comparison, what was found.
    pub version: Option<Version>,
    /// Why it failed.
    pub error: Option<String>,
}

/// The calls of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallLog {
    /// At most [`CALLS_TOLD_MAX`].
    pub first: Vec<StorageCall>,
    pub count: u64,
}

impl CallLog {
    pub fn note(
        &mut self,
        kind: CallKind,
        record: &str,
        version: Option<Version>,
        error: Option<String>,
    ) {
        self.count += 1;
        if self.first.len() < CALLS_TOLD_MAX {
            self.first.push(StorageCall {
                kind,
                record: cut(record.to_owned(), RECORD_ID_BYTES_DEFAULT),
                version,
                error: error.map(|error| cut(error, ERROR_BYTES_MAX)),
            });
        }
    }

    /// What they take in memory, about.
    pub fn bytes(&self) -> usize {
        let bytes = |call: &StorageCall| {
            size_of::<StorageCall>()
                + call.record.len()
                + call.error.as_ref().map_or(0, String::len)
        };
        self.first.iter().map(bytes).sum()
    }
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

impl From<CallLog> for proto::CallLog {
    fn from(calls: CallLog) -> Self {
        let call = |call: StorageCall| {
            let kind = match call.kind {
                CallKind::Read => proto::CallKind::Read,
                CallKind::Write => proto::CallKind::Write,
                CallKind::Update => proto::CallKind::Update,
            };
            proto::StorageCall {
                kind: kind.into(),
                record: call.record,
                version: call.version.map(Into::into),
                error: call.error.unwrap_or_default(),
            }
        };
        Self {
            first: calls.first.into_iter().map(call).collect(),
            count: calls.count,
        }
    }
}

impl From<proto::CallLog> for CallLog {
    fn from(calls: proto::CallLog) -> Self {
        let mut told = Self::default();
        for call in calls.first {
            let kind = match call.kind() {
                proto::CallKind::Write => CallKind::Write,
                proto::CallKind::Update => CallKind::Update,
                proto::CallKind::Read | proto::CallKind::Unspecified => CallKind::Read,
            };
            let error = Some(call.error).filter(|error| !error.is_empty());
            told.note(kind, &call.record, call.version.map(Into::into), error);
        }
        told.count = calls.count;
        told
    }
}
