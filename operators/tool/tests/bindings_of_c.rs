//! The generated sources in `operators/examples/c/marionette` are those of the contract.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::Path;

use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

/// Set to write the files instead.
const RENEW: &str = "MARIONETTE_RENEW_BINDINGS";

/// The generated sources, with names that a person would give.
fn generated(contract: &Path) -> Files {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(contract).unwrap();
    let world = resolve.select_world(&[package], Some("operator")).unwrap();
    let interfaces = ["storage", "blob", "clock", "random", "logging"].map(|name| (name, name));
    let rename = [("types", "marionette")].into_iter().chain(interfaces);
    let options = Opts {
        no_object_file: true,
        rename: rename
            .map(|(from, to)| (format!("marionette:operator/{from}@1.0.0"), to.to_owned()))
            .collect(),
        ..Opts::default()
    };
    let mut files = Files::default();
    let mut generator = options.build();
    generator.generate(&mut resolve, world, &mut files).unwrap();
    files
}

#[test]
fn they_are_generated_from_the_contract() {
    let operators = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = operators.join("examples/c/marionette");
    for (name, text) in generated(&operators.join("wit")).iter() {
        let file = directory.join(name);
        if std::env::var_os(RENEW).is_some() {
            fs::write(&file, text).unwrap();
        }
        assert!(
            fs::read(&file).unwrap() == text,
            "{} is not generated from operators/wit: run\n  \
             {RENEW}=1 cargo test -p operator-tool --test bindings_of_c",
            file.display()
        );
    }
}
