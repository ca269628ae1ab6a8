//! `SplitRange`.

use marionette_sdk::{Host, Item, OperatorError, Request};

use crate::option;
use crate::range::Range;

/// How far the last number of a part is from its first, unless the option `chunk` says otherwise.
const CHUNK: u64 = 2_500_000;
/// More parts would make more work than they spread.
const PARTS_MAX: u64 = 100_000;

/// Splits the range that the input names, both ends included, into parts for the next stage: `10 3700000` into `10 2500010`
/// and `2500011 3700000`.
pub fn split_range(request: &Request, _host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let whole = Range::parse(&request.input)?;
    let chunk = option::chunk(request, CHUNK)?;
    let step = chunk.saturating_add(1);
    let parts = (whole.last - whole.first) / step + 1;
    if parts > PARTS_MAX {
        return Err(OperatorError::InvalidRequest(format!(
            "{whole} in chunks of {chunk} makes {parts} parts, more than {PARTS_MAX}: take a larger chunk"
        )));
    }
    let part = |number: u64| {
        let first = whole.first + number * step;
        let last = first.saturating_add(chunk).min(whole.last);
        Item::from(Range { first, last }.to_string())
    };
    Ok((0..parts).map(part).collect())
}
