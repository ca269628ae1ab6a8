//! What is simulated: drawn from the seed within a profile of faults.

use std::str::FromStr;

use common::fabric::Address;
use common::types::{CommitMode, Ring, RingNode};

use super::chance::Chance;
use crate::core::planted::Bug;

/// How much goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    None,
    Mild,
    Harsh,
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "mild" => Ok(Self::Mild),
            "harsh" => Ok(Self::Harsh),
            _ => Err(format!(
                "`{text}` is no profile of faults: expected none, mild or harsh"
            )),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    pub profile: Profile,
    pub bug: Option<Bug>,
    pub nodes: u32,
    pub commit: CommitMode,
    /// False: nodes keep their records in memory only.
    pub durable: bool,
    /// Clients work and faults happen for so long; then all is healed.
    pub duration_ms: u64,
    pub clients: u64,
    pub records: u64,
    pub max_versions: u32,
    pub gossip_delay_ms: u64,
    pub latency_ms: (u64, u64),
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    pub reorder_percent: u64,
    pub disk_ms: (u64, u64),
    /// The log is cut by checkpoints of this size.
    pub checkpoint_bytes: u64,
    /// Something breaks about this often; 0: never.
    pub fault_every_ms: u64,
}

impl Settings {
    pub fn draw(seed: u64, profile: Profile) -> Self {
        let chance = &mut Chance::new(seed ^ 0x5EED);
        let harsh = profile == Profile::Harsh;
        let faults = profile != Profile::None;
        let slow = chance.percent(20);
        Self {
            seed,
            profile,
            bug: None,
            nodes: if chance.percent(25) { 5 } else { 3 },
            commit: if chance.percent(60) {
                CommitMode::Majority
            } else {
                CommitMode::FailStop
            },
            durable: chance.percent(85),
            duration_ms: chance.between(10_000, 30_000),
            clients: chance.between(2, 6),
            records: chance.between(2, 6),
            max_versions: if chance.percent(20) { 3 } else { 100 },
            gossip_delay_ms: if chance.percent(15) { 200 } else { 0 },
            latency_ms: (1, if slow { 400 } else { 15 }),
            loss_percent: if harsh {
                chance.below(15)
            } else {
                u64::from(faults)
            },
            duplicate_percent: if harsh { chance.below(6) } else { 0 },
            reorder_percent: if harsh && chance.percent(40) {
                chance.below(10)
            } else {
                0
            },
            disk_ms: (0, if harsh && chance.percent(20) { 300 } else { 4 }),
            checkpoint_bytes: chance.between(500, 20_000),
            fault_every_ms: match profile {
                Profile::None => 0,
                Profile::Mild => 5_000,
                Profile::Harsh => chance.between(400, 3_000),
            },
        }
    }

    /// A few partitions, so that records meet in one and some records have another coordinator.
    pub fn ring(&self) -> Ring {
        let node = |replica| RingNode {
            name: format!("s{replica}"),
            replica,
            address: Address::local(u16::try_from(replica).unwrap_or(u16::MAX)),
        };
        Ring {
            epoch: 1,
            nodes: (1..=self.nodes).map(node).collect(),
            replication: self.nodes,
            partitions: 3,
            commit: self.commit,
            max_versions: self.max_versions,
        }
    }
}
