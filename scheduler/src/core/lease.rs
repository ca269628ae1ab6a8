//! The lease: when another scheduler may take it, by time.
//!
//! Who leads renews it by counting beats; the others take it when it has not changed for a while. Time decides only when
//! they try: that one leads at a time does not depend on it ([`crate::leadership`]).

/// A cluster is without a leader for at most so long, if the storage answers at once.
pub const LEASE_MS: u64 = 5_000;
/// How often who leads renews it.
pub const RENEW_MS: u64 = 1_000;
/// How often the others look.
pub const WATCH_MS: u64 = 500;
/// The others take it when they have seen no change for so long.
const TAKE_MS: u64 = LEASE_MS - 2 * WATCH_MS;

/// What one that stands by has seen of the lease.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Option<(u32, u64)>,
    since_ms: u64,
}

impl Watch {
    /// Whether it may be taken, that was found with this ballot and beat by a question of `asked_ms`.
    pub fn may_take(&mut self, asked_ms: u64, now_ms: u64, (ballot, beat): (u32, u64)) -> bool {
        if self.seen != Some((ballot, beat)) {
            self.seen = Some((ballot, beat));
            self.since_ms = now_ms;
        }
        // Who stood still while an answer waited knows nothing of the time between.
        asked_ms.saturating_sub(self.since_ms) >= TAKE_MS
    }
}

/// Ballots that one taking leaves out at most, and with them those of others that take it at the same time.
const BALLOT_STEP: u64 = 1 << 14;

/// A ballot above this one. Whoever has another `chance` at the same time gets another one.
pub fn ballot_above(floor: u32, chance: u64) -> Option<u32> {
    let step = u32::try_from(1 + chance % BALLOT_STEP).ok()?;
    // The highest number means something else to the storage.
    floor.checked_add(step).filter(|ballot| *ballot < u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_it_has_not_changed_for_long_enough() {
        let mut watch = Watch::default();
        let mut at = |asked_ms, found| watch.may_take(asked_ms, asked_ms + 5, found);
        assert!(!at(95, (1, 7)));
        assert!(!at(99 + TAKE_MS, (1, 7)));
        assert!(!at(95 + TAKE_MS, (1, 8)), "it was renewed");
        assert!(!at(99 + 2 * TAKE_MS, (1, 8)));
        assert!(at(100 + 2 * TAKE_MS, (1, 8)));
        assert!(!at(101 + 2 * TAKE_MS, (2, 0)), "another took it");
        assert!(!watch.may_take(200 + 2 * TAKE_MS, 200 + 4 * TAKE_MS, (2, 0)));
    }

    #[test]
    fn ballots_grow_and_come_to_an_end() {
        assert_eq!(ballot_above(0, 0), Some(1));
        assert_eq!(ballot_above(7, BALLOT_STEP + 2), Some(10));
        assert_eq!(ballot_above(u32::MAX - 2, 0), Some(u32::MAX - 1));
        assert_eq!(ballot_above(u32::MAX - 1, 0), None);
        assert_eq!(ballot_above(u32::MAX, 0), None);
    }
}
