//! Watches: what changes in some partitions among the records whose ids begin alike.
//!
//! Promise to a watcher that goes on from the places that it was given, at any replica: it is told every version that
//! became visible at the replica asked, in the order in which it did, at least once. When it cannot be told where it
//! stopped (it was away for longer than the log of [`changes`](super::changes) reaches, or it asks a replica that never
//! held exactly what the last one did), it is told the newest version of every record instead, deletions too; so of what
//! was made while it was away it may miss versions that were superseded, and never the last one of a record.
//!
//! A page is answered like a read: behind the changes that it shows, so from durable state only.

use std::collections::BTreeMap;

use common::types::{PartitionId, RecordId, RecordVersion};

use super::changes::{Made, Mark};
use super::client::visible;
use super::record::Lookup;
use super::scan::{LOOKS_MAX, PAGE_BYTES_TARGET};
use super::{Change, Outputs, Reply, Storage, Token};

/// Watchers that wait for a change, at most.
pub const WAITING_WATCHES_MAX: usize = 1_024;

/// How far a watcher has come in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A new watcher, to whom nothing counts that is there already.
    Now,
    /// A new watcher, who is first told what is there.
    Beginning,
    /// Everything before it has been told.
    Reached(Mark),
    /// Records are being listed and `after` was the last one; of those up to it, everything before the mark was told.
    Listing { mark: Mark, after: RecordId },
}

/// What a client wants to be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Watch {
    pub prefix: String,
    pub places: BTreeMap<PartitionId, Place>,
    /// Versions in one answer, at most.
    pub limit: usize,
}

/// One version that became visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub record: RecordId,
    pub made: RecordVersion,
    /// It is the newest now, and may have been told before.
    pub is_listed: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    pub told: Vec<Told>,
    /// Where to go on.
    pub places: BTreeMap<PartitionId, Place>,
}

/// A watcher that has been told everything.
#[derive(Debug, Clone, Hash)]
pub struct WaitingWatch {
    token: Token,
    watch: Watch,
    /// There is nothing for it before this index of the log.
    seen: u64,
    until_ms: u64,
}

/// Where to go on in one partition of this node's log.
struct Position {
    index: u64,
    /// The last record that was listed, while records are being listed.
    listing: Option<RecordId>,
}

type Positions = BTreeMap<PartitionId, Position>;

impl Storage {
    /// What a change will make visible that is not visible yet.
    pub(super) fn newly_visible(&self, change: &Change) -> Vec<Made> {
        let is_new = |(record, made): &(&RecordId, &RecordVersion)| {
            let known = self.durable.record(record);
            known.is_none_or(|known| !known.has(made.version))
        };
        let new = visible(change).into_iter().filter(is_new);
        let made = |(place, (record, made)): (u64, (&RecordId, &RecordVersion))| {
            let partition = self.durable.placement.partition(record);
            Made {
                partition,
                record: record.clone(),
                version: made.version,
                // No replica stops within a change, so no replica's hash shall be found there.
                hash_before: self.durable.hash(partition).wrapping_add(place),
            }
        };
        (0..).zip(new).map(made).collect()
    }

    /// Answers at once when there is something to tell, or somebody to be given a place to begin at.
    pub(super) fn watch(
        &mut self,
        now_ms: u64,
        token: Token,
        watch: Watch,
        wait_ms: u64,
        out: &mut Outputs,
    ) {
        if let Err(refusal) = self.serves_all(watch.places.keys()) {
            let reply = Err(refusal);
            return Self::reply_all(token, reply, out);
        }
        let news = self.news(&watch);
        let begins = watch.places.values().any(|place| *place == Place::Now);
        let goes_on = |place: &Place| matches!(place, Place::Listing { .. });
        let is_due = begins || !news.told.is_empty() || news.places.values().any(goes_on);
        if is_due || wait_ms == 0 {
            let reply = Ok(Reply::Watch(news));
            return Self::reply_all(token, reply, out);
        }
        if self.waiting_watches.len() >= WAITING_WATCHES_MAX {
            let what = "watchers that wait for a change";
            let refusal = self.overloaded(what, WAITING_WATCHES_MAX);
            return Self::reply_all(token, Err(refusal), out);
        }
        self.waiting_watches.push(WaitingWatch {
            token,
            watch: Watch {
                places: news.places,
                ..watch
            },
            seen: self.changes.end(),
            until_ms: now_ms + wait_ms,
        });
    }

