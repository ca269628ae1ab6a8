//! What replicas answered who did not do what they were asked, and whether to ask another one.

use crate::status::{Detail, Kind, Status};

/// True when another replica would say the same.
pub(super) fn is_final(status: &Status) -> bool {
    let is_fenced = matches!(status.detail, Some(Detail::Fenced(_)));
    is_fenced
        || !matches!(
            status.kind,
            Kind::Unavailable
                | Kind::Overloaded
                | Kind::Timeout
                | Kind::Discarded
                | Kind::Refused
                | Kind::NotFound
        )
}

/// What the replicas answered so far.
#[derive(Default)]
pub(super) struct Failure {
    last: Option<Status>,
    /// A replica has discarded the version or is in a minority: final unless another one answers in the same round.
    pub(super) refusal: Option<Status>,
    /// The longest that a replica of this round has asked for.
    pub(super) retry_after_ms: Option<u64>,
    /// Some attempt may have taken effect.
    unknown: bool,
}

impl Failure {
    pub(super) fn add(&mut self, status: Status) {
        self.unknown |= status.kind == Kind::Timeout;
        self.retry_after_ms = self.retry_after_ms.max(status.retry_after_ms());
        if matches!(status.kind, Kind::Discarded | Kind::Refused) {
            self.refusal = Some(status.clone());
        }
        // The last of several tries often ends only because time is up: the one before said why.
        if status.kind != Kind::Timeout || self.last.is_none() {
            self.last = Some(status);
        }
    }

    pub(super) fn status(self) -> Status {
        let why = self.last.map_or_else(
            || "no replica was asked in time".to_owned(),
            |status| status.message,
        );
        let kind = if self.unknown {
            Kind::Timeout
        } else {
            Kind::Unavailable
        };
        Status::new(
            kind,
            format!("no replica of the record answered in time; the last one: {why}"),
        )
    }
}
