//! Refusals of the core as statuses.

use common::status::{Detail, Kind, Status};

use crate::core::Refusal;

// By value, as `map_err` wants it.
#[allow(clippy::needless_pass_by_value)]
pub fn refusal_status(refusal: Refusal) -> Status {
    let kind = match &refusal {
        Refusal::AskAnother(_)
        | Refusal::NotHeld(_)
        | Refusal::NoQuorum(_)
        | Refusal::Fenced { .. } => Kind::Refused,
        Refusal::Joining
        | Refusal::Away
        | Refusal::NotYet { .. }
        | Refusal::ReadOnly(_)
        | Refusal::Behind(_)
        | Refusal::UnderWay(_) => Kind::Unavailable,
        Refusal::Exists(_) => Kind::AlreadyExists,
        Refusal::Discarded { .. } => Kind::Discarded,
        Refusal::Overloaded { .. } => Kind::Overloaded,
        Refusal::Unknown => Kind::Timeout,
    };
    let status = Status::new(kind, refusal.to_string());
    match refusal {
        Refusal::Overloaded { retry_after_ms, .. } => {
            status.with(Detail::RetryAfterMs(retry_after_ms))
        }
        Refusal::Fenced { attempt, .. } => status.with(Detail::Fenced(attempt)),
        _ => status,
    }
}
