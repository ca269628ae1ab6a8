//! When what a storage node keeps on its disk counts as durable: its command line and scripts say it alike.

use std::fmt;
use std::str::FromStr;

/// When a batch counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// When it is on the disk: nothing acknowledged is lost.
    #[default]
    Always,
    /// When the operating system has it; synced every so many milliseconds. A crash of the machine, not of the process,
    /// loses at most that.
    Interval(u64),
    /// When the operating system has it.
    Never,
}

impl FromStr for SyncMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a sync mode: expected always, interval=MS or never");
        match text {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => {
                let ms = text.strip_prefix("interval=").ok_or_else(wrong)?;
                match ms.parse() {
                    Ok(ms) if ms > 0 => Ok(Self::Interval(ms)),
                    _ => Err(wrong()),
                }
            }
        }
    }
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Interval(ms) => write!(f, "interval={ms}"),
            Self::Never => f.write_str("never"),
        }
    }
}
