//! One line of a history's file, as it is written and read (README.md).

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::types::{RecordVersion, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What the first line says.
pub const FORMAT: &str = "marionette-history";
/// Of the format; a reader refuses others.
pub const FORMAT_VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: String,
    pub version: u32,
    /// `majority` or `fail-stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Storage nodes, in order of their replica ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
}

impl Header {
    pub fn new(commit: &str, nodes: Vec<Node>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            commit: Some(commit.to_owned()),
            nodes,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub replica: u32,
}

/// What a line tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Somebody is about to ask.
    #[default]
    Invoke,
    /// It was done.
    Ok,
    /// It was not done: with a version, since the update's test failed; without, it was refused.
    Fail,
    /// Nobody knows. The same as no line at all.
    Unknown,
    /// A version that was there before.
    Initial,
    /// All that a replica holds of a record in the end.
    Final,
    /// A replica has lost its memory.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Function {
    Read,
    Write,
    UpdateIfValueIs,
    UpdateIfVersionIs,
}

/// Which version a read asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Local,
    Pinned,
    Linearizable,
    Exactly,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    #[default]
    One,
    Majority,
    All,
}

/// Any line but the first. Which fields it needs depends on the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub event: Event,
    /// Microseconds of one clock; for people: what counts is the order of lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// Names the operation, in its invocation and in its completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// For people, such as `stage 1 task 0 attempt 2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    #[serde(default, rename = "f", skip_serializing_if = "Option::is_none")]
    pub function: Option<Function>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// As text; what is none is in base64; neither: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_base64: Option<String>,
    #[serde(default, with = "version", skip_serializing_if = "Option::is_none")]
    pub old_version: Option<Version>,
    /// Names an update, in all its repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, with = "version", skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The version that an update has replaced; absent: the predecessor of its version.
    #[serde(default, with = "version", skip_serializing_if = "Option::is_none")]
    pub base: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<Held>,
    /// The newest version that was discarded.
    #[serde(default, with = "version", skip_serializing_if = "Option::is_none")]
    pub floor: Option<Version>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    #[serde(with = "exact_version")]
    pub version: Version,
    /// As text; what is none is in base64; neither: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

impl Held {
    pub fn new(held: &RecordVersion) -> Self {
        let (value, value_base64) = encode(held.value.as_ref());
        Self {
            version: held.version,
            value,
            value_base64,
        }
    }

    /// An error: the value is no base64.
    pub fn record_version(&self) -> Result<RecordVersion, String> {
        Ok(RecordVersion {
            version: self.version,
            value: decode(self.value.as_ref(), self.value_base64.as_ref())?,
        })
    }
}

impl Line {
    pub fn set_value(&mut self, value: Option<&Bytes>) {
        (self.value, self.value_base64) = encode(value);
    }

    pub fn set_old(&mut self, old: Option<&Bytes>) {
        (self.old, self.old_base64) = encode(old);
    }

    /// An error: it is no base64.
    pub fn value_bytes(&self) -> Result<Option<Bytes>, String> {
        decode(self.value.as_ref(), self.value_base64.as_ref())
    }

    /// An error: it is no base64.
    pub fn old_bytes(&self) -> Result<Option<Bytes>, String> {
        decode(self.old.as_ref(), self.old_base64.as_ref())
    }
}

fn encode(value: Option<&Bytes>) -> (Option<String>, Option<String>) {
    match value.map(|value| (str::from_utf8(value), value)) {
        None => (None, None),
        Some((Ok(text), _)) => (Some(text.to_owned()), None),
        Some((Err(_), value)) => (None, Some(STANDARD.encode(value))),
    }
}

fn decode(text: Option<&String>, base64: Option<&String>) -> Result<Option<Bytes>, String> {
    match (text, base64) {
        (_, Some(base64)) => match STANDARD.decode(base64) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(format!("this is not base64: {error}")),
        },
        (Some(text), None) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        (None, None) => Ok(None),
    }
}

fn parse<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(text: &str) -> Result<T, D::Error> {
    text.parse().map_err(de::Error::custom)
}

mod exact_version {
    use super::{Deserialize, Deserializer, Serializer, Version, parse};

    pub fn serialize<S: Serializer>(version: &Version, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(version)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Version, D::Error> {
        parse::<Version, D>(&String::deserialize(from)?)
    }
}

mod version {
    use super::{Deserialize, Deserializer, Serializer, Version, parse};

    #[allow(clippy::ref_option, reason = "serde asks for it")]
    pub fn serialize<S: Serializer>(version: &Option<Version>, to: S) -> Result<S::Ok, S::Error> {
        match version {
            Some(version) => to.collect_str(version),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Version>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| parse::<Version, D>(&text)).transpose()
    }
}
