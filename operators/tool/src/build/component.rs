//! Core modules become components, by wit-component: the same for every language whose compiler makes core modules.
//! And a component, whoever made it, says what its source is written in.

use std::path::Path;

use wasm_metadata::Producers;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::BuildError;
use crate::inspect::component::scan;
use crate::language::Language;

/// Of a module that says itself which world it is of, as Rust's bindings make it do.
pub(super) fn component_of(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let no_component = |error| {
        BuildError::NoComponent(format!(
            "what the compiler made cannot become a component: {error:#}"
        ))
    };
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(ComponentEncoder::encode)
        .map_err(no_component)
}

/// Of a module that was compiled for the world `operator` of this contract.
pub(super) fn component_for(mut module: Vec<u8>, contract: &Path) -> Result<Vec<u8>, BuildError> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(contract)
        .map_err(|error| BuildError::NoComponent(format!("{}: {error:#}", contract.display())))?;
    resolve
        .select_world(&[package], Some("operator"))
        .and_then(|world| {
            embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        })
        .map_err(|error| BuildError::NoComponent(format!("{}: {error:#}", contract.display())))?;
    component_of(&module)
}

/// With the language of the source in the section `producers`, as a worker reads it. Nothing changes where the compilers
/// have told it; those of an interpreter tell of the interpreter.
pub(super) fn with_language(component: Vec<u8>, language: Language) -> Result<Vec<u8>, BuildError> {
    let malformed = |error| BuildError::NoComponent(format!("what was built is damaged: {error}"));
    let language = language.to_string();
    if scan(&component).map_err(malformed)?.language() == Some(&language) {
        return Ok(component);
    }
    let mut producers = Producers::empty();
    producers.add("language", &language, "");
    producers
        .add_to_wasm(&component)
        .map_err(|error| malformed(format!("{error:#}")))
}
