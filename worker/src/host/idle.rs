//! What has ended a task well and waits for the next: instances of components, processes of native operators.
//!
//! Promises: a thing is here or in one task, never in two; at most so many wait, whatever they are of; the one that waits
//! for longest goes first.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Things that wait, each of one owner.
pub(super) struct Idle<T> {
    waiting: Mutex<VecDeque<(OwnerId, T)>>,
    waiting_max: usize,
}

/// Tells components apart, or libraries.
pub(super) type OwnerId = u64;

impl<T> Idle<T> {
    pub(super) fn new(waiting_max: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            waiting_max,
        }
    }

    /// The one of this owner that was used last: its memory is in the caches.
    pub(super) fn take(&self, owner: OwnerId) -> Option<T> {
        let mut waiting = self.lock();
        let place = waiting.iter().rposition(|(of, _)| *of == owner)?;
        waiting.remove(place).map(|(_, thing)| thing)
    }

    pub(super) fn put(&self, owner: OwnerId, thing: T) {
        let mut waiting = self.lock();
        waiting.push_back((owner, thing));
        let surplus = if waiting.len() > self.waiting_max {
            waiting.pop_front()
        } else {
            None
        };
        // Ending it takes a while, in which nobody shall wait.
        drop(waiting);
        drop(surplus);
    }

    /// The owner is gone.
    pub(super) fn forget(&self, owner: OwnerId) {
        let mut waiting = self.lock();
        let (gone, kept) = waiting.drain(..).partition(|(of, _)| *of == owner);
        *waiting = kept;
        drop(waiting);
        drop::<VecDeque<_>>(gone);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(OwnerId, T)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
