//! `Tally`.

use marionette_sdk::{Host, Item, OperatorError, Record, Request, UpdateError};

use crate::integer;

/// Adds one to the record named by the input (absent: 0) and enters the run and its stage into the record `INPUT/log`: each
/// in a loop of `updateIfVersionIs`, since others may do the same at the same time. Returns the input.
pub fn tally(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let (counter, run, stage) = (&request.input, request.run, request.stage);
    change(host, counter, |old| {
        let number = old.map_or(Some(0), integer::parse);
        let number = number.ok_or_else(|| {
            OperatorError::Failed(format!("record {counter:?} is not an integer"))
        })?;
        integer::successor(number).map(|sum| sum.to_string())
    })?;
    change(host, &format!("{counter}/log"), |old| {
        let old = old.and_then(Record::text).unwrap_or_default();
        Ok(format!("{old}{run}/{stage} "))
    })?;
    Ok(vec![Item::from(counter.clone())])
}

/// Replaces the value of a record by what `new` makes of it, as often as somebody else is faster.
fn change(
    host: &mut dyn Host,
    id: &str,
    new: impl Fn(Option<&Record>) -> Result<String, OperatorError>,
) -> Result<String, OperatorError> {
    let mut known = match host.read(id) {
        Ok(record) => Some(record),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    loop {
        let value = new(known.as_ref())?;
        let version = known.as_ref().map(|record| record.version);
        match host.update_if_version_is(id, version, value.as_bytes()) {
            Ok(_) => return Ok(value),
            Err(UpdateError::Mismatch { found, .. }) => known = found,
            Err(UpdateError::Storage(error)) => return Err(error.into()),
        }
    }
}
