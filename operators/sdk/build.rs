//! Tells the SDK which compiler builds it: part of the fingerprint by which a worker knows that a native
//! library was built by the same one (see `src/native.rs`).

use std::process::Command;

fn main() {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_else(|| "rustc unknown".to_owned());
    println!("cargo::rustc-env=MARIONETTE_RUSTC={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC");
}
