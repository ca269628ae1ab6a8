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
