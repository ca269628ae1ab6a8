//! Values as people read them: one line, safe for a terminal whatever bytes they hold.

use std::fmt::Write as _;

use bytes::Bytes;
use common::types::Item;

/// Of a value that is no text, as many bytes are shown.
const HEX_BYTES_MAX: usize = 64;
/// Of a text that is compared, as many characters are shown.
const WINDOW_CHARS_MAX: usize = 200;
/// What is shown before the first difference of two long texts.
const WINDOW_LEAD_CHARS: usize = 40;

/// Text as it is but for control characters, which are escaped; other bytes as hexadecimal digits.
pub fn plain(value: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(value) else {
        return hex(value);
    };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Text in quotes, so that its ends are seen; other bytes as hexadecimal digits.
pub fn quoted(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => format!("\"{}\"", plain(text.as_bytes())),
        Err(_) => hex(value),
    }
}

/// An item in quotes, after its key if it has one.
pub fn item(item: &Item) -> String {
    match &item.key {
        Some(key) => format!(
            "{{ key = {}, value = {} }}",
            quoted(key.as_bytes()),
            quoted(&item.value)
        ),
        None => quoted(&item.value),
    }
}

/// A value that may be absent.
pub fn found(value: Option<&Bytes>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| quoted(value))
}

/// The parts of two shown values that hold their first difference.
pub fn windows(left: &str, right: &str) -> (String, String) {
    let equal = left.chars().zip(right.chars());
    let equal = equal.take_while(|(left, right)| left == right).count();
    let skipped = if left.chars().count().max(right.chars().count()) > WINDOW_CHARS_MAX {
        equal.saturating_sub(WINDOW_LEAD_CHARS)
    } else {
        0
    };
    (window(left, skipped), window(right, skipped))
}

fn window(text: &str, skipped: usize) -> String {
    let length = text.chars().count();
    let before = if skipped > 0 { "…" } else { "" };
    let after = if length > skipped + WINDOW_CHARS_MAX {
        "…"
    } else {
        ""
    };
    let shown: String = text.chars().skip(skipped).take(WINDOW_CHARS_MAX).collect();
    format!("{before}{shown}{after}")
}

fn hex(value: &[u8]) -> String {
    let mut shown = format!("({} bytes)", value.len());
    for byte in value.iter().take(HEX_BYTES_MAX) {
        // Writing to a string cannot fail.
        let _ = write!(shown, " {byte:02x}");
    }
    if value.len() > HEX_BYTES_MAX {
        shown.push_str(" …");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_steers_the_terminal() {
        assert_eq!(plain("ä\u{1b}[2J\n\"".as_bytes()), "ä\\u{1b}[2J\\n\"");
        assert_eq!(quoted(b"\xff\x00"), "(2 bytes) ff 00");
        assert!(quoted(&[0xff; 1000]).ends_with(" ff …"));
    }

    #[test]
    fn long_texts_are_shown_where_they_differ() {
        let common = "x".repeat(1_000);
        let (left, right) = windows(&format!("{common}left"), &format!("{common}right"));
        assert!(left.starts_with('…') && left.ends_with("xleft"), "{left}");
        assert!(right.ends_with("xright"), "{right}");
        assert_eq!(windows("a", "b"), ("a".to_owned(), "b".to_owned()));
    }
}
