//! The operators of `operators/polyglot` and `operators/hostile`, which `scripts/build-examples` builds beside their sources.

use std::path::Path;
use std::time::Duration;

use super::Marionette;

/// Building them all from nothing, on a busy machine.
const BUILD_MAX: Duration = Duration::from_mins(15);
/// What `marionette operator build` says when the machine lacks what a language needs.
pub const NO_TOOLCHAIN: &str = "no toolchain for ";

/// Builds what is not there or older than its sources. False on a machine that lacks a toolchain, and may: unless it checks
/// changes (`CI` is set). What is compiled is kept where the repository's own is.
pub fn built() -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("scripts/build-examples");
    let build = Marionette::start_program(
        &script,
        &[env!("CARGO_BIN_EXE_marionette")],
        "",
        |command| {
            command.env("XDG_CACHE_HOME", root.join("target"));
        },
    );
    let finished = build.finish_within(BUILD_MAX);
    let is_lacking = finished.error.contains(NO_TOOLCHAIN);
    if is_lacking && std::env::var_os("CI").is_none() {
        eprintln!(
            "SKIPPED what needs operators in four languages:\n{}",
            finished.error
        );
        return false;
    }
    assert!(finished.status.success(), "{finished:?}");
    true
}
