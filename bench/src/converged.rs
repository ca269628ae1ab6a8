//! Whether the replicas of a cluster hold the same.

use std::collections::BTreeMap;
use std::fmt;

use common::placement::Placement;
use common::proto::{ListRequest, RecordVersion};
use common::types::{RecordId, ReplicaId};

use crate::cluster::{Cluster, ClusterError, PATIENCE, detail};

/// Why they are not, or not known to be, equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A node has this many of what an equal cluster has none of.
    Unsettled(ReplicaId, &'static str, String),
    /// These replicas list different versions of a record.
    Record(RecordId, ReplicaId, ReplicaId),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsettled(replica, what, count) => write!(f, "s{replica} has {count} {what}"),
            Self::Record(record, one, two) => {
                write!(f, "s{one} and s{two} differ in record `{record}`")
            }
        }
    }
}

type Listing = BTreeMap<RecordId, Vec<RecordVersion>>;

/// Looks at all running nodes; none: they are equal.
pub async fn difference(cluster: &Cluster) -> Result<Option<Difference>, ClusterError> {
    let replicas = cluster.running();
    for &replica in &replicas {
        let status = cluster.status(replica).await?;
        for what in ["unspread", "undecided"] {
            let count = detail(&status, what);
            if count != "0" {
                let count = count.to_owned();
                return Ok(Some(Difference::Unsettled(replica, what, count)));
            }
        }
    }
    let mut listings = BTreeMap::new();
    for replica in replicas {
        listings.insert(replica, list(cluster, replica).await?);
    }
    Ok(between(&Placement::new(cluster.ring()), &listings))
}

/// Everything that one node holds.
async fn list(cluster: &Cluster, replica: ReplicaId) -> Result<Listing, ClusterError> {
    let client = cluster.raw(replica, PATIENCE)?;
    let mut listing = Listing::new();
    let mut request = ListRequest::default();
    loop {
        let page = client.list(&request).await;
        let page = page.map_err(|status| ClusterError::Asked { replica, status })?;
        for listed in page.records {
            request.after.clone_from(&listed.record);
            listing.insert(listed.record, listed.versions);
        }
        if !page.more {
            return Ok(listing);
        }
    }
}

fn between(placement: &Placement, listings: &BTreeMap<ReplicaId, Listing>) -> Option<Difference> {
    let records = listings.values().flat_map(BTreeMap::keys);
    records.into_iter().find_map(|record| {
        let holders = placement.replicas_of(record).iter();
        let mut held = holders.filter_map(|replica| {
            let listing = listings.get(replica)?;
            Some((*replica, listing.get(record)))
        });
        let (first, versions) = held.next()?;
        let (other, _) = held.find(|(_, other)| *other != versions)?;
        Some(Difference::Record(record.clone(), first, other))
    })
}
