//! `UpdateAndChainOperator`.

use marionette_sdk::{Host, Item, Level, OperatorError, Request, UpdateError};

/// Updates the record named by the input from the previous output to `success`, then from the same to
/// `failure`, whose test must fail after the first; returns `end`.
///
/// A failed test is no error: another run may have changed the record, or the application may have no stage
/// before this one (the previous output is then the empty text).
pub fn update_and_chain(
    request: &Request,
    host: &mut dyn Host,
) -> Result<Vec<Item>, OperatorError> {
    let previous = previous_output(request)?;
    for new in ["success", "failure"] {
        update(&request.input, previous, new, host)?;
    }
    Ok(vec![Item::from("end")])
}

fn previous_output(request: &Request) -> Result<&[u8], OperatorError> {
    match request.items.as_slice() {
        [] => Ok(&[]),
        [item] => Ok(&item.value),
        items => Err(OperatorError::InvalidRequest(format!(
            "the stage before returned {} items; this operator continues a chain of one",
            items.len()
        ))),
    }
}

fn update(id: &str, old: &[u8], new: &str, host: &mut dyn Host) -> Result<(), OperatorError> {
    let done = match host.update_if_value_is(id, Some(old), new.as_bytes()) {
        Ok(_) => "done",
        Err(UpdateError::Mismatch { .. }) => "not done: the value is another",
        Err(UpdateError::Storage(error)) => return Err(error.into()),
    };
    host.log(Level::Debug, &format!("update of {id:?} to {new:?} {done}"));
    Ok(())
}
