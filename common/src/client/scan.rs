//! Scans over the whole storage: every node is asked for the partitions for which it was chosen, and the answers are
//! merged in key order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use super::{ANSWER_MS, BACKOFF_MAX_MS, BACKOFF_MS, Route, StorageClient, is_final};
use crate::fabric::BoxFuture;
use crate::proto;
use crate::status::{Kind, Status};
use crate::types::{PartitionId, RecordId, RecordVersion, ReplicaId, required};

/// Records on one page.
pub const PAGE_MAX: u32 = 1_000;

/// A page of records that exist, in key order, each with its newest version at the replica asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPage {
    pub records: Vec<(RecordId, RecordVersion)>,
    /// What the next page is `after`; absent: this was the last.
    pub next: Option<RecordId>,
}

impl StorageClient {
    /// The records after `after` whose ids begin with `prefix`, at most `limit` (1 to [`PAGE_MAX`]) and maybe fewer.
    ///
    /// Each is as the replica asked has it at that moment; a page is no snapshot, nor are two pages of one moment.
    pub async fn scan(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
        route: Route,
    ) -> Result<ScanPage, Status> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut left: BTreeSet<PartitionId> = match route.only {
            Some(replica) => self.placement.held_by(replica).collect(),
            None => (0..self.ring.partitions).collect(),
        };
        let mut answers = Vec::new();
        let mut backoff_ms = BACKOFF_MS;
        loop {
            let groups = self.assign(left.iter().copied(), route.only, |_| None);
            let asked = groups.into_iter().map(async |(replica, partitions)| {
                let request = proto::ScanRequest {
                    prefix: prefix.to_owned(),
                    after: after.to_owned(),
                    limit,
                    partitions: partitions.clone(),
                };
                let left_ms = route.deadline_ms.saturating_sub(self.fabric.now_ms());
                let timeout = Duration::from_millis(left_ms.min(ANSWER_MS));
                let answer = match self.peer(replica, timeout) {
                    Ok(client) => client.scan(&request).await,
                    Err(status) => Err(status),
                };
                self.note(replica, answer.is_err());
                (partitions, answer)
            });
            let mut failure = None;
            for (partitions, answer) in join_all(asked).await {
                match answer {
                    Ok(page) => {
                        left.retain(|partition| !partitions.contains(partition));
                        answers.push(page);
                    }
                    Err(status) if is_final(&status) => return Err(status),
                    Err(status) => failure = Some(status),
                }
            }
            let Some(failure) = failure else {
                return merge(answers, limit);
            };
            let left_ms = route.deadline_ms.saturating_sub(self.fabric.now_ms());
            if left_ms == 0 {
                return Err(nobody_answered(&left, &failure));
            }
            self.pause(backoff_ms, left_ms).await;
            backoff_ms = (backoff_ms * 2).min(BACKOFF_MAX_MS);
        }
    }

    /// The newest version of every record below the prefix that exists at one of enough nodes ([`super::quorum`]): what was
    /// decided before the call is among it.
    pub async fn scan_everywhere(
        &self,
        prefix: &str,
        route: Route,
    ) -> Result<BTreeMap<RecordId, RecordVersion>, Status> {
        let ask = |replica, timeout| -> BoxFuture<'_, _> {
            let request = proto::ScanRequest {
                prefix: prefix.to_owned(),
                after: String::new(),
                limit: PAGE_MAX,
                partitions: self.placement.held_by(replica).collect(),
            };
            Box::pin(self.scan_pages(replica, request, timeout))
        };
        let answers = self.ask_enough("a scan", route, ask).await?;
        let mut newest: BTreeMap<RecordId, RecordVersion> = BTreeMap::new();
        for found in answers.into_iter().flatten() {
            let version: RecordVersion = required(found.newest, "newest")?.into();
            match newest.get(&found.record) {
                Some(known) if known.version >= version.version => {}
                _ => drop(newest.insert(found.record, version)),
            }
        }
        Ok(newest)
    }

    async fn scan_pages(
        &self,
        replica: ReplicaId,
        mut request: proto::ScanRequest,
        timeout: Duration,
    ) -> Result<Vec<proto::ScannedRecord>, Status> {
        let mut found = Vec::new();
        loop {
            let page = self.peer(replica, timeout)?.scan(&request).await?;
            found.extend(page.records);
            match page.until {
                Some(until) => request.after = until,
                None => return Ok(found),
            }
        }
    }

    /// A replica for each partition: the preferred one, unless it has failed lately.
    pub(super) fn assign(
        &self,
        partitions: impl IntoIterator<Item = PartitionId>,
        only: Option<ReplicaId>,
        preferred: impl Fn(PartitionId) -> Option<ReplicaId>,
    ) -> BTreeMap<ReplicaId, Vec<PartitionId>> {
        let mut groups: BTreeMap<ReplicaId, Vec<PartitionId>> = BTreeMap::new();
        for partition in partitions {
            let mut replicas = self.placement.replicas(partition).to_vec();
            if let Some(preferred) = preferred(partition) {
                replicas.sort_by_key(|replica| *replica != preferred);
            } else {
                let length = replicas.len().max(1);
                replicas.rotate_left(self.rotation % length);
            }
            self.failed_last(&mut replicas);
            if let Some(replica) = only.or_else(|| replicas.first().copied()) {
                groups.entry(replica).or_default().push(partition);
            }
        }
        groups
    }
}

