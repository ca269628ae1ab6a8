//! Counts words in the plainest way, for comparison: one thread, the standard library's map, nothing of Marionette.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead};

/// How often each word is there; words are what is between ASCII whitespace.
pub fn count(mut text: impl BufRead) -> io::Result<BTreeMap<String, u64>> {
    let mut counts: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut line = Vec::new();
    while text.read_until(b'\n', &mut line)? > 0 {
        let words = line.split(u8::is_ascii_whitespace);
        for word in words.filter(|word| !word.is_empty()) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.to_vec(), 1)),
            }
        }
        line.clear();
    }
    let mut sorted = BTreeMap::new();
    for (word, count) in counts {
        let word = String::from_utf8_lossy(&word).into_owned();
        *sorted.entry(word).or_default() += count;
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_over_lines() {
        let counts = count(b"b a\tb\r\n\n  c b".as_slice()).unwrap();
        let counts: Vec<_> = counts.iter().map(|(word, n)| (word.as_str(), *n)).collect();
        assert_eq!(counts, [("a", 1), ("b", 3), ("c", 1)]);
    }
}
