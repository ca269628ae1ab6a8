//! `Sum`.

use marionette_sdk::{Host, Item, OperatorError, Request};

use crate::integer;

/// Sums the whole numbers that the stage before returned; of none, 0.
pub fn sum(request: &Request, _host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let mut sum: i64 = 0;
    for item in &request.items {
        sum = integer::added(sum, integer::of_item(item)?)?;
    }
    Ok(vec![Item::from(sum.to_string())])
}