/// Where one answer stops, the others are of no use beyond: what it has there is not known.
fn merge(answers: Vec<proto::ScanResponse>, limit: u32) -> Result<ScanPage, Status> {
    let stops = answers.iter().filter_map(|page| page.until.as_ref());
    let mut next = stops.min().cloned();
    let mut records = BTreeMap::new();
    for found in answers.into_iter().flat_map(|page| page.records) {
        if next.as_ref().is_none_or(|next| found.record <= *next) {
            let newest: RecordVersion = required(found.newest, "newest")?.into();
            records.insert(found.record, newest);
        }
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if records.len() > limit {
        records = records.into_iter().take(limit).collect();
        next = records.last_key_value().map(|(last, _)| last.clone());
    }
    Ok(ScanPage {
        records: records.into_iter().collect(),
        next,
    })
}

pub(super) fn nobody_answered(left: &BTreeSet<PartitionId>, last: &Status) -> Status {
    Status::new(
        Kind::Unavailable,
        format!(
            "no replica of {} partition(s) answered in time; the last one: {}",
            left.len(),
            last.message
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(records: &[&str], until: Option<&str>) -> proto::ScanResponse {
        let record = |record: &&str| proto::ScannedRecord {
            record: (*record).to_owned(),
            newest: Some(proto::RecordVersion::default()),
        };
        proto::ScanResponse {
            records: records.iter().map(record).collect(),
            until: until.map(str::to_owned),
        }
    }

    fn merged(answers: &[proto::ScanResponse], limit: u32) -> (Vec<String>, Option<String>) {
        let page = merge(answers.to_vec(), limit).unwrap();
        (page.records.into_iter().map(|of| of.0).collect(), page.next)
    }

    #[test]
    fn answers_are_merged_in_key_order() {
        let answers = [answer(&["a", "d"], None), answer(&["b", "c"], None)];
        let all = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        assert_eq!(merged(&answers, 4), (all, None));
    }

    #[test]
    fn nothing_is_taken_from_beyond_where_another_answer_stops() {
        let answers = [answer(&["a", "d"], None), answer(&["b"], Some("c"))];
        let known = ["a", "b"].map(str::to_owned).to_vec();
        assert_eq!(merged(&answers, 4), (known, Some("c".to_owned())));
    }

    #[test]
    fn a_full_page_goes_on_behind_its_last_record() {
        let answers = [answer(&["a", "d"], None), answer(&["b"], Some("c"))];
        assert_eq!(
            merged(&answers, 1),
            (vec!["a".to_owned()], Some("a".to_owned()))
        );
    }
}
