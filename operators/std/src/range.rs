//! Ranges of natural numbers, both ends included: as text, `10 3700000`, `10,3700000` or `[10, 3700000]`.

use std::fmt;

use marionette_sdk::OperatorError;

/// Neither end is greater: the sieve up to its root has to fit into an operator's memory.
pub const END_MAX: u64 = 100_000_000_000_000;

/// `first` is not greater than `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub last: u64,
}

impl Range {
    pub fn parse(text: &str) -> Result<Self, OperatorError> {
        let wrong = || {
            OperatorError::InvalidRequest(format!(
                "{text:?} is no range: two numbers from 0 to {END_MAX} are expected, the smaller one first"
            ))
        };
        let inner = text.trim();
        let inner = inner
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(inner);
        let words = inner.split(|c: char| c == ',' || c.is_whitespace());
        let numbers: Result<Vec<u64>, _> = words
            .filter(|word| !word.is_empty())
            .map(str::parse)
            .collect();
        match numbers.map_err(|_| wrong())?[..] {
            [first, last] if first <= last && last <= END_MAX => Ok(Self { first, last }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.first, self.last)
    }
}
