//! What tasks did and which of their updates are refused, from and to `proto`.

use bytes::Bytes;
use common::proto;
use common::status::Status;
use common::types::{
    EXCEPT_MAX, NOTE_BYTES_MAX, ORIGIN_BYTES_MAX, RecordId, RecordVersion, TaskMark, record_id,
    required, update_id,
};
use proto::retained::Did as Encoded;

use super::record::decode_success;
use super::{Decoded, all};
use crate::core::fence::{Collected, Fence};
use crate::core::fences::{Fences, Forgotten, OVER};
use crate::core::message::Outcome;
use crate::core::retained::{Did, Retained};

pub fn note(note: Bytes) -> Decoded<Bytes> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(Status::invalid(format!(
            "a note has at most {NOTE_BYTES_MAX} bytes, not {}",
            note.len()
        )));
    }
    Ok(note)
}

/// Absent: no task makes the update.
pub fn task_mark(attempt: u32, noted: Bytes) -> Decoded<Option<TaskMark>> {
    let note = note(noted)?;
    Ok((attempt > 0).then_some(TaskMark { attempt, note }))
}

fn path(path: String) -> Decoded<String> {
    if path.is_empty() || path.len() > ORIGIN_BYTES_MAX {
        return Err(Status::invalid(format!(
            "an origin has 1 to {ORIGIN_BYTES_MAX} bytes"
        )));
    }
    Ok(path)
}

pub fn decode_fence(request: proto::FenceRequest) -> Decoded<Fence> {
    if request.attempt == 0 || request.attempt == OVER {
        let wrong = format!("attempts count from 1, and stay below {OVER}");
        return Err(Status::invalid(wrong));
    }
    let after = request.after.map(|last| {
        let id = last.retained.and_then(|retained| retained.id);
        Ok::<_, Status>((update_id(id)?, record_id(last.record)?))
    });
    Ok(Fence {
        path: path(request.origin)?,
        attempt: request.attempt,
        after: after.transpose()?,
    })
}

pub fn encode_collected(collected: Collected, gossip_delay_ms: u64) -> proto::FenceResponse {
    let encode = |(record, retained): (RecordId, Retained)| proto::RetainedUpdate {
        record,
        retained: Some(retained.into()),
    };
    proto::FenceResponse {
        retained: collected.retained.into_iter().map(encode).collect(),
        more: collected.has_more,
        gossip_delay_ms,
    }
}

impl From<Retained> for proto::Retained {
    fn from(retained: Retained) -> Self {
        let did = match retained.did {
            Did::Write(version) => Encoded::Wrote(version.into()),
            Did::Update { outcome, is_cut } => match outcome {
                Outcome::Updated { base, made } => Encoded::Updated(proto::Success {
                    base: Some(base.into()),
                    made: Some(made.into()),
                }),
                Outcome::Mismatch { found } if is_cut => {
                    Encoded::MismatchWithoutValue(found.version.into())
                }
                Outcome::Mismatch { found } => Encoded::Mismatch(found.into()),
            },
        };
        Self {
            id: Some(retained.id.into()),
            note: retained.note,
            did: Some(did),
        }
    }
}

pub fn decode_retained(retained: proto::Retained) -> Decoded<Retained> {
    let update = |outcome, is_cut| Did::Update { outcome, is_cut };
    let mismatch = |found| Outcome::Mismatch { found };
    let did = match required(retained.did, "did")? {
        Encoded::Wrote(version) => Did::Write(version.into()),
        Encoded::Updated(success) => update(decode_success(success)?, false),
        Encoded::Mismatch(found) => update(mismatch(found.into()), false),
        Encoded::MismatchWithoutValue(version) => {
            let (version, value) = (version.into(), None);
            update(mismatch(RecordVersion { version, value }), true)
        }
    };
    Ok(Retained {
        id: update_id(retained.id)?,
        did,
        note: note(retained.note)?,
    })
}

pub fn encode_forgotten(range: Forgotten) -> proto::ForgetRequest {
    proto::ForgetRequest {
        from: range.from,
        until: range.until,
        except: range.except.into_iter().collect(),
    }
}

pub fn decode_forgotten(range: proto::ForgetRequest) -> Decoded<Forgotten> {
    if range.except.len() > EXCEPT_MAX {
        return Err(Status::invalid(format!(
            "at most {EXCEPT_MAX} origins are left out when others are forgotten, not {}",
            range.except.len()
        )));
    }
    Ok(Forgotten {
        from: path(range.from)?,
        until: path(range.until)?,
        except: all(range.except, path)?.into_iter().collect(),
    })
}

pub fn encode_fenced((origin, attempt): (String, u32)) -> proto::Fenced {
    proto::Fenced { origin, attempt }
}

pub fn decode_fenced(fenced: proto::Fenced) -> Decoded<(String, u32)> {
    Ok((path(fenced.origin)?, fenced.attempt))
}

pub fn encode_fences(fences: &Fences) -> proto::Fences {
    let all = fences.fences().clone().into_iter();
    let forgotten = fences.forgotten().iter().cloned();
    proto::Fences {
        fenced: all.map(encode_fenced).collect(),
        forgotten: forgotten.map(encode_forgotten).collect(),
    }
}

pub fn decode_fences(fences: Option<proto::Fences>) -> Decoded<Fences> {
    let fences = fences.unwrap_or_default();
    Ok(Fences::of(
        all(fences.fenced, decode_fenced)?,
        all(fences.forgotten, decode_forgotten)?,
    ))
}
