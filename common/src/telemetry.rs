//! Logs: one line per event on standard error, filtered by `MARIONETTE_LOG` (default `warn`).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable that holds the filter, in the syntax of `tracing_subscriber::EnvFilter`, e.g. `storage=debug,warn`.
pub const LOG_VARIABLE: &str = "MARIONETTE_LOG";
/// What nodes log when nothing else is said.
pub const LOG_DEFAULT: &str = "warn";

/// Starts logging for this process, with `default` where the variable says nothing. Errors: the filter in `MARIONETTE_LOG` is wrong.
pub fn start(default: &str) -> Result<(), String> {
    let text = std::env::var(LOG_VARIABLE)
        .ok()
        .filter(|text| !text.is_empty());
    let text = text.unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(&text)
        .map_err(|error| format!("{LOG_VARIABLE}=`{text}` is not a log filter: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
