//! The first stage: the input's words, in small letters; the record `words` says how many there are.

use marionette_sdk::{Host, Item, OperatorError, Request};

fn split(request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let separators = |letter: char| !letter.is_alphanumeric();
    let words = request
        .input
        .split(separators)
        .filter(|word| !word.is_empty());
    let items: Vec<Item> = words.map(|word| Item::from(word.to_lowercase())).collect();
    if items.is_empty() {
        let why = "there are no words in the input".to_owned();
        return Err(OperatorError::InvalidRequest(why));
    }
    host.write("words", items.len().to_string().as_bytes())?;
    Ok(items)
}

marionette_sdk::operators! { "SplitWords" => split }