    /// Answers the watchers for whom something has changed; called when a batch of inputs has ended.
    pub(super) fn answer_watches(&mut self, out: &mut Outputs) {
        let end = self.changes.end();
        let waiting = std::mem::take(&mut self.waiting_watches);
        for mut waiting in waiting {
            let concerns = |(_, made): (u64, &Made)| waiting.watch.concerns(made);
            let is_passed = !self.changes.has_all_since(waiting.seen);
            if is_passed || self.changes.since(waiting.seen).any(concerns) {
                self.answer_watch(waiting, out);
            } else {
                waiting.seen = end;
                self.waiting_watches.push(waiting);
            }
        }
    }

    /// Watchers that have waited long enough are given the place where nothing has changed for them.
    pub(super) fn expire_watches(&mut self, now_ms: u64, out: &mut Outputs) {
        let waiting = std::mem::take(&mut self.waiting_watches);
        for waiting in waiting {
            if now_ms < waiting.until_ms {
                self.waiting_watches.push(waiting);
            } else {
                self.answer_watch(waiting, out);
            }
        }
    }

    fn answer_watch(&self, mut waiting: WaitingWatch, out: &mut Outputs) {
        for place in waiting.watch.places.values_mut() {
            if let Place::Reached(mark) = place {
                mark.index = waiting.seen;
            }
        }
        let reply = Ok(Reply::Watch(self.news(&waiting.watch)));
        Self::reply_all(waiting.token, reply, out);
    }

    fn news(&self, watch: &Watch) -> News {
        let mut page = Page::default();
        let mut positions = self.positions(&watch.places);
        let lists = |position: &Position| position.listing.is_some();
        let share = if positions.values().any(lists) { 2 } else { 1 };
        let (limit, bytes) = (watch.limit.div_ceil(share), PAGE_BYTES_TARGET / share);
        self.follow(&watch.prefix, &mut positions, &mut page, (limit, bytes));
        let room = (watch.limit, PAGE_BYTES_TARGET);
        self.list_records(&watch.prefix, &mut positions, &mut page, room);
        News {
            places: self.places(positions),
            told: page.told,
        }
    }

    /// Finds the watcher's places in this node's log.
    fn positions(&self, places: &BTreeMap<PartitionId, Place>) -> Positions {
        let at_end = |listing| Position {
            index: self.changes.end(),
            listing,
        };
        let mut positions = Positions::new();
        let mut elsewhere = BTreeMap::new();
        for (partition, place) in places {
            let position = match place {
                Place::Now => at_end(None),
                Place::Reached(mark) if self.changes.reach_back_to(mark) => Position {
                    index: mark.index,
                    listing: None,
                },
                Place::Listing { mark, after } if self.changes.reach_back_to(mark) => Position {
                    index: mark.index,
                    listing: Some(after.clone()),
                },
                Place::Reached(mark) if mark.hash == self.durable.hash(*partition) => at_end(None),
                Place::Reached(mark) => {
                    elsewhere.insert(*partition, mark.hash);
                    at_end(Some(RecordId::new()))
                }
                Place::Beginning | Place::Listing { .. } => at_end(Some(RecordId::new())),
            };
            positions.insert(*partition, position);
        }
        let found = self.changes.find(&elsewhere).into_iter();
        positions.extend(found.map(|(partition, index)| {
            let listing = None;
            (partition, Position { index, listing })
        }));
        positions
    }

