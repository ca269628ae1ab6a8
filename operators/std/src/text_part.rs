//! Parts of a text: ranges of bytes of a blob, as `URL FROM TO`, or the text itself.
//!
//! The ends of a range are nominal: a word belongs to the range in which it begins. So ranges that meet have each word once,
//! wherever they meet.

use std::fmt;

/// What a blob's URL begins with.
const SCHEMES: [&str; 4] = ["file://", "s3://", "http://", "https://"];

/// The bytes of a blob from `from` on and before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<'a> {
    pub url: &'a str,
    pub from: u64,
    pub to: u64,
}

impl<'a> Range<'a> {
    /// Reads `URL FROM TO`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.rsplitn(3, ' ');
        let (to, from, url) = (words.next()?, words.next()?, words.next()?);
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from <= to).then_some(Self { url, from, to })
    }
}

impl fmt::Display for Range<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.url, self.from, self.to)
    }
}

/// Whether a text is the URL of a blob, or begins with one.
pub fn is_url(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}
