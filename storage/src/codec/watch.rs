//! Scans and watches from and to `proto`, with the validation of what comes from outside.

use std::collections::BTreeMap;

use common::proto::{self, Empty, watch_place};
use common::status::Status;
use common::types::{PartitionId, RECORD_ID_BYTES_MAX, required};

use crate::core::changes::Mark;
use crate::core::scan::{Scan, Scanned};
use crate::core::watch::{News, Place, Told, Watch};

/// Records or versions in one answer.
const PAGE_MAX: usize = 1_000;

fn limit(asked: u32) -> usize {
    match asked as usize {
        0 => PAGE_MAX,
        limit => limit.min(PAGE_MAX),
    }
}

/// As short as a record's id, but for the empty one.
fn part_of_id(part: String, what: &str) -> Result<String, Status> {
    if part.len() > RECORD_ID_BYTES_MAX {
        return Err(Status::invalid(format!(
            "`{what}` has at most {RECORD_ID_BYTES_MAX} bytes, not {}",
            part.len()
        )));
    }
    Ok(part)
}

pub fn decode_scan(request: proto::ScanRequest) -> Result<Scan, Status> {
    Ok(Scan {
        prefix: part_of_id(request.prefix, "prefix")?,
        after: part_of_id(request.after, "after")?,
        limit: limit(request.limit),
        partitions: request.partitions.into_iter().collect(),
    })
}

pub fn encode_scanned(page: Scanned) -> proto::ScanResponse {
    let records = page.records.into_iter();
    proto::ScanResponse {
        records: records
            .map(|(record, newest)| proto::ScannedRecord {
                record,
                newest: Some(newest.into()),
            })
            .collect(),
        until: page.until,
    }
}

pub fn decode_watch(request: proto::WatchRecordsRequest) -> Result<Watch, Status> {
    let mut places = BTreeMap::new();
    for place in request.places {
        let (partition, place) = decode_place(place)?;
        if places.insert(partition, place).is_some() {
            return Err(Status::invalid(format!(
                "partition {partition} has two places"
            )));
        }
    }
    Ok(Watch {
        prefix: part_of_id(request.prefix, "prefix")?,
        places,
        limit: limit(request.limit),
    })
}

fn decode_place(place: proto::WatchPlace) -> Result<(PartitionId, Place), Status> {
    let decoded = match required(place.place, "place")? {
        watch_place::Place::Now(Empty {}) => Place::Now,
        watch_place::Place::Beginning(Empty {}) => Place::Beginning,
        watch_place::Place::Reached(mark) => Place::Reached(decode_mark(mark)),
        watch_place::Place::Listing(listing) => Place::Listing {
            mark: decode_mark(required(listing.mark, "mark")?),
            after: part_of_id(listing.after, "after")?,
        },
    };
    Ok((place.partition, decoded))
}

fn decode_mark(mark: proto::WatchMark) -> Mark {
    Mark {
        replica: mark.replica,
        incarnation: mark.incarnation,
        index: mark.index,
        hash: mark.hash,
    }
}

pub fn encode_news(news: News) -> proto::WatchRecordsResponse {
    let told = |Told {
                    record,
                    made,
                    is_listed,
                }| proto::Told {
        record,
        made: Some(made.into()),
        listed: is_listed,
    };
    proto::WatchRecordsResponse {
        told: news.told.into_iter().map(told).collect(),
        places: news.places.into_iter().map(encode_place).collect(),
    }
}

fn encode_place((partition, place): (PartitionId, Place)) -> proto::WatchPlace {
    let place = match place {
        Place::Now => watch_place::Place::Now(Empty {}),
        Place::Beginning => watch_place::Place::Beginning(Empty {}),
        Place::Reached(mark) => watch_place::Place::Reached(encode_mark(mark)),
        Place::Listing { mark, after } => watch_place::Place::Listing(proto::WatchListing {
            mark: Some(encode_mark(mark)),
            after,
        }),
    };
    proto::WatchPlace {
        partition,
        place: Some(place),
    }
}

fn encode_mark(mark: Mark) -> proto::WatchMark {
    proto::WatchMark {
        replica: mark.replica,
        incarnation: mark.incarnation,
        index: mark.index,
        hash: mark.hash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_pass_through_unchanged() {
        let mark = Mark {
            replica: 3,
            incarnation: u64::MAX,
            index: 1 << 40,
            hash: 7,
        };
        let after = "k".to_owned();
        for place in [
            Place::Now,
            Place::Beginning,
            Place::Reached(mark),
            Place::Listing { mark, after },
        ] {
            let passed = decode_place(encode_place((255, place.clone())));
            assert_eq!(passed.unwrap(), (255, place));
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_named() {
        let long = "k".repeat(RECORD_ID_BYTES_MAX + 1);
        let scan = decode_scan(proto::ScanRequest {
            prefix: long.clone(),
            ..proto::ScanRequest::default()
        });
        assert_eq!(
            scan.unwrap_err().message,
            "`prefix` has at most 16384 bytes, not 16385"
        );
        let place = encode_place((4, Place::Now));
        let twice = decode_watch(proto::WatchRecordsRequest {
            places: vec![place.clone(), place],
            ..proto::WatchRecordsRequest::default()
        });
        assert_eq!(twice.unwrap_err().message, "partition 4 has two places");
        let nowhere = decode_place(proto::WatchPlace::default());
        assert_eq!(nowhere.unwrap_err().message, "the request lacks `place`");
    }
}