    /// Tells what the log says, until the page is full. Where records are being listed, only of those listed: the others
    /// are told as they will be then.
    fn follow(
        &self,
        prefix: &str,
        positions: &mut Positions,
        page: &mut Page,
        room: (usize, usize),
    ) {
        let indices = positions.values().map(|position| position.index);
        let mut stop = self.changes.end();
        for (index, made) in self.changes.since(indices.min().unwrap_or(stop)) {
            if page.is_full(room) {
                stop = index;
                break;
            }
            let Some(position) = positions.get(&made.partition) else {
                continue;
            };
            let is_listed = position.listing.as_ref();
            if index >= position.index
                && is_listed.is_none_or(|after| made.record <= *after)
                && made.record.starts_with(prefix)
                && let Some(record) = self.durable.record(&made.record)
                && let Lookup::Found(found) = record.look_up(made.version)
            {
                page.tell(&made.record, found, false);
            }
        }
        for position in positions.values_mut() {
            position.index = position.index.max(stop);
        }
    }

    /// Tells the newest version of each record where that is wanted, until the page is full.
    fn list_records(
        &self,
        prefix: &str,
        positions: &mut Positions,
        page: &mut Page,
        room: (usize, usize),
    ) {
        let listings = positions.values().filter_map(|of| of.listing.as_deref());
        let Some(from) = listings.min().map(str::to_owned) else {
            return;
        };
        let mut last = from.as_str();
        for (looks, (id, record)) in self.records_with(prefix, &from).enumerate() {
            if page.is_full(room) || looks >= LOOKS_MAX {
                let listings = positions.values_mut().filter_map(|of| of.listing.as_mut());
                for after in listings.filter(|after| after.as_str() < last) {
                    last.clone_into(after);
                }
                return;
            }
            last = id;
            let partition = self.durable.placement.partition(id);
            let listing = positions
                .get(&partition)
                .and_then(|of| of.listing.as_deref());
            let newest = record.newest();
            if listing.is_some_and(|after| after < id.as_str()) && !newest.version.is_null() {
                page.tell(id, newest, true);
            }
        }
        for position in positions.values_mut() {
            position.listing = None;
        }
    }

    fn places(&self, positions: Positions) -> BTreeMap<PartitionId, Place> {
        let mut hashes = BTreeMap::new();
        let indices = positions.values().map(|position| position.index);
        let first = indices.min().unwrap_or(self.changes.end());
        for (index, made) in self.changes.since(first) {
            let position = positions.get(&made.partition);
            if position.is_some_and(|position| index >= position.index) {
                hashes.entry(made.partition).or_insert(made.hash_before);
            }
        }
        let place = |(partition, position): (PartitionId, Position)| {
            let hash = hashes.get(&partition).copied();
            let hash = hash.unwrap_or_else(|| self.durable.hash(partition));
            let mark = self.changes.mark(position.index, hash);
            let place = match position.listing {
                Some(after) => Place::Listing { mark, after },
                None => Place::Reached(mark),
            };
            (partition, place)
        };
        positions.into_iter().map(place).collect()
    }
}

impl Watch {
    fn concerns(&self, made: &Made) -> bool {
        made.record.starts_with(&self.prefix) && self.places.contains_key(&made.partition)
    }
}

#[derive(Default)]
struct Page {
    told: Vec<Told>,
    bytes: usize,
}

impl Page {
    fn is_full(&self, (limit, bytes): (usize, usize)) -> bool {
        self.told.len() >= limit || self.bytes >= bytes
    }

    fn tell(&mut self, record: &RecordId, made: RecordVersion, is_listed: bool) {
        self.bytes += record.len() + made.value.as_ref().map_or(0, bytes::Bytes::len);
        self.told.push(Told {
            record: record.clone(),
            made,
            is_listed,
        });
    }
}
