//! What tasks did to a record, retained until it is forgotten explicitly: a retry of the task is answered by it.
//!
//! The log of updates remembers by count; a mismatch that it forgets would shift what a retry does by one, and make an
//! effect twice. Bounded by refusing a task's update, never by dropping one.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::types::{UpdateId, Version};

use super::message::Outcome;

/// Updates retained for one record, at most. A slot or a plain write elsewhere that is under way may go beyond it.
pub const RECORD_UPDATES_MAX: usize = 16_384;
/// And what they take; together with all else of a record it has to fit into one message.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// For all records of a node.
pub const NODE_UPDATES_MAX: usize = 1 << 20;
pub const NODE_BYTES_MAX: usize = 256 << 20;
/// Of a mismatch a longer value is retained only as one of the record's versions.
pub const VALUE_BYTES_MAX: usize = 1 << 10;

/// An update of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retained {
    pub id: UpdateId,
    pub did: Did,
    /// What the task wants to find with it.
    pub note: Bytes,
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Did {
    /// A plain write made this version.
    Write(Version),
    /// Without the value that was made; `is_cut`: also without that which was found.
    Update { outcome: Outcome, is_cut: bool },
}

impl Did {
    pub fn update(mut outcome: Outcome) -> Self {
        let is_mismatch = outcome.made().is_none();
        let is_cut = is_mismatch && outcome.value_bytes() > VALUE_BYTES_MAX;
        if is_cut || !is_mismatch {
            outcome.newest_mut().value = None;
        }
        Self::Update { outcome, is_cut }
    }
}

impl Retained {
    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        let value = match &self.did {
            Did::Write(_) => 0,
            Did::Update { outcome, .. } => outcome.value_bytes(),
        };
        128 + self.id.origin.len() + self.note.len() + value
    }
}

/// How much is retained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Size {
    pub updates: usize,
    pub bytes: usize,
}

impl Size {
    /// This, changed as something in it has changed.
    #[must_use]
    pub fn with(self, before: Self, after: Self) -> Self {
        Self {
            updates: self.updates + after.updates - before.updates,
            bytes: self.bytes + after.bytes - before.bytes,
        }
    }
}

/// What is retained for one record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RetainedUpdates {
    updates: BTreeMap<UpdateId, Retained>,
    bytes: usize,
}

impl RetainedUpdates {
    /// The first to come of one id stays.
    pub(super) fn retain(&mut self, update: Retained) {
        let bytes = update.bytes();
        let entry = self.updates.entry(update.id.clone());
        if let std::collections::btree_map::Entry::Vacant(free) = entry {
            free.insert(update);
            self.bytes += bytes;
        }
    }

    pub(super) fn forget(&mut self, origin: &str) {
        let ids: Vec<UpdateId> = self.of(origin).map(|of| of.id.clone()).collect();
        for id in ids {
            if let Some(update) = self.updates.remove(&id) {
                self.bytes -= update.bytes();
            }
        }
    }

    pub fn get(&self, id: &UpdateId) -> Option<&Retained> {
        self.updates.get(id)
    }

    /// Those of exactly this origin, in their order.
    pub fn of(&self, origin: &str) -> impl Iterator<Item = &Retained> {
        let first = UpdateId {
            origin: origin.to_owned(),
            sequence: 0,
        };
        let from_there = self.updates.range(first..).map(|(_, update)| update);
        from_there.take_while(move |update| update.id.origin == origin)
    }

    pub fn all(&self) -> impl Iterator<Item = &Retained> {
        self.updates.values()
    }

    pub fn size(&self) -> Size {
        Size {
            updates: self.updates.len(),
            bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use common::types::RecordVersion;

    use super::*;

    fn retained(origin: &str, sequence: u64) -> Retained {
        let origin = origin.to_owned();
        Retained {
            id: UpdateId { origin, sequence },
            did: Did::Write(Version::write(sequence, 1)),
            note: Bytes::from_static(b"note"),
        }
    }

    #[test]
    fn an_origin_is_forgotten_and_no_other() {
        let mut all = RetainedUpdates::default();
        for (origin, sequence) in [("a", 0), ("a", 1), ("a", 1), ("a/b", 0), ("ab", 0)] {
            all.retain(retained(origin, sequence));
        }
        assert_eq!(all.size().updates, 4);
        all.forget("a");
        let left: Vec<_> = all.all().map(|of| of.id.origin.as_str()).collect();
        assert_eq!(left, ["a/b", "ab"]);
        let bytes = retained("a/b", 0).bytes() + retained("ab", 0).bytes();
        assert_eq!(all.size().bytes, bytes);
    }

    #[test]
    fn a_short_value_that_a_mismatch_found_is_retained_and_a_long_one_is_cut() {
        for (length, is_kept) in [(VALUE_BYTES_MAX, true), (VALUE_BYTES_MAX + 1, false)] {
            let found = RecordVersion {
                version: Version::write(0, 1),
                value: Some(vec![0; length].into()),
            };
            let Did::Update { outcome, is_cut } = Did::update(Outcome::Mismatch { found }) else {
                panic!("an update");
            };
            assert_eq!(outcome.newest().value.is_some(), is_kept);
            assert_eq!(is_cut, !is_kept);
        }
    }
}
