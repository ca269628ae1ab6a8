//! Watches over the whole storage: every node is asked, again and again, for the partitions for which it was chosen.
//!
//! Promises: each version that becomes visible at the replica asked is told at least once, those of one record in the
//! order in which they did. When a replica fails, its partitions are asked of another, from the same places. If that
//! cannot tell what was made since, it tells the newest version of every record instead, deletions too: superseded
//! versions may be missed then, the last version of a record never. [`Watch::cursor`] says where to go on in another
//! process or another year; what was told before may come again then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{AbortHandle, Abortable, BoxFuture, FutureExt, abortable};
use futures::stream::FuturesUnordered;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use super::scan::{PAGE_MAX, nobody_answered};
use super::{ANSWER_MS, BACKOFF_MAX_MS, BACKOFF_MS, StorageClient, is_final};
use crate::fabric::timeout;
use crate::proto::{self, Empty, watch_place};
use crate::status::Status;
use crate::types::{
    PartitionId, RECORD_ID_BYTES_MAX, RecordId, RecordVersion, ReplicaId, Version, required,
};

/// How long a node waits for a change before it answers that there is none.
const WAIT_MS: u32 = 5_000;
/// Records of which it is remembered what was told last; when there are more, all are forgotten.
const TOLD_MAX: usize = 65_536;
/// Longest cursor, in bytes.
pub const CURSOR_BYTES_MAX: usize = 4 << 20;

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From<'a> {
    /// What is there already does not count.
    Now,
    /// First all that is there is told.
    Beginning,
    /// Where an earlier watch of the same prefix stopped.
    Cursor(&'a [u8]),
}

/// A version that became visible. Without a value: the record was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub record: RecordId,
    pub made: RecordVersion,
}

/// See the module's documentation for its promises.
pub struct Watch {
    client: StorageClient,
    prefix: String,
    places: BTreeMap<PartitionId, proto::WatchPlace>,
    /// One request for each replica that is being asked.
    asked: BTreeMap<ReplicaId, Asked>,
    answers: FuturesUnordered<Abortable<BoxFuture<'static, Answer>>>,
    backoff_ms: u64,
    told: Told,
}

struct Asked {
    partitions: Vec<PartitionId>,
    request: AbortHandle,
}

/// What became of one request.
struct Answer {
    replica: ReplicaId,
    response: Result<proto::WatchRecordsResponse, Status>,
}

/// What was learnt by it.
#[derive(Default)]
struct News {
    changes: Vec<Change>,
    /// There is nothing more to tell about these now.
    caught_up: Vec<PartitionId>,
}

impl StorageClient {
    /// Tells what changes among the records whose ids begin with `prefix`. Nobody is asked yet.
    pub fn watch(&self, prefix: &str, from: From<'_>) -> Result<Watch, Status> {
        if prefix.len() > RECORD_ID_BYTES_MAX {
            return Err(Status::invalid(format!(
                "a prefix has at most {RECORD_ID_BYTES_MAX} bytes, not {}",
                prefix.len()
            )));
        }
        let partitions = 0..self.ring.partitions;
        let all = |place: watch_place::Place| {
            let place = |partition| {
                let place = Some(place.clone());
                (partition, proto::WatchPlace { partition, place })
            };
            partitions.clone().map(place).collect()
        };
        let places = match from {
            From::Now => all(watch_place::Place::Now(Empty {})),
            From::Beginning => all(watch_place::Place::Beginning(Empty {})),
            From::Cursor(cursor) => decode_cursor(cursor, prefix, self.ring.partitions)?,
        };
        Ok(Watch {
            client: self.clone(),
            prefix: prefix.to_owned(),
            places,
            asked: BTreeMap::new(),
            answers: FuturesUnordered::new(),
            backoff_ms: BACKOFF_MS,
            told: Told::default(),
        })
    }
}

impl Watch {
    /// Waits for changes, however long it takes; those of one record in their order. May be dropped and called again:
    /// nothing is lost. Fails only when no replica would answer otherwise.
    pub async fn next(&mut self) -> Result<Vec<Change>, Status> {
        loop {
            self.ask(|_| true, WAIT_MS);
            let Some(answer) = self.answers.next().await else {
                return Err(Status::internal("a watch of no partition"));
            };
            let Ok(answer) = answer else { continue };
            let news = self.take(answer)?;
            if !news.changes.is_empty() {
                return Ok(news.changes);
            }
        }
    }

