//! Instances that have ended a task well and wait for the next, for those who accept that tasks share memory.
//!
//! Promises: an instance is here or in one task, never in two; at most as many as there are slots, whatever their
//! components; the one that waits for longest goes first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use wasmtime::Store;

use super::bindings;
use super::state::TaskState;

/// Tells components apart.
pub(super) type ComponentId = u64;

/// An instance with all that it has left in its memory.
pub(super) struct Instance {
    pub store: Store<TaskState>,
    pub operator: bindings::Operator,
}

pub(super) struct IdleInstances {
    instances: Mutex<VecDeque<(ComponentId, Instance)>>,
    instances_max: usize,
}

impl IdleInstances {
    pub(super) fn new(instances_max: usize) -> Self {
        Self {
            instances: Mutex::default(),
            instances_max,
        }
    }

    /// The one of this component that was used last: its memory is in the caches.
    pub(super) fn take(&self, component: ComponentId) -> Option<Instance> {
        let mut instances = self.lock();
        let place = instances.iter().rposition(|(of, _)| *of == component)?;
        instances.remove(place).map(|(_, instance)| instance)
    }

    pub(super) fn put(&self, component: ComponentId, instance: Instance) {
        let mut instances = self.lock();
        instances.push_back((component, instance));
        let surplus = if instances.len() > self.instances_max {
            instances.pop_front()
        } else {
            None
        };
        // Giving back its memory takes a while, in which nobody shall wait.
        drop(instances);
        drop(surplus);
    }

    /// The component is gone.
    pub(super) fn forget(&self, component: ComponentId) {
        let mut instances = self.lock();
        let (gone, kept) = instances.drain(..).partition(|(of, _)| *of == component);
        *instances = kept;
        drop(instances);
        drop::<VecDeque<_>>(gone);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(ComponentId, Instance)>> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
