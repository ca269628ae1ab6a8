//! `AddOperator`.

use marionette_sdk::{Host, Item, OperatorError, Request};

use crate::integer;

/// What takes the place of the sum when the record is not an integer.
const NOT_AN_INTEGER: &str = "int_conversion_failed";

/// Reads the record named by the input and adds one, reads the record one ahead of it, writes the sum to the
/// first and returns it. Both records must exist. A value that is not an integer is no error: the sum is then
/// the text `int_conversion_failed`.
pub fn add(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let id = &request.input;
    let record = host.read(id)?;
    let sum = match integer::parse(&record) {
        Some(number) => integer::successor(number)?.to_string(),
        None => NOT_AN_INTEGER.to_owned(),
    };
    // The read alone matters: it makes the run depend on a second record, maybe on other replicas.
    host.read(&one_ahead(id)?)?;
    host.write(id, sum.as_bytes())?;
    Ok(vec![Item::from(sum)])
}

/// The id of the record after the one with the integer `id`.
fn one_ahead(id: &str) -> Result<String, OperatorError> {
    let number: i64 = id.trim().parse().map_err(|_| {
        OperatorError::InvalidRequest(format!(
            "the input {id:?} is not an integer, so there is no record one ahead of it"
        ))
    })?;
    Ok(integer::successor(number)?.to_string())
}
