//! What is simulated: drawn from the seed within a profile of faults.

use common::types::{CommitMode, Ring, RingError};

use crate::core::planted::Bug;
use common::chance::Chance;
pub use common::fabric::Profile;

#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    pub profile: Profile,
    pub bug: Option<Bug>,
    /// Notes every event.
    pub log: bool,
    pub ring: Ring,
    /// False: nodes keep their records in memory only.
    pub durable: bool,
    /// Clients work and faults happen for so long; then all is healed.
    pub duration_ms: u64,
    pub clients: u64,
    /// Executed at a time.
    pub tasks: u64,
    pub records: u64,
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
    pub fn draw(seed: u64, profile: Profile) -> Result<Self, RingError> {
        let chance = &mut Chance::new(seed ^ 0x5EED);
        let harsh = profile == Profile::Harsh;
        let faults = profile != Profile::None;
        let slow = chance.percent(20);
        let ring = draw_ring(chance)?;
        // Of its own: the rest of a run is as it would be without.
        let mut of_tasks = Chance::new(seed ^ 0x7A5C);
        Ok(Self {
            seed,
            profile,
            bug: None,
            log: false,
            ring,
            durable: chance.percent(85),
            duration_ms: chance.between(10_000, 30_000),
            clients: chance.between(2, 6),
            tasks: if of_tasks.percent(40) {
                of_tasks.between(1, 3)
            } else {
                0
            },
            records: chance.between(2, 6),
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
        })
    }
}

/// All records on all nodes. A few partitions, so that records meet in one and some have another coordinator.
fn draw_ring(chance: &mut Chance) -> Result<Ring, RingError> {
    let count = if chance.percent(25) { 5 } else { 3 };
    let nodes: Vec<String> = (1..=count)
        .map(|id| format!("s{id}=localhost:{id}"))
        .collect();
    let commit = if chance.percent(60) {
        CommitMode::Majority
    } else {
        CommitMode::FailStop
    };
    let max_versions = if chance.percent(20) { 3 } else { 100 };
    let nodes = Ring::parse_nodes(&nodes.join(","))?;
    let ring = Ring::new(nodes, Some(count), commit, max_versions)?;
    Ok(Ring {
        partitions: 3,
        ..ring
    })
}
