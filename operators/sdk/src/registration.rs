//! The one line that makes functions operators, and what kinds of functions there are.

use crate::error::OperatorError;
use crate::host::Host;
use crate::types::{Item, Request};

/// What an operator is, once it is registered.
pub type Operator = fn(&Request, &mut dyn Host) -> Result<Vec<Item>, OperatorError>;

/// Runs the operator `class` of `operators` (the `OPERATORS` that [`operators!`](crate::operators) makes).
pub fn run(
    operators: &[(&str, Operator)],
    class: &str,
    request: &Request,
    host: &mut dyn Host,
) -> Result<Vec<Item>, OperatorError> {
    match operators.iter().find(|(name, _)| *name == class) {
        Some((_, operator)) => operator(request, host),
        None => Err(OperatorError::UnknownClass),
    }
}

/// A function that can be registered. `Kind` only tells the kinds apart:
/// - `fn(&Request, &mut dyn Host) -> Result<impl IntoItems, OperatorError>`
/// - with the feature `json`: `fn(Json<T>, &mut dyn Host) -> Result<impl IntoItems, OperatorError>`
pub trait Function<Kind> {
    /// Runs it.
    fn call(&self, request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError>;
}

/// The kind of a function that takes the request as it is.
#[derive(Debug)]
pub struct Plain<O>(std::marker::PhantomData<O>);

impl<F, O> Function<Plain<O>> for F
where
    F: Fn(&Request, &mut dyn Host) -> Result<O, OperatorError>,
    O: IntoItems,
{
    fn call(&self, request: &Request, host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
        self(request, host)?.into_items()
    }
}

/// Calls a function of any kind; [`operators!`](crate::operators) does.
pub fn call<Kind>(
    function: &impl Function<Kind>,
    request: &Request,
    host: &mut dyn Host,
) -> Result<Vec<Item>, OperatorError> {
    function.call(request, host)
}

/// What an operator may return: items, one item, text, or (feature `json`) [`Json`](crate::json::Json).
pub trait IntoItems {
    /// The items for the next stage.
    fn into_items(self) -> Result<Vec<Item>, OperatorError>;
}

impl IntoItems for Vec<Item> {
    fn into_items(self) -> Result<Vec<Item>, OperatorError> {
        Ok(self)
    }
}

impl IntoItems for Item {
    fn into_items(self) -> Result<Vec<Item>, OperatorError> {
        Ok(vec![self])
    }
}

impl IntoItems for String {
    fn into_items(self) -> Result<Vec<Item>, OperatorError> {
        Ok(vec![Item::from(self)])
    }
}

impl IntoItems for &str {
    fn into_items(self) -> Result<Vec<Item>, OperatorError> {
        Ok(vec![Item::from(self)])
    }
}

/// Registers the operators of a library: class names and their functions. Once per library, at its root.
///
/// Makes `OPERATORS`, and what the worker calls: the exports of the component on WASM, elsewhere the C function
/// `marionette_operators` (see `native`).
#[macro_export]
macro_rules! operators {
    ($($class:literal => $function:path),+ $(,)?) => {
        /// The operators of this library, by class name.
        pub const OPERATORS: &[(&str, $crate::Operator)] = &[$((
            $class,
            (|request: &$crate::Request, host: &mut dyn $crate::Host| {
                $crate::call(&$function, request, host)
            }) as $crate::Operator,
        )),+];

        #[cfg(target_family = "wasm")]
        mod marionette_component {
            struct Component;

            impl $crate::wasm::bindings::Guest for Component {
                fn classes() -> Vec<String> {
                    $crate::wasm::classes(super::OPERATORS)
                }

                fn run(
                    class: String,
                    request: $crate::wasm::bindings::Request,
                ) -> Result<Vec<$crate::wasm::bindings::Item>, $crate::wasm::bindings::OperatorError> {
                    $crate::wasm::run(super::OPERATORS, &class, request)
                }
            }

            $crate::wasm::bindings::export!(Component with_types_in $crate::wasm::bindings);
        }

        #[cfg(not(target_family = "wasm"))]
        #[allow(unsafe_code)]
        mod marionette_library {
            use $crate::native::{HostCalls, Sink, Slice, Table};

            static TABLE: Table = Table::new(classes, run);

            /// # Safety
            /// `sink` follows the contract of `marionette_sdk::native`.
            unsafe extern "C" fn classes(sink: Sink) {
                // SAFETY: passed on from the caller.
                unsafe { $crate::native::classes(super::OPERATORS, sink) }
            }

            /// # Safety
            /// The arguments follow the contract of `marionette_sdk::native`.
            unsafe extern "C" fn run(task: Slice, host: HostCalls, sink: Sink) {
                // SAFETY: passed on from the caller.
                unsafe { $crate::native::run(super::OPERATORS, task, host, sink) }
            }

            /// The entry by which a worker finds the operators.
            // SAFETY: the name is the SDK's own; no library has two lines of registration.
            #[unsafe(no_mangle)]
            pub extern "C" fn marionette_operators() -> *const Table {
                &raw const TABLE
            }
        }
    };
}
