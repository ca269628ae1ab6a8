//! What clients may ask of a storage node at most.
//!
//! Checked where requests come in that make something new, and nowhere else: what one node has accepted, all others take
//! and show, whatever they themselves are told.

use bytes::Bytes;
use common::status::{Detail, Status};
use common::types::{RECORD_ID_BYTES_DEFAULT, RecordId, VALUE_BYTES_DEFAULT, record_id};

use crate::core::message::{Ask, Update};
use crate::core::queue::QueueBounds;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub record_id_bytes: usize,
    pub value_bytes: usize,
    pub queues: QueueBounds,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_id_bytes: RECORD_ID_BYTES_DEFAULT,
            value_bytes: VALUE_BYTES_DEFAULT,
            queues: QueueBounds::default(),
        }
    }
}

impl Limits {
    pub fn record(&self, id: String) -> Result<RecordId, Status> {
        let id = record_id(id)?;
        if id.len() > self.record_id_bytes {
            return Err(Status::invalid(format!(
                "a record id has at most {} bytes (record_id_bytes_max), not {}",
                self.record_id_bytes,
                id.len()
            )));
        }
        Ok(id)
    }

    pub fn value(&self, value: Option<&Bytes>) -> Result<(), Status> {
        let length = value.map_or(0, Bytes::len);
        if length <= self.value_bytes {
            return Ok(());
        }
        let bytes_max = self.value_bytes;
        let status = Status::invalid(format!(
            "a value has at most {bytes_max} bytes (value_bytes_max), not {length}"
        ));
        Err(status.with(Detail::ValueBytesMax(bytes_max as u64)))
    }

    pub fn update(&self, update: Update) -> Result<Update, Status> {
        let record = self.record(update.record)?;
        if let Ask::IfValueIs { new, .. } | Ask::IfVersionIs { new, .. } = &update.ask {
            self.value(new.as_ref())?;
        }
        Ok(Update { record, ..update })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn values_of(value_bytes: usize) -> Limits {
        Limits {
            value_bytes,
            ..Limits::default()
        }
    }

    #[test]
    fn what_is_too_long_is_refused_with_the_bound() {
        let limits = Limits {
            record_id_bytes: 3,
            ..values_of(2)
        };
        assert_eq!(limits.record("abc".to_owned()), Ok("abc".to_owned()));
        let refused = limits.record("abcd".to_owned()).unwrap_err();
        assert_eq!(
            refused.message,
            "a record id has at most 3 bytes (record_id_bytes_max), not 4"
        );
        assert_eq!(limits.value(Some(&Bytes::from_static(b"ab"))), Ok(()));
        let refused = limits.value(Some(&Bytes::from_static(b"abc"))).unwrap_err();
        assert_eq!(
            refused.message,
            "a value has at most 2 bytes (value_bytes_max), not 3"
        );
        assert_eq!(refused.detail, Some(Detail::ValueBytesMax(2)));
    }
}
