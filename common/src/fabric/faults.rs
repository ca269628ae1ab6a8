//! Network faults on purpose: what happens to everything that a node sends to one of its peers.
//!
//! A link has one direction. A fault of the link from A to B concerns A's requests to B, A's one-way messages to B, and
//! A's answers to what B asks. A cut behaves as a partition does: a call has no answer until its timeout, and its
//! outcome is unknown; a one-way message is lost without a word.
//!
//! A node's fabric answers [`proto::faults`] by itself, where faults are allowed. Whoever is not a peer with a fabric
//! that allows faults (the puppetmaster, a PCS, any gRPC client) does not say who it is, and always gets its answer:
//! so faults can be healed. Must never hold up a node whose table is empty.

use std::collections::BTreeMap;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use super::{Address, Status, machine};
use crate::proto::{self, Empty, SetFaultsRequest};

/// Most links of one node: as many as a cluster has nodes, and some.
pub const FAULTY_LINKS_MAX: usize = 2_048;
/// Longest delay of a link, in milliseconds: a day.
pub const FAULT_DELAY_MS_MAX: u32 = 24 * 60 * 60 * 1000;
const ALL_PERCENT: u32 = 100;

/// What is wrong with a link. Nothing, by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Link {
    cut: bool,
    delay: Duration,
    loss_percent: u32,
}

/// What becomes of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Deliver { delay: Duration },
    Drop,
}

/// The faults of one node.
pub(super) struct Faults {
    allowed: bool,
    /// Where the node listens, which is how its peers know it.
    own: OnceLock<Address>,
    links: RwLock<BTreeMap<Address, Link>>,
}

impl Faults {
    pub fn new(allowed: bool) -> Self {
        Self {
            allowed,
            own: OnceLock::new(),
            links: RwLock::default(),
        }
    }

    /// The node listens there; the first place counts.
    pub fn listens_at(&self, address: &Address) {
        self.own.get_or_init(|| address.clone());
    }

    /// As what this node makes itself known to peers, so that they can lose their answers to it.
    pub fn caller(&self) -> Option<&Address> {
        self.own.get().filter(|_| self.allowed)
    }

    /// What becomes of a message to `peer`; `chance` is any number, evenly distributed.
    pub fn verdict(&self, peer: &Address, chance: u64) -> Verdict {
        let link = self.link(peer);
        if link.cut || chance % u64::from(ALL_PERCENT) < u64::from(link.loss_percent) {
            Verdict::Drop
        } else {
            Verdict::Deliver { delay: link.delay }
        }
    }

    /// Whether even a message that is under way to `peer` is lost.
    pub fn is_cut(&self, peer: &Address) -> bool {
        self.link(peer).cut
    }

    /// Returns when a message to `peer` may go on; never when it is lost.
    pub async fn cross(&self, peer: &Address) {
        match self.verdict(peer, machine::random()) {
            Verdict::Deliver { delay } if delay.is_zero() => return,
            Verdict::Deliver { delay } => machine::sleep(delay).await,
            Verdict::Drop => std::future::pending().await,
        }
        if self.is_cut(peer) {
            std::future::pending::<()>().await;
        }
    }

    fn link(&self, peer: &Address) -> Link {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(peer).copied().unwrap_or_default()
    }
}

impl proto::faults::Service for Faults {
    async fn set_faults(&self, request: SetFaultsRequest) -> Result<Empty, Status> {
        if !self.allowed {
            return Err(Status::refused(
                "this node allows no network faults: start it with --allow-faults",
            ));
        }
        if request.links.len() > FAULTY_LINKS_MAX {
            return Err(Status::invalid(format!(
                "a node has at most {FAULTY_LINKS_MAX} faulty links"
            )));
        }
        let links: Result<BTreeMap<_, _>, Status> = request.links.iter().map(checked).collect();
        *self.links.write().unwrap_or_else(PoisonError::into_inner) = links?;
        Ok(Empty {})
    }
}

fn checked(link: &proto::Link) -> Result<(Address, Link), Status> {
    let peer = Address::parse(&link.peer).map_err(|error| Status::invalid(error.to_string()))?;
    if link.loss_percent > ALL_PERCENT || link.delay_ms > FAULT_DELAY_MS_MAX {
        return Err(Status::invalid(format!(
            "a link loses at most {ALL_PERCENT} percent and delays by at most {FAULT_DELAY_MS_MAX} ms"
        )));
    }
    let link = Link {
        cut: link.cut,
        delay: Duration::from_millis(link.delay_ms.into()),
        loss_percent: link.loss_percent,
    };
    Ok((peer, link))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Kind;
    use crate::proto::faults::Service;

    fn peer(port: u16) -> Address {
        Address::parse("127.0.0.1:0").unwrap().with_port(port)
    }

    fn link(port: u16, cut: bool, delay_ms: u32, loss_percent: u32) -> proto::Link {
        proto::Link {
            peer: peer(port).to_string(),
            cut,
            delay_ms,
            loss_percent,
        }
    }

    async fn set(faults: &Faults, links: Vec<proto::Link>) -> Result<Empty, Status> {
        faults.set_faults(SetFaultsRequest { links }).await
    }

    #[tokio::test]
    async fn the_verdict_follows_the_link_and_the_chance() {
        let faults = Faults::new(true);
        let links = vec![
            link(1, true, 0, 0),
            link(2, false, 7, 0),
            link(3, false, 0, 30),
        ];
        set(&faults, links).await.unwrap();
        let after_ms = |ms| Verdict::Deliver {
            delay: Duration::from_millis(ms),
        };
        for (port, chance, expected) in [
            (1, 99, Verdict::Drop),
            (2, 0, after_ms(7)),
            (3, 129, Verdict::Drop),
            (3, 130, after_ms(0)),
            (4, 0, after_ms(0)),
        ] {
            assert_eq!(faults.verdict(&peer(port), chance), expected, "{port}");
        }
        assert!(faults.is_cut(&peer(1)) && !faults.is_cut(&peer(3)));
    }

    #[tokio::test]
    async fn a_new_table_replaces_the_old_one_and_a_wrong_one_changes_nothing() {
        let faults = Faults::new(true);
        set(&faults, vec![link(1, true, 0, 0)]).await.unwrap();
        let nowhere = proto::Link {
            peer: "nowhere".to_owned(),
            ..proto::Link::default()
        };
        let too_many = vec![link(2, true, 0, 0); FAULTY_LINKS_MAX + 1];
        for wrong in [
            vec![link(2, false, 0, 101)],
            vec![link(2, false, FAULT_DELAY_MS_MAX + 1, 0)],
            vec![nowhere],
            too_many,
        ] {
            let error = set(&faults, wrong).await.unwrap_err();
            assert_eq!(error.kind, Kind::InvalidArgument);
            assert!(faults.is_cut(&peer(1)));
        }
        set(&faults, vec![link(2, true, 0, 0)]).await.unwrap();
        assert!(!faults.is_cut(&peer(1)) && faults.is_cut(&peer(2)));
    }

    #[tokio::test]
    async fn a_node_that_allows_none_refuses_them_and_does_not_make_itself_known() {
        let faults = Faults::new(false);
        faults.listens_at(&peer(1));
        assert_eq!(faults.caller(), None);
        let refused = set(&faults, vec![link(1, true, 0, 0)]).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Refused);
        assert!(refused.message.contains("--allow-faults"), "{refused}");
        assert!(!faults.is_cut(&peer(1)));
    }
}
