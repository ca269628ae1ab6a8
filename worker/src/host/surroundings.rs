//! What a task sees of the world besides records and blobs: the time of its run and a sequence of chance. Both are the
//! same when the task is tried or replayed again.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use super::OperatorRequest;
use super::limits::RANDOM_BYTES_MAX;

pub(super) struct Surroundings {
    submitted_unix_ms: u64,
    chance: ChaCha8Rng,
}

impl Surroundings {
    pub(super) fn new(request: &OperatorRequest) -> Self {
        let mut seed = [0; 32];
        let place = u64::from(request.stage) << 32 | u64::from(request.task);
        let words = [request.scheduler_incarnation, request.run, place];
        for (bytes, word) in seed.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self {
            submitted_unix_ms: request.submitted_unix_ms,
            chance: ChaCha8Rng::from_seed(seed),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.submitted_unix_ms
    }

    pub(super) fn random(&mut self) -> u64 {
        self.chance.next_u64()
    }

    pub(super) fn random_bytes(&mut self, count: u32) -> Vec<u8> {
        let count = usize::try_from(count.min(RANDOM_BYTES_MAX)).unwrap_or_default();
        let mut bytes = vec![0; count];
        self.chance.fill_bytes(&mut bytes);
        bytes
    }
}
