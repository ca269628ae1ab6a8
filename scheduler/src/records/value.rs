//! Values of any length in records of bounded length: a head with the beginning, and pieces with the rest. The head is
//! written last and has the hash of all.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use common::proto::StoredHead;
use common::types::{RecordId, RecordVersion};
use prost::Message;
use xxhash_rust::xxh3::xxh3_128;

/// One record's part of a value.
const PIECE_BYTES: usize = 512 << 10;

pub struct Pieces {
    pub head: Bytes,
    pub more: Vec<Bytes>,
}

pub fn piece_of(record: &str, index: usize) -> RecordId {
    format!("{record}/{index}")
}

pub fn pieces(value: &Bytes) -> Pieces {
    let first = value.slice(..value.len().min(PIECE_BYTES));
    let starts = (first.len()..value.len()).step_by(PIECE_BYTES);
    let piece = |start: usize| value.slice(start..value.len().min(start + PIECE_BYTES));
    let more: Vec<Bytes> = starts.map(piece).collect();
    let head = StoredHead {
        hash: hash(value),
        first,
        pieces: u32::try_from(more.len()).unwrap_or(u32::MAX),
    };
    Pieces {
        head: head.encode_to_vec().into(),
        more,
    }
}

fn hash(value: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&xxh3_128(value).to_be_bytes())
}

/// The value whose head is this; absent: it is not whole, as when its writing was cut short.
pub fn decode<M: Message + Default>(
    records: &BTreeMap<RecordId, RecordVersion>,
    id: &str,
    head: &RecordVersion,
) -> Option<M> {
    let head = StoredHead::decode(head.value.clone()?).ok()?;
    let mut value = BytesMut::from(&head.first[..]);
    for index in 0..head.pieces as usize {
        let piece = records.get(&piece_of(id, index))?;
        value.extend_from_slice(piece.value.as_ref()?);
    }
    if hash(&value) != head.hash {
        return None;
    }
    M::decode(value.freeze()).ok()
}

#[cfg(test)]
mod tests {
    use common::proto::StoredOutcome;
    use common::types::Version;

    use super::*;

    fn stored(value: &Bytes) -> BTreeMap<RecordId, RecordVersion> {
        let Pieces { head, more } = pieces(value);
        let version = |value| RecordVersion {
            version: Version::NULL,
            value: Some(value),
        };
        let mut records = BTreeMap::from([("r".to_owned(), version(head))]);
        for (index, piece) in more.into_iter().enumerate() {
            records.insert(piece_of("r", index), version(piece));
        }
        records
    }

    #[test]
    fn values_of_any_length_come_back_and_torn_ones_do_not() {
        for length in [0, 10, 2_000_000] {
            let outcome = StoredOutcome {
                error: "x".repeat(length),
                run: 7,
                ..StoredOutcome::default()
            };
            let records = stored(&outcome.encode_to_vec().into());
            let found: Option<StoredOutcome> = decode(&records, "r", &records["r"]);
            assert_eq!(found, Some(outcome));
            let mut torn = records.clone();
            if let Some(piece) = torn.get_mut("r/0") {
                piece.value = Some("other".into());
                assert_eq!(decode::<StoredOutcome>(&torn, "r", &records["r"]), None);
            }
        }
    }
}
