//! Adds one to the record that the input names, and enters the run into the record's log: in loops, since others do the
//! same at the same time. `tests/chaos.rs` counts what is left of thousands of runs whose nodes were killed.

use marionette_sdk::{Host, Item, OperatorError, Record, Request, StorageFault, UpdateError};

/// Replaces the value of a record by what `change` makes of it, as often as somebody else is faster.
fn change(
    host: &mut dyn Host,
    id: &str,
    change: impl Fn(&str) -> String,
) -> Result<String, OperatorError> {
    let mut known: Option<Record> = match host.read(id) {
        Ok(record) => Some(record),
        Err(error) if error.fault == StorageFault::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    loop {
        let old = match &known {
            Some(record) => String::from_utf8_lossy(&record.value).into_owned(),
            None => String::new(),
        };
        let new = change(&old);
        let version = known.as_ref().map(|record| record.version);
        match host.update_if_version_is(id, version, new.as_bytes()) {
            Ok(_) => return Ok(new),
            Err(UpdateError::Mismatch { found, .. }) => known = found,
            Err(UpdateError::Storage(error)) => return Err(error.into()),
        }
    }
}

fn tally(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let (counter, run, stage) = (&request.input, request.run, request.stage);
    let count = change(host, counter, |old| {
        let count: u64 = old.parse().unwrap_or(0);
        (count + 1).to_string()
    })?;
    change(host, &format!("{counter}/log"), |old| {
        format!("{old}{run}/{stage} ")
    })?;
    Ok(vec![Item::from(count)])
}

marionette_sdk::operators! { "Tally" => tally }
