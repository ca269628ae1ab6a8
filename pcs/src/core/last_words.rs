//! The last lines that a process said on its standard error, for the message about its end.

use std::collections::VecDeque;

/// Most bytes of last words, line ends included.
pub const LAST_WORDS_BYTES_MAX: usize = 4096;

/// Whole lines, the newest ones that fit into [`LAST_WORDS_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct LastWords {
    lines: VecDeque<String>,
    bytes: usize,
}

impl LastWords {
    pub fn push(&mut self, line: &str) {
        let cut = line.floor_char_boundary(LAST_WORDS_BYTES_MAX - 1);
        let line = line.get(..cut).unwrap_or_default().to_owned();
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > LAST_WORDS_BYTES_MAX {
            self.bytes -= self
                .lines
                .pop_front()
                .map_or(self.bytes, |oldest| oldest.len() + 1);
        }
    }

    pub fn text(&self) -> String {
        self.lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_within_the_bound() {
        let mut words = LastWords::default();
        for number in 0..2000 {
            words.push(&format!("line {number}"));
        }
        let text = words.text();
        assert!(text.len() <= LAST_WORDS_BYTES_MAX && text.len() > LAST_WORDS_BYTES_MAX - 16);
        assert!(text.ends_with("line 1998\nline 1999"));
    }

    #[test]
    fn a_line_longer_than_the_bound_is_cut_between_characters() {
        let mut words = LastWords::default();
        words.push("before");
        words.push(&"ä".repeat(LAST_WORDS_BYTES_MAX));
        let text = words.text();
        assert!(text.len() <= LAST_WORDS_BYTES_MAX && text.chars().all(|c| c == 'ä'));
        words.push("after");
        assert_eq!(words.text(), "after");
    }
}
