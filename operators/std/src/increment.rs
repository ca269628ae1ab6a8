//! `IncrementOperator`.

use marionette_sdk::{Host, Item, OperatorError, Request};

use crate::integer;

/// Adds one to the record named by the run's id (absent: 0) and returns the sum: how many stages of the run
/// were of this class.
pub fn increment(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let sum = integer::increment_record(&request.run.to_string(), host)?;
    Ok(vec![Item::from(sum.to_string())])
}
