//! A report in lines for people, or as one JSON object.

use std::fmt::Write as _;

use marionette_sdk::native::{ABI_VERSION, FINGERPRINT};
use serde_json::{Value, json};

use super::component::{Component, Import, Memory};
use super::{Kind, Report};
use crate::show;

impl Report {
    /// Lines of name and value, the last of them the verdict.
    pub fn text(&self) -> String {
        let mut lines = vec![
            ("file", self.file.display().to_string()),
            ("kind", self.kind.name().to_owned()),
            ("size", format!("{} bytes", self.bytes)),
            ("sha256", self.sha256.clone()),
        ];
        match &self.kind {
            Kind::Component(component) => lines.extend(component_lines(component)),
            Kind::Library(Some(library)) => lines.extend([
                (
                    "ABI",
                    format!("{}, this worker's: {ABI_VERSION}", library.abi_version),
                ),
                ("built by", library.fingerprint.clone()),
                ("worker by", FINGERPRINT.to_owned()),
            ]),
            Kind::Library(None) | Kind::Module | Kind::Unknown => {}
        }
        if !self.classes.is_empty() {
            lines.push(("classes", self.classes.join(" ")));
        }
        lines.extend(
            self.warnings
                .iter()
                .map(|warning| ("warning", warning.clone())),
        );
        let mut text = String::new();
        for (name, value) in lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<10} {}", show::plain(value.as_bytes()));
        }
        if self.reasons.is_empty() {
            text.push_str("accepted\n");
        } else {
            text.push_str("not accepted:\n");
        }
        for reason in &self.reasons {
            let _ = writeln!(text, "- {}", show::plain(reason.as_bytes()));
        }
        text
    }

    /// The same for programs; what does not apply to the kind is absent.
    pub fn json(&self) -> Value {
        let mut object = json!({
            "file": self.file, "kind": self.kind.name(), "bytes": self.bytes, "sha256": self.sha256,
            "classes": self.classes, "warnings": self.warnings, "reasons": self.reasons,
            "accepted": self.reasons.is_empty(),
        });
        let more = match &self.kind {
            Kind::Component(component) => component_json(component),
            Kind::Library(Some(library)) => json!({
                "abi_version": library.abi_version, "fingerprint": library.fingerprint,
                "worker_abi_version": ABI_VERSION, "worker_fingerprint": FINGERPRINT,
            }),
            Kind::Library(None) | Kind::Module | Kind::Unknown => Value::Null,
        };
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        object
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Component(_) => "component",
            Self::Library(_) => "native library",
            Self::Module => "core module",
            Self::Unknown => "unknown",
        }
    }
}

fn component_lines(component: &Component) -> Vec<(&'static str, String)> {
    let producers = component.producers.iter();
    let producers = producers.map(|(name, version)| format!("{name} {version}"));
    let producers: Vec<String> = producers.map(|text| text.trim().to_owned()).collect();
    let language = component.language().unwrap_or("unknown");
    let mut lines = vec![("language", language.to_owned())];
    if !producers.is_empty() {
        lines.push(("made by", producers.join(", ")));
    }
    lines.extend(
        component
            .imports
            .iter()
            .map(|import| ("import", import_text(import))),
    );
    lines.push(("exports", component.exports.join(" ")));
    lines.extend(
        component
            .memories
            .iter()
            .map(|memory| ("memory", memory_text(memory))),
    );
    lines
}

fn import_text(import: &Import) -> String {
    if import.functions.is_empty() {
        import.name.clone()
    } else {
        format!("{} ({})", import.name, import.functions.join(" "))
    }
}

fn memory_text(memory: &Memory) -> String {
    let initial = memory.initial_bytes;
    match memory.maximum_bytes {
        Some(maximum) => format!("{initial} bytes at first, at most {maximum}"),
        None => format!("{initial} bytes at first, no maximum of its own"),
    }
}

fn component_json(component: &Component) -> Value {
    let imports = component.imports.iter().map(|import| {
        json!({"name": import.name, "functions": import.functions, "unknown": import.unknown()})
    });
    let memories = component.memories.iter().map(|memory| {
        json!({"initial_bytes": memory.initial_bytes, "maximum_bytes": memory.maximum_bytes})
    });
    json!({
        "language": component.language(), "producers": component.producers, "exports": component.exports,
        "imports": imports.collect::<Vec<_>>(), "memories": memories.collect::<Vec<_>>(),
    })
}
