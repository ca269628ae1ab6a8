//! Integers in records: decimal text of 64 bits with sign, spaces around it allowed.

use marionette_sdk::{Host, OperatorError, Record};

/// The record's integer, `None` when its value is not one.
pub fn parse(record: &Record) -> Option<i64> {
    record.text()?.trim().parse().ok()
}

/// `number` plus one, or the error that says which number has no successor.
pub fn successor(number: i64) -> Result<i64, OperatorError> {
    number.checked_add(1).ok_or_else(|| {
        OperatorError::InvalidRequest(format!(
            "{number} is the greatest integer; nothing can be added"
        ))
    })
}

/// Adds one to the record `id`, which counts as 0 when absent, and returns the sum.
pub fn increment_record(id: &str, host: &mut dyn Host) -> Result<i64, OperatorError> {
    let number = match host.read(id) {
        Ok(record) => parse(&record)
            .ok_or_else(|| OperatorError::Failed(format!("record {id:?} is not an integer")))?,
        Err(error) if error.is_not_found() => 0,
        Err(error) => return Err(error.into()),
    };
    let sum = successor(number)?;
    host.write(id, sum.to_string().as_bytes())?;
    Ok(sum)
}
