//! Scans: the records of some partitions whose ids begin alike, in key order, a page at a time.
//!
//! A page is what this replica has at that moment; linearizability is not promised.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};

use common::types::{PartitionId, RecordId, RecordVersion};

use super::record::Record;
use super::{Outputs, Refusal, Reply, Storage, Token};

/// A page closes when so many records were looked at: the node has other work.
pub const LOOKS_MAX: usize = 10_000;
/// A page closes at this size of ids and values.
pub const PAGE_BYTES_TARGET: usize = 4 << 20;

/// What a client wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    pub prefix: String,
    /// Exclusive.
    pub after: RecordId,
    /// Records at most.
    pub limit: usize,
    pub partitions: BTreeSet<PartitionId>,
}

/// The records that exist, in key order, each with its newest version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned {
    pub records: Vec<(RecordId, RecordVersion)>,
    /// Everything up to this one was looked at; absent: everything.
    pub until: Option<RecordId>,
}

/// Every version of some records, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub records: Vec<(RecordId, Vec<RecordVersion>)>,
    pub more: bool,
}

impl Storage {
    pub(super) fn tell_history(&self, token: Token, record: &str, out: &mut Outputs) {
        let history = |(versions, truncated)| Reply::History {
            versions,
            truncated,
        };
        Self::reply(token, record, self.history(record).map(history), out);
    }

    pub(super) fn tell_list(&self, token: Token, after: &str, limit: usize, out: &mut Outputs) {
        let mut page = Listing::default();
        let mut bytes = 0;
        for (record, versions) in self.list(after) {
            if page.records.len() == limit || bytes >= PAGE_BYTES_TARGET {
                page.more = true;
                break;
            }
            let values = versions.iter().filter_map(|made| made.value.as_ref());
            bytes += values.map(bytes::Bytes::len).sum::<usize>();
            page.records.push((record.clone(), versions));
        }
        Self::reply_all(token, Ok(Reply::List(page)), out);
    }

    pub(super) fn scan(&self, token: Token, scan: &Scan, out: &mut Outputs) {
        let reply = self
            .serves_all(scan.partitions.iter())
            .map(|()| Reply::Scan(self.scanned(scan)));
        Self::reply_all(token, reply, out);
    }

    fn scanned(&self, scan: &Scan) -> Scanned {
        let mut page = Scanned::default();
        let (mut bytes, mut last) = (0, None::<&RecordId>);
        let records = self.records_with(&scan.prefix, &scan.after);
        for (looks, (id, record)) in records.enumerate() {
            if page.records.len() >= scan.limit || bytes >= PAGE_BYTES_TARGET || looks >= LOOKS_MAX
            {
                page.until = last.cloned();
                break;
            }
            last = Some(id);
            let newest = record.newest();
            let is_wanted = scan
                .partitions
                .contains(&self.durable.placement.partition(id));
            if let Some(value) = newest.value.as_ref().filter(|_| is_wanted) {
                bytes += id.len() + value.len();
                page.records.push((id.clone(), newest));
            }
        }
        page
    }

    /// In key order, whether they exist or not.
    pub(super) fn records_with(
        &self,
        prefix: &str,
        after: &str,
    ) -> impl Iterator<Item = (&RecordId, &Record)> {
        let from = if after < prefix {
            Included(prefix)
        } else {
            Excluded(after)
        };
        self.durable
            .records()
            .range::<str, _>((from, Unbounded))
            .take_while(move |(id, _)| id.starts_with(prefix))
    }

    /// Refuses when another replica has to answer for one of them.
    pub(super) fn serves_all<'a>(
        &self,
        mut partitions: impl Iterator<Item = &'a PartitionId>,
    ) -> Result<(), Refusal> {
        let is_foreign = |partition: &&PartitionId| self.durable.spread(**partition).is_none();
        match partitions.find(is_foreign) {
            Some(partition) => Err(Refusal::NotHeld(*partition)),
            None if self.joined => Ok(()),
            None => Err(Refusal::Joining),
        }
    }
}
