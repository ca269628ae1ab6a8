//! The one line that makes plain functions operators.

use crate::error::OperatorError;
use crate::host::Host;
use crate::types::{Item, Request};

/// What an operator is.
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

/// Registers the operators of a library: class names and their functions. Once per library, at its root.
///
/// Makes `OPERATORS`, and what the worker calls: the exports of the component on WASM, elsewhere the C function
/// `marionette_operators` (see `native`).
#[macro_export]
macro_rules! operators {
    ($($class:literal => $function:path),+ $(,)?) => {
        /// The operators of this library, by class name.
        pub const OPERATORS: &[(&str, $crate::Operator)] = &[$(($class, $function as $crate::Operator)),+];

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