    /// Tells all that is there to be told by now, and then returns: from here on nothing is missed. Fails when some
    /// partition was not answered for until the deadline, on the fabric's clock.
    pub async fn catch_up(
        &mut self,
        deadline_ms: u64,
        mut tell: impl FnMut(Change),
    ) -> Result<(), Status> {
        // What was asked before may be answered with what was so before.
        self.answers = FuturesUnordered::new();
        self.asked.clear();
        let mut left: BTreeSet<PartitionId> = self.places.keys().copied().collect();
        let mut last = Status::unavailable("nobody has answered yet");
        while !left.is_empty() {
            self.ask(|partition| left.contains(partition), 0);
            let fabric = self.client.fabric.clone();
            let patience = Duration::from_millis(deadline_ms.saturating_sub(fabric.now_ms()));
            let answer = timeout(&*fabric, patience, self.answers.next()).await;
            let Some(Some(answer)) = answer else {
                return Err(nobody_answered(&left, &last));
            };
            let Ok(answer) = answer else { continue };
            if let Err(status) = &answer.response {
                last = status.clone();
            }
            let news = self.take(answer)?;
            left.retain(|partition| !news.caught_up.contains(partition));
            news.changes.into_iter().for_each(&mut tell);
        }
        Ok(())
    }

    /// Names the place behind everything that was told, for [`From::Cursor`]; at most [`CURSOR_BYTES_MAX`] long.
    pub fn cursor(&self) -> Bytes {
        let cursor = proto::WatchCursor {
            prefix: self.prefix.clone(),
            places: self.places.values().cloned().collect(),
        };
        cursor.encode_to_vec().into()
    }

    /// Asks about those partitions about which nobody is being asked.
    fn ask(&mut self, is_wanted: impl Fn(&PartitionId) -> bool, wait_ms: u32) {
        let asked = self.asked.values().flat_map(|asked| &asked.partitions);
        let asked: BTreeSet<&PartitionId> = asked.collect();
        let partitions = self.places.keys().copied();
        let idle = partitions.filter(|id| is_wanted(id) && !asked.contains(id));
        // Whoever answered last knows the place best.
        let last = |partition| self.places.get(&partition).and_then(asked_last);
        for (replica, mut partitions) in self.client.assign(idle, None, last) {
            if let Some(asked) = self.asked.remove(&replica) {
                // Asked again, for more: what it does not get to answer is not lost, since no place has moved.
                asked.request.abort();
                partitions.extend(asked.partitions);
            }
            let places = partitions.iter().filter_map(|id| self.places.get(id));
            let request = proto::WatchRecordsRequest {
                prefix: self.prefix.clone(),
                places: places.cloned().collect(),
                limit: PAGE_MAX,
                wait_ms,
            };
            let client = self.client.clone();
            let backoff_ms = self.backoff_ms;
            let asking = async move {
                let timeout = Duration::from_millis(u64::from(wait_ms) + ANSWER_MS);
                let response = match client.peer(replica, timeout) {
                    Ok(peer) => peer.watch(&request).await,
                    Err(status) => Err(status),
                };
                client.note(replica, response.is_err());
                if let Err(status) = &response {
                    tracing::info!(replica, %status, "a watched replica has failed: another is asked");
                    client.pause(backoff_ms, u64::MAX).await;
                }
                Answer { replica, response }
            };
            let (asking, request) = abortable(asking.boxed());
            self.answers.push(asking);
            let asked = Asked {
                partitions,
                request,
            };
            self.asked.insert(replica, asked);
        }
    }

    /// No news: another replica has to say.
    fn take(&mut self, answer: Answer) -> Result<News, Status> {
        let asked = self.asked.remove(&answer.replica);
        let partitions = asked.map_or_else(Vec::new, |asked| asked.partitions);
        let response = match answer.response {
            Ok(response) => response,
            Err(status) if is_final(&status) => return Err(status),
            Err(_) => {
                self.backoff_ms = (self.backoff_ms * 2).min(BACKOFF_MAX_MS);
                return Ok(News::default());
            }
        };
        self.backoff_ms = BACKOFF_MS;
        let mut news = News::default();
        for place in response.places {
            if partitions.contains(&place.partition) {
                let lists = matches!(place.place, Some(watch_place::Place::Listing(_)));
                if response.told.is_empty() && !lists {
                    news.caught_up.push(place.partition);
                }
                self.places.insert(place.partition, place);
            }
        }
        for told in response.told {
            let made: RecordVersion = required(told.made, "made")?.into();
            let record = told.record;
            if self.told.is_new(&record, &made, told.listed) {
                news.changes.push(Change { record, made });
            }
        }
        Ok(news)
    }
}

fn asked_last(place: &proto::WatchPlace) -> Option<ReplicaId> {
    match place.place.as_ref()? {
        watch_place::Place::Reached(mark) => Some(mark.replica),
        watch_place::Place::Listing(listing) => Some(listing.mark.as_ref()?.replica),
        watch_place::Place::Now(_) | watch_place::Place::Beginning(_) => None,
    }
}

