//! What `load` has measured.

use crate::language::load::Pace;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Characters of the longest bar.
const BAR_CHARS: u64 = 40;
/// Those of the distribution that are told, in percent.
const PERCENTILES: [u64; 3] = [50, 90, 99];

/// Of the requests of one load that were due so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    pace: Pace,
    /// How many requests took so many milliseconds, from when they were due to when they were known to be completed.
    latencies_ms: BTreeMap<u64, u64>,
    pub failed: u64,
    /// By an interrupt of the load, or by somebody's `cancel`.
    pub cancelled: u64,
    /// Too many others were outstanding when they were due.
    pub not_sent: u64,
    /// The first and the last run.
    pub runs: Option<(u64, u64)>,
    /// Why the first request failed that did.
    pub first_failure: Option<String>,
}

impl Figures {
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            latencies_ms: BTreeMap::new(),
            failed: 0,
            cancelled: 0,
            not_sent: 0,
            runs: None,
            first_failure: None,
        }
    }

    pub fn note_run(&mut self, run: u64) {
        let (first, last) = self.runs.unwrap_or((run, run));
        self.runs = Some((first.min(run), last.max(run)));
    }

    pub fn note_completed(&mut self, latency_ms: u64) {
        *self.latencies_ms.entry(latency_ms).or_default() += 1;
    }

    pub fn note_failed(&mut self, why: impl Into<String>) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| why.into());
    }

    pub fn completed(&self) -> u64 {
        self.latencies_ms.values().sum()
    }

    /// The shortest latency that so many percent of the completed requests did not exceed: their nearest rank.
    pub fn percentile_ms(&self, percent: u64) -> Option<u64> {
        let rank = (self.completed() * percent).div_ceil(100).max(1);
        let mut counted = 0;
        let mut reaches = |count: u64| {
            counted += count;
            counted >= rank
        };
        let mut latencies = self.latencies_ms.iter();
        latencies.find_map(|(latency_ms, count)| reaches(*count).then_some(*latency_ms))
    }

    /// From, to and count of each bucket, from the first to the last that is not empty.
    fn histogram(&self) -> Vec<(u64, u64, u64)> {
        let first = self.latencies_ms.keys().next().copied();
        let Some((first, last)) = first.zip(self.latencies_ms.keys().next_back().copied()) else {
            return Vec::new();
        };
        let next = |(_, to): &(u64, u64)| (*to < last).then(|| bucket(to + 1));
        let count = |(from, to)| {
            let within = self.latencies_ms.range(from..=to);
            (from, to, within.map(|(_, count)| count).sum())
        };
        std::iter::successors(Some(bucket(first)), next)
            .map(count)
            .collect()
    }

    /// The first line does not depend on how fast the machine is, as long as all goes well.
    pub(super) fn text(&self) -> String {
        let Pace { rate, duration_ms } = self.pace;
        let mut text = format!(
            "{rate} per second for {duration_ms} ms: {} completed, {} failed, {} not sent",
            self.completed(),
            self.failed,
            self.not_sent
        );
        if self.cancelled > 0 {
            let _ = write!(text, ", {} cancelled", self.cancelled);
        }
        if let Some((first, last)) = self.runs {
            let _ = write!(text, " (runs {first} to {last})");
        }
        text + &self.distribution()
    }

    fn distribution(&self) -> String {
        let mut text = String::new();
        let at = |percent| self.percentile_ms(percent).unwrap_or_default();
        if self.completed() > 0 {
            text.push_str("\nlatency");
            for percent in PERCENTILES {
                let _ = write!(text, " p{percent} {} ms,", at(percent));
            }
            let _ = write!(text, " max {} ms", at(100));
        }
        let rows = self.histogram();
        let width = rows.last().map_or(0, |(_, to, _)| to.to_string().len());
        let most = rows.iter().map(|row| row.2).max().unwrap_or(1);
        let counts = most.to_string().len();
        for (from, to, count) in rows {
            // A bucket that is not empty has a bar.
            let bar = "█".repeat(usize::try_from((count * BAR_CHARS).div_ceil(most)).unwrap_or(0));
            let row =
                format!("\nlatency {from:>width$} to {to:>width$} ms: {count:>counts$} {bar}");
            text.push_str(row.trim_end());
        }
        text
    }

    pub(super) fn to_json(&self) -> Value {
        let mut latency_ms = serde_json::Map::new();
        for percent in PERCENTILES {
            latency_ms.insert(format!("p{percent}"), json!(self.percentile_ms(percent)));
        }
        latency_ms.insert("max".to_owned(), json!(self.percentile_ms(100)));
        let bucket = |(from, to, count)| json!({"from_ms": from, "to_ms": to, "count": count});
        let histogram: Vec<Value> = self.histogram().into_iter().map(bucket).collect();
        json!({
            "event": "load", "rate": self.pace.rate, "duration_ms": self.pace.duration_ms,
            "completed": self.completed(), "failed": self.failed, "not_sent": self.not_sent,
            "cancelled": self.cancelled, "first_run": self.runs.map(|runs| runs.0),
            "last_run": self.runs.map(|runs| runs.1), "first_failure": self.first_failure,
            "latency_ms": latency_ms, "histogram": histogram,
        })
    }
}

