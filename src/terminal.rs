//! What is for a person's eyes only.

use std::io::IsTerminal;

/// Whether what goes there may be coloured.
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !plain
}
