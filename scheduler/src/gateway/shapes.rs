//! What several operations say in JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::engine::{DecodePaddingMode, GeneralPurpose};
use bytes::Bytes;
use common::types::{RecordVersion, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use super::extract::Whole;

/// Every number up to it survives a client whose numbers are floating point (RFC 8259 §6).
pub const EXACT_MAX: u64 = (1 << 53) - 1;

/// The number of a run.
pub type RunNumber = Whole<1, EXACT_MAX>;

/// Bytes: a text where they are UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text, or {\"base64\": …}")]
pub enum Content {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Binary(Binary),
}

/// Any bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    #[schema(inline)]
    base64: Base64,
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        match String::from_utf8(bytes.into()) {
            Ok(text) => Self::Text(text),
            Err(not_text) => Self::Binary(Binary {
                base64: Base64(not_text.into_bytes().into()),
            }),
        }
    }
}

impl From<Content> for Bytes {
    fn from(value: Content) -> Self {
        match value {
            Content::Text(text) => text.into(),
            Content::Binary(binary) => binary.base64.0,
        }
    }
}

/// The standard alphabet with padding (RFC 4648 §4); left-over bits are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Base64(Bytes);

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes.into()))
    }
}

impl PartialSchema for Base64 {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Byte)))
            .build()
            .into()
    }
}

impl ToSchema for Base64 {}

/// `NUMBER.REPLICA`, and `NUMBER.REPLICA+STEP` (in a URL `+` is written `%2B`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionText(pub Version);

impl Serialize for VersionText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for VersionText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let version = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(version))
    }
}

impl PartialSchema for VersionText {
    /// The digits are those that fit for certain.
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^[0-9]{1,18}\.[0-9]{1,9}(\+[0-9]{1,9})?$"))
            .description(Some(
                "NUMBER.REPLICA or NUMBER.REPLICA+STEP; `+` is %2B in a URL",
            ))
            .examples(["7.2", "7.2+1"])
            .build()
            .into()
    }
}

impl ToSchema for VersionText {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Version")
    }
}

/// What there is of a record.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Found {
    version: VersionText,
    /// Absent: it was deleted, or (version 0.0) never written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<Content>,
}

impl From<RecordVersion> for Found {
    fn from(found: RecordVersion) -> Self {
        Self {
            version: VersionText(found.version),
            value: found.value.map(Content::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(bytes: &'static [u8], json: &str) {
        let value = Content::from(Bytes::from_static(bytes));
        assert_eq!(serde_json::to_string(&value).unwrap(), json);
        let read: Content = serde_json::from_str(json).unwrap();
        assert_eq!(Bytes::from(read), bytes);
    }

    #[test]
    fn any_bytes_survive_json() {
        survives(b"", r#""""#);
        survives("zwölf\0".as_bytes(), r#""zwölf\u0000""#);
        survives(&[0xff, 0], r#"{"base64":"/wA="}"#);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for json in [
            "7",
            "null",
            "[]",
            "{}",
            r#"{"base64":"/w"}"#,
            r#"{"base64":"","x":1}"#,
        ] {
            assert!(serde_json::from_str::<Content>(json).is_err(), "{json}");
        }
    }
}
