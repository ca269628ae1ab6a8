//! What a run has seen, which outlives the session of a stage.

use std::sync::{Arc, Mutex, PoisonError};

use common::types::{self, Item, Pin};

use super::replay::Versions;
use crate::core::Ended;
use crate::host::{OperatorError, OperatorFailure, StorageError};

#[derive(Default)]
pub(super) struct Seen {
    pub(super) pins: Versions,
    /// Of records without a pin.
    pub(super) floors: Versions,
    /// Versions read since the last update; before the first one, also those that the task began with.
    pub(super) noted: Versions,
    /// The session cannot go on.
    pub(super) over: Option<Over>,
    pub(super) calls: types::CallLog,
}

/// Why a session cannot go on.
#[derive(Clone)]
pub(super) struct Over {
    /// What every call from now on is told.
    pub(super) error: StorageError,
    /// How the stage ends, whatever the operator returns.
    pub(super) reason: String,
    pub(super) permanent: bool,
}

impl From<Over> for Ended {
    fn from(over: Over) -> Self {
        Self::Failed {
            reason: over.reason,
            permanent: over.permanent,
        }
    }
}

/// What remains of a session when its stage has ended.
pub struct Afterwards(pub(super) Arc<Mutex<Seen>>);

impl Afterwards {
    /// What the operator asked of the storage.
    pub fn calls(&self) -> types::CallLog {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut seen.calls)
    }

    /// How the stage ended, given what the operator said.
    pub fn end(self, result: Result<Vec<Item>, OperatorError>) -> Ended {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(over) = seen.over.take() {
            return over.into();
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
