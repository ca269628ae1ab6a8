//! `Sum`.

use marionette_sdk::{Host, Item, OperatorError, Request};

/// Sums the whole numbers that the stage before returned; of none, 0.
pub fn sum(request: &Request, _host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let mut sum: i64 = 0;
    for item in &request.items {
        let text = item.text()?;
        let number: i64 = text
            .trim()
            .parse()
            .map_err(|_| OperatorError::InvalidRequest(format!("{text:?} is no whole number")))?;
        sum = sum.checked_add(number).ok_or_else(|| {
            OperatorError::InvalidRequest("the sum has more than 64 bits".to_owned())
        })?;
    }
    Ok(vec![Item::from(sum.to_string())])
}
