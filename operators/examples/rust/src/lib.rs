//! An operator to copy: greets the run's input, and counts in a record how often it did.

use marionette_sdk::{Host, Item, Level, OperatorError, Record, Request, UpdateError};

/// Greets the input and returns the greeting. The record `greeted_INPUT` counts the greetings, also when many
/// runs greet at once: each tries again until nobody came between.
pub fn greet(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let name = request.input.trim();
    if name.is_empty() {
        return Err(OperatorError::InvalidRequest(
            "nobody to greet: the input is empty".to_owned(),
        ));
    }
    let count = count_one_more(&format!("greeted_{name}"), host)?;
    host.log(Level::Info, &format!("greeting {name}, time {count}"));
    Ok(vec![Item::from(format!("Hello, {name}! ({count})"))])
}

fn count_one_more(id: &str, host: &mut dyn Host) -> Result<u64, OperatorError> {
    let mut found: Option<Record> = None;
    loop {
        let count = match &found {
            None => 0,
            Some(record) => record
                .text()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0_u64),
        };
        let old = found.as_ref().map(|record| record.value.as_slice());
        match host.update_if_value_is(id, old, (count + 1).to_string().as_bytes()) {
            Ok(_) => return Ok(count + 1),
            Err(UpdateError::Mismatch { found: other, .. }) => found = other,
            Err(UpdateError::Storage(error)) => return Err(error.into()),
        }
    }
}

marionette_sdk::operators! { "HelloOperator" => greet }

#[cfg(test)]
mod tests {
    use super::*;
    use marionette_sdk::testing::{MemoryHost, request};

    #[test]
    fn greets_and_counts() {
        let mut host = MemoryHost::default();
        for greeting in ["Hello, Ada! (1)", "Hello, Ada! (2)"] {
            let items = greet(&request("Ada", &[]), &mut host);
            assert_eq!(items, Ok(vec![Item::from(greeting)]));
        }
        assert_eq!(host.text("greeted_Ada"), Some("2"));
    }

    #[test]
    fn refuses_an_empty_input() {
        let refused = greet(&request(" ", &[]), &mut MemoryHost::default());
        assert!(matches!(refused, Err(OperatorError::InvalidRequest(_))));
    }
}
