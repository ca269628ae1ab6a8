//! The disks of a simulation: each outlives the nodes that use it, and is slow or full for a while when there are faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::chance::Chance;
use common::fabric::{Fabric, LocalFabric, Profile, World};
use storage::SimDisk;

/// How long a disk does without trouble, and how long it has some.
const WELL_MS: (u64, u64) = (500, 15_000);
const TROUBLE_MS: (u64, u64) = (100, 3_000);
/// The longest that one batch takes on a slow disk.
const SLOWEST_MS: u64 = 300;
/// What a disk that becomes full has room for.
const ROOM_BYTES_MAX: u64 = 3_000;

/// By the names of their nodes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Disks(Arc<Mutex<BTreeMap<String, SimDisk>>>);

impl Disks {
    pub fn of(&self, node: &str) -> SimDisk {
        self.lock().entry(node.to_owned()).or_default().clone()
    }

    /// Troubles one disk after the other for as long as there is weather.
    pub async fn trouble(self, fabric: LocalFabric, world: World) {
        let mut chance = Chance::new(world.random());
        loop {
            wait(&fabric, &mut chance, WELL_MS).await;
            let disks: Vec<(String, SimDisk)> = self.lock().clone().into_iter().collect();
            let troubled = chance
                .one_of(&disks)
                .filter(|_| world.weather() == Profile::Harsh);
            let Some((name, disk)) = troubled else {
                continue;
            };
            if chance.percent(60) {
                let slowest_ms = chance.between(1, SLOWEST_MS);
                world.note(|| format!("disk of {name} takes up to {slowest_ms} ms"));
                disk.set_slowest_ms(slowest_ms);
            } else {
                let room = chance.below(ROOM_BYTES_MAX);
                world.note(|| format!("disk of {name} has room for {room} bytes"));
                disk.files.set_bytes_max(Some(disk.files.bytes() + room));
            }
            wait(&fabric, &mut chance, TROUBLE_MS).await;
            world.note(|| format!("disk of {name} is well"));
            disk.set_slowest_ms(0);
            disk.files.set_bytes_max(None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, SimDisk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn wait(fabric: &LocalFabric, chance: &mut Chance, (least, most): (u64, u64)) {
    fabric
        .sleep(Duration::from_millis(chance.between(least, most)))
        .await;
}