/// One place for each partition of the ring.
fn decode_cursor(
    cursor: &[u8],
    prefix: &str,
    partitions: u32,
) -> Result<BTreeMap<PartitionId, proto::WatchPlace>, Status> {
    let wrong = |why: String| Status::invalid(format!("this is no cursor of this watch: {why}"));
    if cursor.len() > CURSOR_BYTES_MAX {
        return Err(wrong(format!("it has more than {CURSOR_BYTES_MAX} bytes")));
    }
    let cursor = proto::WatchCursor::decode(cursor).map_err(|error| wrong(error.to_string()))?;
    if cursor.prefix != prefix {
        let of = cursor.prefix;
        return Err(wrong(format!("it is of `{of}`, not of `{prefix}`")));
    }
    let mut places = BTreeMap::new();
    for place in cursor.places {
        if place.partition >= partitions || place.place.is_none() {
            return Err(wrong(format!("of partition {}", place.partition)));
        }
        places.insert(place.partition, place);
    }
    match (0..partitions).find(|partition| !places.contains_key(partition)) {
        Some(partition) => Err(wrong(format!("it lacks partition {partition}"))),
        None => Ok(places),
    }
}

/// What was told last of each record, as its version and the hash of its value.
#[derive(Default)]
struct Told(BTreeMap<RecordId, (Version, u64)>);

impl Told {
    /// False when it was told before, or when it is what is newest at a replica that is behind. A listed version may well
    /// be new although a node without data has given its number before.
    fn is_new(&mut self, record: &str, made: &RecordVersion, is_listed: bool) -> bool {
        let value = made.value.as_ref().map_or(0, |value| xxh3_64(value));
        let told = (made.version, value);
        let last = self.0.get(record);
        if last == Some(&told) || last.is_some_and(|last| is_listed && told.0 < last.0) {
            return false;
        }
        if last.is_none_or(|last| last.0 <= told.0) {
            if self.0.len() >= TOLD_MAX {
                self.0.clear();
            }
            self.0.insert(record.to_owned(), told);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(version: &str, value: &str) -> RecordVersion {
        RecordVersion {
            version: version.parse().unwrap(),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        }
    }

    #[test]
    fn a_version_is_told_once_and_a_listing_never_goes_back() {
        let mut told = Told::default();
        assert!(told.is_new("k", &made("2.1", "b"), true));
        assert!(!told.is_new("k", &made("2.1", "b"), true));
        assert!(!told.is_new("k", &made("2.1", "b"), false));
        assert!(!told.is_new("k", &made("1.1", "a"), true));
        assert!(told.is_new("other", &made("2.1", "b"), true));
    }

    #[test]
    fn a_version_that_came_late_is_told_and_a_number_given_twice_too() {
        let mut told = Told::default();
        assert!(told.is_new("k", &made("2.1", "b"), false));
        assert!(told.is_new("k", &made("2.2", "late"), false));
        assert!(!told.is_new("k", &made("2.1", "b"), true));
        assert!(told.is_new("k", &made("2.1", "another"), false));
    }

    #[test]
    fn what_was_told_is_forgotten_before_there_is_too_much_of_it() {
        let mut told = Told::default();
        for number in 0..=TOLD_MAX {
            assert!(told.is_new(&number.to_string(), &made("1.1", "a"), false));
        }
        assert_eq!(told.0.len(), 1);
    }

    fn cursor(prefix: &str, partitions: &[PartitionId]) -> Vec<u8> {
        let place = |partition: &PartitionId| proto::WatchPlace {
            partition: *partition,
            place: Some(watch_place::Place::Reached(proto::WatchMark::default())),
        };
        proto::WatchCursor {
            prefix: prefix.to_owned(),
            places: partitions.iter().map(place).collect(),
        }
        .encode_to_vec()
    }

    #[test]
    fn a_cursor_is_of_its_prefix_and_of_all_partitions() {
        let wrong = |cursor: &[u8]| decode_cursor(cursor, "k", 2).unwrap_err().message;
        assert_eq!(
            decode_cursor(&cursor("k", &[0, 1]), "k", 2).unwrap().len(),
            2
        );
        assert_eq!(
            wrong(&cursor("a", &[0, 1])),
            "this is no cursor of this watch: it is of `a`, not of `k`"
        );
        assert_eq!(
            wrong(&cursor("k", &[1])),
            "this is no cursor of this watch: it lacks partition 0"
        );
        assert_eq!(
            wrong(&cursor("k", &[0, 2])),
            "this is no cursor of this watch: of partition 2"
        );
        assert!(wrong(b"rubbish").starts_with("this is no cursor of this watch: "));
        assert!(wrong(&vec![0; CURSOR_BYTES_MAX + 1]).contains("more than"));
    }
}
