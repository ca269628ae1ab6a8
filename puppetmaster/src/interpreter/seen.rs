//! What a script has seen of the records: its reads and its runs never go back behind that (read your writes).

use std::sync::{Mutex, PoisonError};

use common::proto;
use common::types::{Pin, RecordId, Version, Wanted};
use indexmap::IndexMap;

/// Records that are remembered; those seen longest ago are forgotten first. As many as a submission may name.
const SEEN_MAX: usize = 1_000;

/// The newest version of each record that a command has written, read or had from a run.
#[derive(Default)]
pub struct Seen(Mutex<IndexMap<RecordId, Version>>);

impl Seen {
    pub fn note(&self, record: &str, version: Version) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = seen
            .shift_remove(record)
            .map_or(version, |known| known.max(version));
        seen.insert(record.to_owned(), newest);
        if seen.len() > SEEN_MAX {
            seen.shift_remove_index(0);
        }
    }

    /// What a run has read or written.
    pub fn note_run(&self, report: &proto::RunReport) {
        for pin in &report.pins {
            self.note(&pin.record, pin.version.unwrap_or_default().into());
        }
    }

    /// The newest version at a replica, but none older than what was seen.
    pub fn newest(&self, record: &str) -> Wanted {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let not_older = seen.get(record).copied().unwrap_or(Version::NULL);
        Wanted::Newest { not_older }
    }

    /// The newest version of each record that was seen.
    pub fn all(&self) -> Vec<(RecordId, Version)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = |(record, version): (&RecordId, &Version)| (record.clone(), *version);
        seen.iter().map(copy).collect()
    }

    /// A read that asked for `wanted` has found `found`. Some: the version that it should have been at least; it is lost,
    /// and what was found takes its place here, so that nothing waits for it again.
    pub fn lost(&self, record: &str, wanted: Wanted, found: Version) -> Option<Version> {
        let Wanted::Newest { not_older } = wanted else {
            return None;
        };
        if found >= not_older {
            return None;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was written meanwhile is newer, and not lost.
        if seen.get(record) == Some(&not_older) {
            seen.insert(record.to_owned(), found);
        }
        Some(not_older)
    }

    pub fn to_proto(&self) -> Vec<proto::Pin> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = |(record, version): (&RecordId, &Version)| Pin {
            record: record.clone(),
            version: *version,
            is_floor: true,
        };
        seen.iter().map(|entry| floor(entry).into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_once_and_replaced_by_what_was_found() {
        let seen = Seen::default();
        let version = |number| Version::write(number, 1);
        seen.note("k", version(5));
        let wanted = seen.newest("k");
        assert_eq!(seen.lost("k", wanted, version(5)), None);
        assert_eq!(seen.lost("k", wanted, version(6)), None);
        assert_eq!(seen.lost("k", wanted, version(3)), Some(version(5)));
        let wanted = Wanted::Newest {
            not_older: version(3),
        };
        assert_eq!(seen.newest("k"), wanted);
        assert_eq!(seen.lost("k", wanted, version(3)), None);
        assert_eq!(seen.lost("k", wanted, Version::NULL), Some(version(3)));
        assert_eq!(seen.newest("k"), Wanted::NEWEST);
        assert_eq!(seen.lost("k", Wanted::NEWEST, Version::NULL), None);
    }

    #[test]
    fn what_was_written_while_a_loss_was_found_stays_seen() {
        let seen = Seen::default();
        let version = |number| Version::write(number, 1);
        seen.note("k", version(5));
        let wanted = seen.newest("k");
        seen.note("k", version(6));
        assert_eq!(seen.lost("k", wanted, version(3)), Some(version(5)));
        assert_eq!(
            seen.newest("k"),
            Wanted::Newest {
                not_older: version(6)
            }
        );
    }

    #[test]
    fn what_was_seen_never_goes_back_and_is_bounded() {
        let seen = Seen::default();
        let version = |number| Version::write(number, 1);
        seen.note("k", version(5));
        seen.note("k", version(3));
        assert_eq!(
            seen.newest("k"),
            Wanted::Newest {
                not_older: version(5)
            }
        );
        assert_eq!(seen.newest("other"), Wanted::NEWEST);
        for number in 0..SEEN_MAX {
            seen.note(&number.to_string(), version(1));
        }
        assert_eq!(seen.to_proto().len(), SEEN_MAX);
        assert_eq!(seen.newest("k"), Wanted::NEWEST);
    }
}
