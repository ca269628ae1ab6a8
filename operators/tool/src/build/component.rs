//! Core modules become components, by wit-component: the same for every language whose compiler makes core modules.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::BuildError;

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
