//! `WordCount`.

use marionette_sdk::{Host, Item, OperatorError, Request};

use crate::counts::{Counts, WORD_BYTES_MAX};
use crate::text_part::{Range, is_url};
use crate::words::Words;

/// As much as one call gives.
const READ_BYTES: u32 = 1 << 20;

/// Counts the words in each part of a text that the stage before returned, without items in the input: of a range
/// (`URL FROM TO`) those that begin in it, of a blob (`URL`) and of a text all. Returns one item for each word: the word as
/// its key, and how often it is there.
///
/// Words are what is between spaces, ends of lines and other bytes up to 32; they have at most 1,024 bytes. A range is read
/// piece by piece, up to the end of the last word that begins in it.
pub fn word_count(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let mut counts = Counts::default();
    if request.items.is_empty() {
        count_part(&request.input, host, &mut counts)?;
    }
    for item in &request.items {
        count_part(item.text()?, host, &mut counts)?;
    }
    Ok(counts.items())
}

fn count_part(part: &str, host: &mut dyn Host, counts: &mut Counts) -> Result<(), OperatorError> {
    if !is_url(part) {
        let mut words = Words::new(counts, 0..part.len() as u64);
        words.take(part.as_bytes())?;
        return words.end();
    }
    let range = match Range::parse(part) {
        Some(range) => range,
        None => Range {
            url: part,
            from: 0,
            to: host.blob_size(part)?,
        },
    };
    count_range(range, host, counts)
}

/// Begins one byte before the range, which tells whether a word begins with it, and goes on as far as a word may that begins
/// at its end.
fn count_range(
    range: Range<'_>,
    host: &mut dyn Host,
    counts: &mut Counts,
) -> Result<(), OperatorError> {
    let begin = range.from.saturating_sub(1);
    let length = (range.to - begin).saturating_add(WORD_BYTES_MAX as u64);
    let reader = host.open_blob(range.url, begin, Some(length))?;
    let mut words = Words::new(counts, range.from..range.to);
    while words.wants_more() {
        let piece = host.read_blob(&reader, READ_BYTES)?;
        if piece.is_empty() {
            break;
        }
        words.take(&piece)?;
    }
    words.end()?;
    host.close_blob(reader);
    Ok(())
}