/// From and to of the bucket of a latency: two for each power of two.
fn bucket(latency_ms: u64) -> (u64, u64) {
    let Some(power) = latency_ms.checked_ilog2().filter(|power| *power > 0) else {
        return (latency_ms, latency_ms);
    };
    let half = 1 << (power - 1);
    let from = latency_ms / half * half;
    (from, from + (half - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn figures(latencies_ms: impl IntoIterator<Item = u64>) -> Figures {
        let mut figures = Figures::new(Pace {
            rate: 15,
            duration_ms: 5_000,
        });
        for (run, latency_ms) in (1..).zip(latencies_ms) {
            figures.note_run(run);
            figures.note_completed(latency_ms);
        }
        figures
    }

    #[test]
    fn a_percentile_is_the_latency_of_its_nearest_rank() {
        let at =
            |figures: &Figures| [50, 90, 99, 100].map(|percent| figures.percentile_ms(percent));
        assert_eq!(at(&figures([])), [None; 4]);
        assert_eq!(at(&figures([7])), [Some(7); 4]);
        assert_eq!(at(&figures((1..=10).rev())), [5, 9, 10, 10].map(Some));
        assert_eq!(at(&figures(1..=200)), [100, 180, 198, 200].map(Some));
        assert_eq!(at(&figures([3, 3, 3, 900])), [3, 900, 900, 900].map(Some));
    }

    #[test]
    fn buckets_are_half_a_power_of_two_wide_and_leave_no_gap() {
        let mut buckets = vec![bucket(0)];
        while buckets.len() < 12 {
            let (_, to) = buckets[buckets.len() - 1];
            buckets.push(bucket(to + 1));
        }
        let expected = [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 5),
            (6, 7),
            (8, 11),
            (12, 15),
            (16, 23),
            (24, 31),
            (32, 47),
            (48, 63),
        ];
        assert_eq!(buckets, expected);
        for (from, to) in buckets {
            assert!((from..=to).all(|latency_ms| bucket(latency_ms) == (from, to)));
        }
        assert_eq!(bucket(u64::MAX).1, u64::MAX);
    }

    #[test]
    fn figures_are_a_line_of_counts_one_of_percentiles_and_a_bar_for_each_bucket() {
        let mut figures = figures([9, 10, 11, 30, 100]);
        figures.not_sent = 1;
        figures.note_failed("run 9 did not complete: it trapped");
        figures.note_failed("run 10 did not complete: it trapped");
        expect![[r"
            15 per second for 5000 ms: 5 completed, 2 failed, 1 not sent (runs 1 to 5)
            latency p50 11 ms, p90 100 ms, p99 100 ms, max 100 ms
            latency   8 to  11 ms: 3 ████████████████████████████████████████
            latency  12 to  15 ms: 0
            latency  16 to  23 ms: 0
            latency  24 to  31 ms: 1 ██████████████
            latency  32 to  47 ms: 0
            latency  48 to  63 ms: 0
            latency  64 to  95 ms: 0
            latency  96 to 127 ms: 1 ██████████████"]]
        .assert_eq(&figures.text());
        expect![[r#"{"cancelled":0,"completed":5,"duration_ms":5000,"event":"load","failed":2,"first_failure":"run 9 did not complete: it trapped","first_run":1,"histogram":[{"count":3,"from_ms":8,"to_ms":11},{"count":0,"from_ms":12,"to_ms":15},{"count":0,"from_ms":16,"to_ms":23},{"count":1,"from_ms":24,"to_ms":31},{"count":0,"from_ms":32,"to_ms":47},{"count":0,"from_ms":48,"to_ms":63},{"count":0,"from_ms":64,"to_ms":95},{"count":1,"from_ms":96,"to_ms":127}],"last_run":5,"latency_ms":{"max":100,"p50":11,"p90":100,"p99":100},"not_sent":1,"rate":15}"#]].assert_eq(&figures.to_json().to_string());
    }

    #[test]
    fn where_nothing_was_completed_there_are_no_latencies() {
        let mut figures = figures([]);
        figures.cancelled = 3;
        expect!["15 per second for 5000 ms: 0 completed, 0 failed, 0 not sent, 3 cancelled"]
            .assert_eq(&figures.text());
        assert_eq!(figures.to_json()["latency_ms"]["p50"], Value::Null);
    }
}
