//! Conversion from and to `proto`, with the validation of what comes from outside.

use bytes::Bytes;

use super::{
    Item, ORIGIN_BYTES_MAX, Pin, RECORD_ID_BYTES_MAX, Record, RecordId, RecordVersion, UpdateId,
    VALUE_BYTES_MAX, Version,
};
use crate::proto;
use crate::status::Status;

impl From<Version> for proto::Version {
    fn from(version: Version) -> Self {
        Self {
            number: version.number,
            replica: version.replica,
            step: version.step,
        }
    }
}

impl From<proto::Version> for Version {
    fn from(version: proto::Version) -> Self {
        Self {
            number: version.number,
            replica: version.replica,
            step: version.step,
        }
    }
}

impl From<RecordVersion> for proto::RecordVersion {
    fn from(found: RecordVersion) -> Self {
        Self {
            version: Some(found.version.into()),
            value: found.value,
        }
    }
}

impl From<proto::RecordVersion> for RecordVersion {
    /// A missing version is the null version, as everywhere in proto3.
    fn from(found: proto::RecordVersion) -> Self {
        Self {
            version: found.version.unwrap_or_default().into(),
            value: found.value,
        }
    }
}

impl RecordVersion {
    /// The record, unless it was deleted or never existed.
    pub fn existing(self) -> Option<Record> {
        let version = self.version;
        self.value.map(|value| Record { version, value })
    }
}

impl From<Pin> for proto::Pin {
    fn from(pin: Pin) -> Self {
        Self {
            record: pin.record,
            version: Some(pin.version.into()),
            floor: pin.is_floor,
        }
    }
}

impl TryFrom<proto::Pin> for Pin {
    type Error = Status;

    fn try_from(pin: proto::Pin) -> Result<Self, Status> {
        Ok(Self {
            record: record_id(pin.record)?,
            version: pin.version.unwrap_or_default().into(),
            is_floor: pin.floor,
        })
    }
}

impl From<Item> for proto::Item {
    fn from(item: Item) -> Self {
        Self {
            key: item.key,
            value: item.value,
        }
    }
}

impl From<proto::Item> for Item {
    fn from(item: proto::Item) -> Self {
        Self {
            key: item.key,
            value: item.value,
        }
    }
}

impl From<UpdateId> for proto::UpdateId {
    fn from(id: UpdateId) -> Self {
        Self {
            origin: id.origin,
            sequence: id.sequence,
        }
    }
}

/// A field that proto3 lets senders omit but that this request needs.
pub fn required<T>(field: Option<T>, name: &str) -> Result<T, Status> {
    field.ok_or_else(|| Status::invalid(format!("the request lacks `{name}`")))
}

pub fn record_id(id: String) -> Result<RecordId, Status> {
    match id.len() {
        0 => Err(Status::invalid("a record id has at least one byte")),
        1..=RECORD_ID_BYTES_MAX => Ok(id),
        length => Err(Status::invalid(format!(
            "a record id has at most {RECORD_ID_BYTES_MAX} bytes, not {length}"
        ))),
    }
}

pub fn value_bounds(value: Option<&Bytes>) -> Result<(), Status> {
    match value.map_or(0, Bytes::len) {
        0..=VALUE_BYTES_MAX => Ok(()),
        length => Err(Status::invalid(format!(
            "a value has at most {VALUE_BYTES_MAX} bytes, not {length}"
        ))),
    }
}

pub fn update_id(id: Option<proto::UpdateId>) -> Result<UpdateId, Status> {
    let id = required(id, "id")?;
    if id.origin.is_empty() || id.origin.len() > ORIGIN_BYTES_MAX {
        return Err(Status::invalid(format!(
            "the origin of an update id has 1 to {ORIGIN_BYTES_MAX} bytes"
        )));
    }
    Ok(UpdateId {
        origin: id.origin,
        sequence: id.sequence,
    })
}
