//! What is made when it is first asked for and kept until too much else was asked for since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

/// Values by key, at most `length_max` of them: the one used least lately makes room.
pub(super) struct Recent<K, V> {
    places: Mutex<Places<K, V>>,
    length_max: usize,
}

struct Places<K, V> {
    by_key: BTreeMap<K, Place<V>>,
    uses: u64,
}

/// A value, or one that somebody makes. An error is not kept: the next one tries again.
struct Place<V> {
    value: Arc<OnceCell<V>>,
    used: u64,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    pub(super) fn new(length_max: usize) -> Self {
        let places = Places {
            by_key: BTreeMap::new(),
            uses: 0,
        };
        Self {
            places: Mutex::new(places),
            length_max,
        }
    }

    /// Where the value of the key is, or is to be put. Whoever holds it keeps it, also when it has made room.
    pub(super) fn place(&self, key: &K) -> Arc<OnceCell<V>> {
        let mut guard = self.places();
        let places = &mut *guard;
        places.uses += 1;
        let place = places.by_key.entry(key.clone()).or_insert_with(|| Place {
            value: Arc::default(),
            used: 0,
        });
        place.used = places.uses;
        let value = Arc::clone(&place.value);
        if places.by_key.len() > self.length_max {
            let oldest = places.by_key.iter().min_by_key(|(_, place)| place.used);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                places.by_key.remove(&key);
            }
        }
        value
    }

    fn places(&self) -> MutexGuard<'_, Places<K, V>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_lately_makes_room() {
        let recent: Recent<&str, u32> = Recent::new(2);
        for (key, value) in [("a", 1), ("b", 2)] {
            recent.place(&key).set(value).unwrap();
        }
        let kept = recent.place(&"b");
        assert_eq!(recent.place(&"a").get(), Some(&1));
        assert_eq!(recent.place(&"c").get(), None);
        assert_eq!(recent.place(&"a").get(), Some(&1), "it was used since");
        assert_eq!(kept.get(), Some(&2), "who has it keeps it");
        assert_eq!(recent.place(&"b").get(), None, "it made room");
    }
}
