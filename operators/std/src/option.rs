//! Options of a stage that are numbers.

use marionette_sdk::{OperatorError, Request};

/// The option `chunk`, at least 1.
pub fn chunk(request: &Request, default: u64) -> Result<u64, OperatorError> {
    let Some(text) = request.option("chunk") else {
        return Ok(default);
    };
    let chunk = text.parse().ok().filter(|chunk| *chunk > 0);
    chunk.ok_or_else(|| {
        OperatorError::InvalidRequest(format!("the option chunk is a number from 1, not {text:?}"))
    })
}
