//! Typed input and output, as JSON: `fn price(order: Json<Order>, host: &mut dyn Host) -> Result<Json<Price>, OperatorError>`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::OperatorError;
use crate::host::Host;
use crate::registration::{Function, IntoItems};
use crate::types::{Item, Request};

/// A value that travels as JSON. As an argument: the one item of the stage before, in stage 0 the run's input. As a
/// result: one item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> Json<T> {
    /// Reads the request; what cannot be read is an invalid request that says where.
    pub fn from_request(request: &Request) -> Result<Self, OperatorError> {
        let (what, bytes) = if request.stage == 0 {
            ("the input", request.input.as_bytes())
        } else {
            ("the item", request.item()?.value.as_slice())
        };
        let wrong =
            |error| OperatorError::InvalidRequest(format!("{what} is not as expected: {error}"));
        serde_json::from_slice(bytes).map(Self).map_err(wrong)
    }
}

impl<T: Serialize> IntoItems for Json<T> {
    fn into_items(self) -> Result<Vec<Item>, OperatorError> {
        let failed = |error| OperatorError::Failed(format!("the output has no JSON: {error}"));
        let value = serde_json::to_vec(&self.0).map_err(failed)?;
        Ok(vec![Item { key: None, value }])
    }
}

/// The kind of a function that takes the request as a value.
#[derive(Debug)]
pub struct Typed<I, O>(std::marker::PhantomData<(I, O)>);

impl<F, I, O> Function<Typed<I, O>> for F
where
    F: Fn(Json<I>, &mut dyn Host) -> Result<O, OperatorError>,
    I: DeserializeOwned,
    O: IntoItems,
{
    fn call(&self, request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
        self(Json::from_request(request)?, host)?.into_items()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::call;
    use crate::testing::{MemoryHost, request};

    #[derive(serde::Deserialize, serde::Serialize)]
    struct Order {
        pieces: u32,
    }

    // By value and in a `Result`, as operators are.
    #[allow(clippy::unnecessary_wraps)]
    fn double(order: Json<Order>, _: &mut dyn Host) -> Result<Json<Order>, OperatorError> {
        let pieces = 2 * order.0.pieces;
        Ok(Json(Order { pieces }))
    }

    #[test]
    fn typed_functions_read_the_input_first_and_the_item_later() {
        let first = request(r#"{"pieces":2}"#, &[]);
        let later = Request {
            stage: 1,
            ..request("", &[r#"{"pieces":3}"#])
        };
        let host = &mut MemoryHost::default();
        assert_eq!(
            call(&double, &first, host),
            Ok(vec![Item::from(r#"{"pieces":4}"#)])
        );
        assert_eq!(
            call(&double, &later, host),
            Ok(vec![Item::from(r#"{"pieces":6}"#)])
        );
    }

    #[test]
    fn what_cannot_be_read_is_an_invalid_request_that_says_where() {
        let refused = call(
            double,
            &request(r#"{"pieces":-1}"#, &[]),
            &mut MemoryHost::default(),
        );
        let Err(OperatorError::InvalidRequest(why)) = refused else {
            panic!("{refused:?}")
        };
        assert!(why.contains("line 1 column"), "{why}");
    }
}
