//! What a trap says to the author of the operator: the reason in words, and the functions it happened in. Never an address.

use std::fmt::Write;

use wasmtime::{Trap, WasmBacktrace};

use crate::host::limits::{ERROR_TEXT_BYTES_MAX, TRAP_FUNCTIONS_MAX, cut};

/// How the standard library of Rust begins its names: between a panic and the function that panicked.
const MACHINERY: [&str; 7] = [
    "std::",
    "core::",
    "alloc::",
    "rust_panic",
    "rust_begin_unwind",
    "__rust",
    "abort",
];

/// Why a call did not return, as it has no other type. `last_words` is what the guest logged last as an error: before it
/// gives up by `unreachable`, that is its panic message.
pub(super) fn reason(error: &wasmtime::Error, last_words: Option<&str>) -> String {
    let trap = error.downcast_ref::<Trap>();
    let mut reason = match (trap, last_words) {
        (Some(Trap::UnreachableCodeReached), Some(words)) => words.to_owned(),
        (Some(trap), _) => trap.to_string().replace("wasm trap: ", ""),
        (None, _) => explained(&error.root_cause().to_string()),
    };
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        let names = backtrace
            .frames()
            .iter()
            .filter_map(|frame| frame.func_name());
        let functions = functions(names);
        if !functions.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(reason, " in {}", functions.join(" < "));
        }
    }
    cut(reason, ERROR_TEXT_BYTES_MAX)
}

/// In the words of someone who does not know wasmtime.
fn explained(cause: &str) -> String {
    let import = cause.strip_prefix("unknown import: ");
    match import.and_then(|rest| rest.strip_suffix(" has not been defined")) {
        Some(import) => format!("this worker has no {import}, which was called"),
        None => cause.to_owned(),
    }
}

/// The named functions, innermost first, each once in a row, without what panicking itself calls.
fn functions<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let demangled = names.map(|name| format!("{:#}", rustc_demangle::demangle(name)));
    let is_machinery = |name: &String| MACHINERY.iter().any(|start| name.starts_with(start));
    let mut functions: Vec<String> = demangled.skip_while(is_machinery).collect();
    functions.dedup();
    functions.truncate(TRAP_FUNCTIONS_MAX);
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_the_authors_own_in_their_spelling() {
        let names = [
            "_ZN3std9panicking11begin_panic17h0123456789abcdefE",
            "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
            "_ZN5hello6deeper17h0123456789abcdefE",
            "_ZN5hello6deeper17h0123456789abcdefE",
            "main",
        ];
        assert_eq!(functions(names.into_iter()), ["hello::deeper", "main"]);
    }

    #[test]
    fn a_missing_import_is_explained() {
        let cause = "unknown import: `acme:clock/wall@1.0.0#now` has not been defined";
        let explained = explained(cause);
        assert!(
            explained.contains("`acme:clock/wall@1.0.0#now`"),
            "{explained}"
        );
        assert!(explained.contains("this worker"), "{explained}");
    }
}
