//! What earlier attempts at a task did, for a session that goes through the same again.
//!
//! Each update is kept by the storage with a note: the versions that the task has read since its last one, and with the
//! first one also those that it began with. So an operator that does the same again is told the same, update by update;
//! reads before an update see the versions of its note. Behind the last one everything is new, unless later stages have
//! done something: they began with what this one had read.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::client::journal::{Did, Journal, Journalled};
use common::fabric::{decode, encode};
use common::proto;
use common::status::Status;
use common::types::{NOTE_BYTES_MAX, Pin, RecordId, Version};

/// Versions by record.
pub type Versions = BTreeMap<RecordId, Version>;

/// What is left to go through of what was done.
#[derive(Default)]
pub struct Past {
    updates: BTreeMap<u64, (Journalled, Versions)>,
    /// With what tasks of later stages began.
    later: Versions,
}

impl Past {
    /// The part of the journal that is of this origin, and what began behind it: in the order of their stages.
    ///
    /// # Errors
    /// A note is none of a session's.
    pub fn new(journal: Journal, origin: &str) -> Result<Self, Status> {
        let mut past = Self::default();
        let mut before = String::new();
        for (id, journalled) in journal {
            let noted = decode_note(journalled.note.clone())?;
            if id.origin == origin {
                past.updates.insert(id.sequence, (journalled, noted));
            } else if *id.origin > *origin && id.origin != before {
                for (record, version) in noted {
                    past.later.entry(record).or_insert(version);
                }
            }
            before = id.origin;
        }
        Ok(past)
    }

    /// The versions that later stages have found: what this one reads behind its last update, they saw as it did.
    pub fn take_later(&mut self) -> Versions {
        std::mem::take(&mut self.later)
    }

    /// What the update of this number did, if it was made; all before it is over.
    pub fn take(&mut self, sequence: u64) -> Option<(RecordId, Did)> {
        let (done, _) = self.updates.remove(&sequence)?;
        Some((done.record, done.did))
    }

    /// What was read before the next update; absent: there is none.
    pub fn next_reads(&self) -> Option<&Versions> {
        let (_, (_, noted)) = self.updates.first_key_value()?;
        Some(noted)
    }
}

/// Absent: it is longer than a note may be.
pub fn encode_note(noted: &Versions) -> Option<Bytes> {
    let pin = |(record, version): (&RecordId, &Version)| proto::Pin {
        record: record.clone(),
        version: Some((*version).into()),
        floor: false,
    };
    let note = encode(&proto::TaskNote {
        pins: noted.iter().map(pin).collect(),
    });
    (note.len() <= NOTE_BYTES_MAX).then_some(note)
}

fn decode_note(note: Bytes) -> Result<Versions, Status> {
    let note: proto::TaskNote = decode(note)?;
    let pins = note.pins.into_iter().map(Pin::try_from);
    pins.map(|pin| pin.map(|pin| (pin.record, pin.version)))
        .collect()
}
