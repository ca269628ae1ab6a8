//! The parts of messages and of changes on disk: records, logs, entries, timestamps.

use common::proto;
use common::status::Status;
use common::types::{
    RecordId, RecordVersion, UpdateId, Version, record_id, required, update_id, value_bounds,
};

use super::tasks::{decode_retained, note};
use super::{Decoded, all};
use crate::core::message::{
    Accepted, Ballot, Decision, Digest, Entry, EntryKind, JoinRecord, LogRecord, Outcome,
    RecordState,
};
use crate::core::soundness::check_state;
use crate::core::timestamp::Timestamp;

impl From<Ballot> for proto::Ballot {
    fn from(
        Ballot {
            epoch,
            term,
            replica,
        }: Ballot,
    ) -> Self {
        Self {
            epoch,
            term,
            replica,
        }
    }
}

impl From<proto::Ballot> for Ballot {
    fn from(
        proto::Ballot {
            epoch,
            term,
            replica,
        }: proto::Ballot,
    ) -> Self {
        Self {
            epoch,
            term,
            replica,
        }
    }
}

impl From<Digest> for proto::RecordDigest {
    fn from(digest: Digest) -> Self {
        Self {
            decided: digest.decided,
            versions: digest.versions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<proto::RecordDigest> for Digest {
    fn from(digest: proto::RecordDigest) -> Self {
        Self {
            decided: digest.decided,
            versions: digest.versions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<LogRecord> for proto::LogRecord {
    fn from(record: LogRecord) -> Self {
        Self {
            slot: record.slot,
            decisions: record.decisions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Decision> for proto::Decision {
    fn from(decision: Decision) -> Self {
        use proto::decision::Outcome as Encoded;
        let outcome = match decision.outcome {
            Outcome::Updated { base, made } => Encoded::Success(proto::Success {
                base: Some(base.into()),
                made: Some(made.into()),
            }),
            Outcome::Mismatch { found } => Encoded::Mismatch(found.into()),
        };
        Self {
            id: Some(decision.id.into()),
            outcome: Some(outcome),
            note: decision.note,
        }
    }
}

pub fn decode_log(record: proto::LogRecord) -> Decoded<LogRecord> {
    if record.slot == 0 {
        return Err(Status::invalid("slots count from 1"));
    }
    Ok(LogRecord {
        slot: record.slot,
        decisions: all(record.decisions, decode_decision)?,
    })
}

fn decode_decision(decision: proto::Decision) -> Decoded<Decision> {
    use proto::decision::Outcome as Encoded;
    let outcome = match required(decision.outcome, "outcome")? {
        Encoded::Success(success) => decode_success(success)?,
        Encoded::Mismatch(found) => Outcome::Mismatch {
            found: found.into(),
        },
    };
    Ok(Decision {
        id: update_id(decision.id)?,
        outcome,
        note: decision.note.map(note).transpose()?,
    })
}

pub(super) fn decode_success(success: proto::Success) -> Decoded<Outcome> {
    let base: Version = success.base.unwrap_or_default().into();
    let made: RecordVersion = required(success.made, "made")?.into();
    if made.version != base.successor() {
        return Err(Status::invalid(
            "a successful update makes the successor of the version that it tested",
        ));
    }
    Ok(Outcome::Updated { base, made })
}

impl From<Accepted> for proto::Accepted {
    fn from(accepted: Accepted) -> Self {
        Self {
            ballot: Some(accepted.ballot.into()),
            proposal: Some(accepted.proposal.into()),
        }
    }
}

pub fn decode_accepted(accepted: proto::Accepted) -> Decoded<Accepted> {
    Ok(Accepted {
        ballot: required(accepted.ballot, "ballot")?.into(),
        proposal: decode_log(required(accepted.proposal, "proposal")?)?,
    })
}

impl From<RecordState> for proto::RecordState {
    fn from(state: RecordState) -> Self {
        Self {
            decided: state.decided,
            log: state.log.into_iter().map(Into::into).collect(),
            remembered: state.remembered.into_iter().map(Into::into).collect(),
            writes: state.writes.into_iter().map(encode_wrote).collect(),
            retained: state.retained.into_iter().map(Into::into).collect(),
            versions: state.versions.into_iter().map(Into::into).collect(),
            floor: Some(state.floor.into()),
            highest_number: state.highest_number,
        }
    }
}

pub fn decode_state(state: Option<proto::RecordState>) -> Decoded<RecordState> {
    let state = state.unwrap_or_default();
    let log = all(state.log, decode_log)?;
    if log
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if b.slot != a.slot + 1))
    {
        return Err(Status::invalid("the slots of a log are consecutive"));
    }
    Ok(RecordState {
        decided: state.decided,
        log,
        remembered: all(state.remembered, decode_log)?,
        writes: all(state.writes, decode_wrote)?,
        retained: all(state.retained, decode_retained)?,
        versions: state.versions.into_iter().map(Into::into).collect(),
        floor: state.floor.unwrap_or_default().into(),
        highest_number: state.highest_number,
    })
}

impl From<Timestamp> for proto::Timestamp {
    fn from(timestamp: Timestamp) -> Self {
        Self {
            counts: timestamp.iter().collect(),
        }
    }
}

pub fn decode_timestamp(timestamp: Option<proto::Timestamp>) -> Timestamp {
    timestamp.unwrap_or_default().counts.into_iter().collect()
}

pub fn encode_entry(entry: Entry) -> proto::GossipEntry {
    use proto::gossip_entry::What;
    let (what, id, note) = match entry.what {
        EntryKind::Write { made, id, note } => (What::Write(made.into()), Some(id.into()), note),
        EntryKind::Decided(decided) => (What::Decided(decided.into()), None, None),
    };
    proto::GossipEntry {
        origin: entry.origin,
        sequence: entry.sequence,
        previous: Some(entry.previous.into()),
        record: entry.record,
        what: Some(what),
        id,
        note,
    }
}

pub fn decode_entry(entry: proto::GossipEntry) -> Decoded<Entry> {
    use proto::gossip_entry::What;
    Ok(Entry {
        origin: entry.origin,
        sequence: entry.sequence,
        previous: decode_timestamp(entry.previous),
        record: record_id(entry.record)?,
        what: match required(entry.what, "what")? {
            What::Write(made) => EntryKind::Write {
                made: made.into(),
                id: update_id(entry.id)?,
                note: entry.note.map(note).transpose()?,
            },
            What::Decided(decided) => EntryKind::Decided(decode_log(decided)?),
        },
    })
}

pub fn encode_wrote((id, version): (UpdateId, Version)) -> proto::Wrote {
    proto::Wrote {
        id: Some(id.into()),
        version: Some(version.into()),
    }
}

pub fn decode_wrote(wrote: proto::Wrote) -> Decoded<(UpdateId, Version)> {
    Ok((
        update_id(wrote.id)?,
        wrote.version.unwrap_or_default().into(),
    ))
}

pub fn encode_copy((record, state): (RecordId, RecordState)) -> proto::RecordCopy {
    proto::RecordCopy {
        record,
        state: Some(state.into()),
    }
}

/// Comes from a file: everything about it is checked.
pub fn decode_copy(copy: proto::RecordCopy) -> Decoded<(RecordId, RecordState)> {
    let (record, state) = (record_id(copy.record)?, decode_state(copy.state)?);
    let wrong = |why| Status::invalid(format!("record `{record}` of the copy is wrong: {why}"));
    check_state(&state).map_err(wrong)?;
    let logged = state.log.iter().flat_map(|slot| &slot.decisions);
    let logged = logged.map(|decision| decision.outcome.newest());
    for version in state.versions.iter().chain(logged) {
        value_bounds(version.value.as_ref())?;
    }
    Ok((record, state))
}

impl From<JoinRecord> for proto::JoinRecord {
    fn from(join: JoinRecord) -> Self {
        Self {
            record: join.record,
            promised: Some(join.promised.into()),
            accepted: join.accepted.map(Into::into),
            state: Some(join.state.into()),
        }
    }
}

pub fn decode_join(join: proto::JoinRecord) -> Decoded<JoinRecord> {
    Ok(JoinRecord {
        record: record_id(join.record)?,
        promised: join.promised.unwrap_or_default().into(),
        accepted: join.accepted.map(decode_accepted).transpose()?,
        state: decode_state(join.state)?,
    })
}
