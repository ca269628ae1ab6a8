//! `CounterOperator`.

use marionette_sdk::{Host, Item, OperatorError, Request};

use crate::integer;

/// Adds one to the record named by the input (absent: 0) and returns the sum.
pub fn counter(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let sum = integer::increment_record(&request.input, host)?;
    Ok(vec![Item::from(sum.to_string())])
}
