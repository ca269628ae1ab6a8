//! What `load` submits, and when.

use super::command::Name;

/// Runs of one application on one input, at a steady rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    pub pace: Pace,
    pub input: String,
    pub application: Name,
}

/// An open loop: each request has its time, whether or not earlier ones have ended by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Requests per second, from 1.
    pub rate: u32,
    /// From when the first one is due; none is due when it has passed.
    pub duration_ms: u64,
}

impl Pace {
    pub fn requests(self) -> u64 {
        self.duration_ms
            .saturating_mul(self.rate.into())
            .div_ceil(1_000)
    }

    /// When request `number`, counted from 0, is due, in milliseconds after the first. Rounded by itself, so that errors do
    /// not add up.
    pub fn due_ms(self, number: u64) -> u64 {
        number.saturating_mul(1_000) / u64::from(self.rate.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u32, duration_ms: u64) -> Vec<u64> {
        let pace = Pace { rate, duration_ms };
        (0..pace.requests())
            .map(|number| pace.due_ms(number))
            .collect()
    }

    #[test]
    fn requests_are_due_at_a_steady_rate_until_the_duration_has_passed() {
        assert_eq!(schedule(5, 1_000), [0, 200, 400, 600, 800]);
        assert_eq!(schedule(5, 1_001), [0, 200, 400, 600, 800, 1_000]);
        assert_eq!(schedule(1, 1), [0]);
        assert_eq!(schedule(2_000, 2), [0, 0, 1, 1]);
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_is_kept_in_the_long_run() {
        let schedule = schedule(15, 60_000);
        assert_eq!(schedule.len(), 900);
        assert_eq!(schedule[..4], [0, 66, 133, 200]);
        assert_eq!(schedule[899], 59_933);
    }
}
