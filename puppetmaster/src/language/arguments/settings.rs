//! The settings of `set`, by name.

use super::super::command::{Durability, Name, Native};
use super::super::setting::{Faults, Setting};
use super::{Arguments, TIME_MS_MAX};
use common::diagnostic::{Diagnostic, Word, did_you_mean};
use common::fabric::Address;
use common::types::{CommitMode, RECORD_ID_BYTES_MAX, SyncMode, VALUE_BYTES_MAX};
use std::str::FromStr;
use std::time::Duration;

/// The highest value of `replication`, `max_versions` and `slots`.
const SETTING_NUMBER_MAX: u32 = 1_000_000;

impl Arguments<'_> {
    pub fn setting(&mut self) -> Result<Setting, Diagnostic> {
        let name = self.required()?;
        let Some((known, form)) = Setting::NAMES
            .iter()
            .find(|(known, _)| name.text.eq_ignore_ascii_case(known))
        else {
            let names = Setting::NAMES.map(|(name, _)| name);
            return Err(self
                .wrong(name, format!("unknown setting `{}`", name.text))
                .hint(format!("the settings are {}", names.join(", ")))
                .maybe_hint(did_you_mean(&name.text, names)));
        };
        let value = self.required()?;
        self.setting_value(known, value)
            .map_err(|diagnostic| diagnostic.hint(format!("`set {known}` takes {form}")))
    }

    fn setting_value(&self, name: &'static str, word: &Word) -> Result<Setting, Diagnostic> {
        let limit = |max: u64| {
            let limit = self.number(word, 1, max, "")?;
            Ok(Setting::Limit(name, limit))
        };
        match name {
            "replication" => self
                .number(word, 1, SETTING_NUMBER_MAX, "")
                .map(Setting::Replication),
            "max_versions" => self
                .number(word, 1, SETTING_NUMBER_MAX, "")
                .map(Setting::MaxVersions),
            "value_bytes_max" => limit(VALUE_BYTES_MAX as u64),
            "record_id_bytes_max" => limit(RECORD_ID_BYTES_MAX as u64),
            "record_updates_max" | "node_updates_max" => limit(SETTING_NUMBER_MAX.into()),
            "seed" => self.number(word, 0, u64::MAX, "").map(Setting::Seed),
            "timeout" => {
                let timeout_ms = self.number(word, 1, TIME_MS_MAX, " of milliseconds")?;
                Ok(Setting::Timeout(Duration::from_millis(timeout_ms)))
            }
            "durability" => match word.text.to_lowercase().as_str() {
                "one" => Ok(Setting::Durability(Durability::One)),
                "majority" => Ok(Setting::Durability(Durability::Majority)),
                "all" => Ok(Setting::Durability(Durability::All)),
                _ => Err(self.wrong(word, format!("`{}` is no durability", word.text))),
            },
            "commit" => CommitMode::from_str(&word.text.to_lowercase())
                .map(Setting::Commit)
                .map_err(|_| self.wrong(word, format!("`{}` is no commit mode", word.text))),
            "sync" => SyncMode::from_str(&word.text.to_lowercase())
                .map(Setting::Sync)
                .map_err(|_| self.wrong(word, format!("`{}` is no sync mode", word.text))),
            "slots" => self
                .number(word, 1, SETTING_NUMBER_MAX, "")
                .map(Setting::Slots),
            "http" => {
                let urls = word.text.split(',').map(Address::parse);
                urls.collect::<Result<_, _>>()
                    .map(Setting::Http)
                    .map_err(|error| self.wrong(word, error.to_string()))
            }
            "faults" => Faults::from_str(&word.text.to_lowercase())
                .map(Setting::Faults)
                .map_err(|error| self.wrong(word, error)),
            "native" => match word.text.to_lowercase().as_str() {
                "yes" => Ok(Setting::Native(Native::InTheWorker)),
                "isolated" => Ok(Setting::Native(Native::Isolated)),
                _ => Err(self.wrong(
                    word,
                    format!("`{}` is no way to run native libraries", word.text),
                )),
            },
            _ => Ok(Setting::Operators(Name(word.clone()))),
        }
    }
}
