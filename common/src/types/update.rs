//! How updates are asked for, and how they end.

use bytes::Bytes;

use super::{RecordVersion, Version};

/// How many replicas hold a write durably before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    One,
    Majority,
    /// Every replica that is not certified dead.
    All,
}

/// How an update ended. Failures are decided too, so that repeats are answered alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// `made.version` is the immediate successor of `base`.
    Updated {
        base: Version,
        made: RecordVersion,
    },
    Mismatch {
        found: RecordVersion,
    },
}

impl Outcome {
    /// The version that the update made, if it succeeded.
    pub fn made(&self) -> Option<Version> {
        match self {
            Self::Updated { made, .. } => Some(made.version),
            Self::Mismatch { .. } => None,
        }
    }

    /// What was newest after the update.
    pub fn newest(&self) -> &RecordVersion {
        let (Self::Updated { made: newest, .. } | Self::Mismatch { found: newest }) = self;
        newest
    }

    /// Of the value that was made or found.
    pub fn value_bytes(&self) -> usize {
        self.newest().value.as_ref().map_or(0, Bytes::len)
    }

    /// See [`newest`](Self::newest).
    pub fn newest_mut(&mut self) -> &mut RecordVersion {
        let (Self::Updated { made: newest, .. } | Self::Mismatch { found: newest }) = self;
        newest
    }
}
