//! `SplitText`.

use marionette_sdk::{Host, Item, OperatorError, Request};

use crate::option;
use crate::text_part::{Range, is_url};

/// How many bytes a part has, unless the option `chunk` says otherwise.
const CHUNK: u64 = 8 << 20;
/// More parts would make more work than they spread.
const PARTS_MAX: u64 = 100_000;

/// Splits the text that the input names by a URL into ranges of `chunk` bytes for the next stage: `file:///a 0 8388608`,
/// `file:///a 8388608 10000000`. An input that is no URL is the text itself, and the only part.
pub fn split_text(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let url = request.input.trim();
    if !is_url(url) {
        return Ok(vec![Item::from(request.input.as_str())]);
    }
    let chunk = option::chunk(request, CHUNK)?;
    let bytes = host.blob_size(url)?;
    let parts = bytes.div_ceil(chunk);
    if parts > PARTS_MAX {
        return Err(OperatorError::InvalidRequest(format!(
            "{url} has {bytes} bytes, which in chunks of {chunk} makes {parts} parts, more than {PARTS_MAX}: take a \
             larger chunk"
        )));
    }
    let part = |number: u64| {
        let from = number * chunk;
        let to = from.saturating_add(chunk).min(bytes);
        Item::from(Range { url, from, to }.to_string())
    };
    Ok((0..parts).map(part).collect())
}
