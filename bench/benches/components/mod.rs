//! Components to measure: the one that ships, and the examples, built as their authors build them.

use std::path::{Path, PathBuf};

use bench::speed::Result;
use operator_tool::build::{BuildError, Order, build};
use operator_tool::language::Language;
use operator_tool::machine::Machine;

pub const STANDARD: &str = "operators/std/std.wasm";
/// The class of every example.
pub const EXAMPLE_CLASS: &str = "HelloOperator";

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The example in a language, built into `directory`. None, and a line that says so, where its toolchain is missing.
pub fn example(language: Language, directory: &Path) -> Result<Option<PathBuf>> {
    let source = repository().join(source_of(language));
    built(language, &source, directory)
}

/// What is built of a directory of sources.
pub fn built(language: Language, source: &Path, directory: &Path) -> Result<Option<PathBuf>> {
    let order = Order {
        path: source.to_owned(),
        out: Some(directory.to_owned()),
        native: false,
    };
    match build(&order, &Machine::this()) {
        Ok(built) => Ok(Some(built.file)),
        Err(BuildError::NoToolchain {
            missing, install, ..
        }) => {
            println!("NOT MEASURED: {language}, since {missing} is missing: {install}");
            Ok(None)
        }
        Err(error) => Err(format!("the example in {language}: {error}").into()),
    }
}

pub fn source_of(language: Language) -> &'static str {
    match language {
        Language::Rust => "operators/examples/rust",
        Language::JavaScript => "operators/examples/js",
        Language::Python => "operators/examples/python",
        Language::C => "operators/examples/c",
    }
}
