//! Integers in records and items: decimal text of 64 bits with sign, spaces around it allowed.

use marionette_sdk::{Host, Item, OperatorError, Record};

/// The record's integer, `None` when its value is not one.
pub fn parse(record: &Record) -> Option<i64> {
    record.text()?.trim().parse().ok()
}

/// The item's integer.
pub fn of_item(item: &Item) -> Result<i64, OperatorError> {
    let text = item.text()?;
    text.trim()
        .parse()
        .map_err(|_| OperatorError::InvalidRequest(format!("{text:?} is no whole number")))
}

/// A sum that has room for one more number.
pub fn added(sum: i64, number: i64) -> Result<i64, OperatorError> {
    sum.checked_add(number)
        .ok_or_else(|| OperatorError::InvalidRequest("the sum has more than 64 bits".to_owned()))
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
