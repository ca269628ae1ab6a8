//! Values of any length in records of bounded length: a head with the beginning, and pieces with the rest. The head is
//! written last and has the hash of all.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use common::client::{Route, StorageClient};
use common::proto::StoredHead;
use common::status::{Kind, Status};
use common::types::{PartitionId, RecordId, RecordVersion};
use futures::future::join_all;
use prost::Message;
use xxhash_rust::xxh3::xxh3_128;

/// One record's part of a value.
const PIECE_BYTES: usize = 512 << 10;
/// Records on one page of a scan.
const PAGE: u32 = 500;

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

/// The newest version of every record below the prefix that any node knows. Each partition is answered for by at least
/// one of its replicas, and by all that can be reached: true when that is all of them.
pub async fn read_all(
    client: &StorageClient,
    prefix: &str,
    deadline_ms: u64,
) -> Result<(BTreeMap<RecordId, RecordVersion>, bool), Status> {
    let nodes = client.ring().nodes.iter().map(|node| node.replica);
    let reads = nodes.map(async |replica| {
        let route = Route {
            only: Some(replica),
            deadline_ms,
        };
        (replica, read_one(client, prefix, route).await)
    });
    let mut newest: BTreeMap<RecordId, RecordVersion> = BTreeMap::new();
    let (mut answered, mut failure) = (Vec::new(), None);
    for (replica, read) in join_all(reads).await {
        match read {
            Ok(records) => {
                answered.push(replica);
                for (id, found) in records {
                    let known = newest.entry(id).or_insert_with(|| found.clone());
                    if found.version > known.version {
                        *known = found;
                    }
                }
            }
            Err(status) => failure = Some(status),
        }
    }
    let is_answered = |partition: PartitionId| {
        let mut replicas = client.placement().replicas(partition).iter();
        replicas.any(|replica| answered.contains(replica))
    };
    match failure {
        Some(status) if !(0..client.ring().partitions).all(is_answered) => Err(Status::new(
            Kind::Unavailable,
            format!("not every record of a run can be read: {status}"),
        )),
        failure => Ok((newest, failure.is_none())),
    }
}

async fn read_one(
    client: &StorageClient,
    prefix: &str,
    route: Route,
) -> Result<Vec<(RecordId, RecordVersion)>, Status> {
    let (mut records, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.scan(prefix, &after, PAGE, route).await?;
        records.extend(page.records);
        match page.next {
            Some(next) => after = next,
            None => return Ok(records),
        }
    }
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
