//! Text as people write it, by Zipf's law: the word of rank `r` comes once for every `r` times that the first one comes.
//!
//! Promise: the same seed makes the same bytes, on every machine and however many of them are asked for.
//!
//! Source: G. K. Zipf, Human Behavior and the Principle of Least Effort, 1949.

use std::collections::BTreeSet;
use std::io::{self, Write};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Different words, at most.
pub const WORDS: u32 = 100_000;
/// A word has so many letters.
const LETTERS: std::ops::RangeInclusive<usize> = 1..=10;
/// Words of a line.
const LINE_WORDS: u64 = 12;
/// Words are drawn from so many places, of which each rank has its share: about three for the last one.
const PLACES: u32 = 1 << 22;

/// Makes words without end.
#[derive(Debug)]
pub struct Zipf {
    words: Vec<String>,
    /// The rank at each place.
    ranks: Vec<u32>,
    chance: ChaCha8Rng,
}

impl Zipf {
    /// With [`WORDS`] words of its own.
    pub fn new(seed: u64) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        Self {
            words: words(&mut chance),
            ranks: ranks(),
            chance,
        }
    }

    /// The next word.
    pub fn word(&mut self) -> &str {
        let place = self.chance.random_range(0..PLACES) as usize;
        let rank = self.ranks.get(place).copied().unwrap_or_default();
        self.words.get(rank as usize).map_or("", String::as_str)
    }

    /// Writes lines of words, so many bytes together; the last word may be cut.
    pub fn write(&mut self, bytes: u64, out: &mut impl Write) -> io::Result<()> {
        let mut left = bytes;
        let mut write = |text: &str| {
            let length = left.min(text.len() as u64);
            left -= length;
            let text = text.as_bytes().get(..usize::try_from(length).unwrap_or(0));
            out.write_all(text.unwrap_or_default()).map(|()| left > 0)
        };
        let mut number = 0_u64;
        while write(self.word())? {
            number += 1;
            let is_last = number.is_multiple_of(LINE_WORDS);
            if !write(if is_last { "\n" } else { " " })? {
                break;
            }
        }
        Ok(())
    }
}

fn words(chance: &mut ChaCha8Rng) -> Vec<String> {
    let mut known = BTreeSet::new();
    let mut new = || {
        loop {
            let letters = chance.random_range(LETTERS);
            let word: String = (0..letters)
                .map(|_| char::from(chance.random_range(b'a'..=b'z')))
                .collect();
            if known.insert(word.clone()) {
                return word;
            }
        }
    };
    (0..WORDS).map(|_| new()).collect()
}

/// The rank at each place: as many places as its weight says.
fn ranks() -> Vec<u32> {
    let weight = |rank: u32| 1.0 / f64::from(rank + 1);
    let total: f64 = (0..WORDS).map(weight).sum();
    let mut rank = 0;
    let mut reached = weight(0);
    let place = |place: u32| {
        while reached < total * (f64::from(place) + 0.5) / f64::from(PLACES) && rank + 1 < WORDS {
            rank += 1;
            reached += weight(rank);
        }
        rank
    };
    (0..PLACES).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    fn text(seed: u64, bytes: u64) -> Vec<u8> {
        let mut text = Vec::new();
        Zipf::new(seed).write(bytes, &mut text).unwrap();
        text
    }

    #[test]
    fn a_seed_makes_the_same_text_however_long() {
        let long = text(1, 100_000);
        assert_eq!(long.len(), 100_000);
        assert_eq!(text(1, 9_999), long[..9_999]);
        assert_ne!(text(2, 100), text(1, 100));
        assert_eq!(text(1, 0), b"");
    }

    #[test]
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    fn the_word_of_rank_r_comes_an_rth_as_often_as_the_first() {
        let text = text(1, 8 << 20);
        let counts = words::count(text.as_slice()).unwrap();
        let mut counts: Vec<u64> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        for rank in [2, 10, 100] {
            let ratio = counts[0] as f64 / counts[rank - 1] as f64;
            let rank = rank as f64;
            assert!((rank * 0.9..rank * 1.1).contains(&ratio), "{rank}: {ratio}");
        }
        assert!(counts.len() > 50_000, "{}", counts.len());
    }
}
