//! `Collect`.

use marionette_sdk::{Host, Item, OperatorError, Request};

/// All items of the stage before in the order of their keys; those of one key, and those without one, as they came.
pub fn collect(request: &Request, _host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let mut items = request.items.clone();
    items.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(items)
}
