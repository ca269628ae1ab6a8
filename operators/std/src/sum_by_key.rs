//! `SumByKey`.

use marionette_sdk::{Host, Item, OperatorError, Request};

use crate::integer;

/// Sums the whole numbers of each key: one item for each, in the order of the keys. For a `reduce` stage, whose items come
/// sorted by key.
pub fn sum_by_key(request: &Request, _host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let mut sums: Vec<(&str, i64)> = Vec::new();
    for item in &request.items {
        let (key, number) = (key(item)?, integer::of_item(item)?);
        match sums.last_mut() {
            Some((last, sum)) if *last == key => *sum = integer::added(*sum, number)?,
            Some((last, _)) if *last > key => return Err(unsorted()),
            _ => sums.push((key, number)),
        }
    }
    let item = |(key, sum): (&str, i64)| Item {
        key: Some(key.to_owned()),
        value: sum.to_string().into_bytes(),
    };
    Ok(sums.into_iter().map(item).collect())
}

fn key(item: &Item) -> Result<&str, OperatorError> {
    let key = item.key.as_deref();
    key.ok_or_else(|| OperatorError::InvalidRequest("an item has no key".to_owned()))
}

fn unsorted() -> OperatorError {
    let reason = "the items are not sorted by key: SumByKey is for a `reduce` stage";
    OperatorError::InvalidRequest(reason.to_owned())
}
