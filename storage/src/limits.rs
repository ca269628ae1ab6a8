//! What clients may ask of a storage node at most.
//!
//! Checked where their requests come in, and nowhere else: what one node has accepted, all others take, whatever they
//! themselves are told.

use bytes::Bytes;
use common::fabric::MESSAGE_BYTES_MAX;
use common::status::{Detail, Status};
use common::types::{RECORD_ID_BYTES_DEFAULT, RecordId, Ring, VALUE_BYTES_DEFAULT, record_id};

use crate::core::message::{Ask, Update};
use crate::core::queue::QueueBounds;
use crate::core::updates::LOG_BYTES_MAX;

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
    /// All that a replica may lack of a record travels in one message: what it keeps has to fit into it. Values of the
    /// default length are never refused; records that need the room seldom have so many of them.
    pub fn check(&self, ring: &Ring) -> Result<(), Status> {
        // Beside the versions: an accepted update, and one that exceeds the bytes of the log.
        let values = u64::from(ring.max_versions) + 2;
        let room = (MESSAGE_BYTES_MAX - LOG_BYTES_MAX) as u64 / values;
        if self.value_bytes <= VALUE_BYTES_DEFAULT || self.value_bytes as u64 <= room {
            return Ok(());
        }
        let (wanted, kept) = (self.value_bytes, ring.max_versions);
        let most = room.max(VALUE_BYTES_DEFAULT as u64);
        Err(Status::invalid(format!(
            "value_bytes_max is {wanted}, but {kept} versions of a record (max_versions) have to fit into a message of \
             {MESSAGE_BYTES_MAX} bytes: with so many of them it is at most {most}"
        )))
    }

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
        match &update.ask {
            Ask::IfValueIs { old, new } => {
                self.value(old.as_ref())?;
                self.value(new.as_ref())?;
            }
            Ask::IfVersionIs { new, .. } => self.value(new.as_ref())?,
            Ask::Read => {}
        }
        Ok(Update { record, ..update })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use common::types::CommitMode;

    fn ring(max_versions: u32) -> Ring {
        let nodes = Ring::parse_nodes("s1=localhost:1").unwrap();
        Ring::new(nodes, None, CommitMode::Majority, max_versions).unwrap()
    }

    fn values_of(value_bytes: usize) -> Limits {
        Limits {
            value_bytes,
            ..Limits::default()
        }
    }

    #[test]
    fn the_versions_of_a_record_fit_into_a_message() {
        assert_eq!(values_of(2 << 20).check(&ring(10)), Ok(()));
        let refused = values_of(4 << 20).check(&ring(10)).unwrap_err();
        assert_eq!(
            refused.message,
            "value_bytes_max is 4194304, but 10 versions of a record (max_versions) have to fit into a message of \
             33554432 bytes: with so many of them it is at most 2446677"
        );
        assert_eq!(values_of(4 << 20).check(&ring(5)), Ok(()));
        assert_eq!(Limits::default().check(&ring(10_000)), Ok(()));
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
