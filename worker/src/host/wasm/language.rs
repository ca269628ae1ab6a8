//! What a component is written in, as the section `producers` of its modules says.

use wasmparser::{KnownCustom, Parser, Payload};

/// The languages, newest toolchain's word first; empty when no producer is named. Unreadable bytes are another's error.
pub(super) fn of(component: &[u8]) -> String {
    let mut languages: Vec<String> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let Ok(Payload::CustomSection(section)) = payload else {
            continue;
        };
        let KnownCustom::Producers(fields) = section.as_known() else {
            continue;
        };
        for field in fields
            .into_iter()
            .flatten()
            .filter(|field| field.name == "language")
        {
            let values = field.values.into_iter().flatten();
            languages.extend(values.map(|value| value.name.to_owned()));
        }
    }
    languages.dedup();
    languages.join(", ")
}
