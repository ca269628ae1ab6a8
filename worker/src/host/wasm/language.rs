//! What a component is written in, as the sections `producers` of its modules tell.

use wasmparser::{KnownCustom, Parser, Payload};

/// First what carries an interpreter, which is itself written in another language; then compilers.
const MAKERS: [(&str, &[&str]); 4] = [
    ("Python", &["componentize-py", "python"]),
    (
        "JavaScript",
        &[
            "componentize-qjs",
            "componentizejs",
            "componentize-js",
            "javascript",
        ],
    ),
    ("Rust", &["rust", "rustc", "wit-bindgen-rust"]),
    ("C", &["clang", "c", "c11", "wit-bindgen-c"]),
];

/// The language of a component that these have made: languages, compilers, tools. None: they do not tell.
pub fn language<'a>(producers: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    let producers: Vec<String> = producers.into_iter().map(str::to_lowercase).collect();
    let made_by = |maker: &&str| {
        let mut names = producers.iter();
        names.any(|name| name == maker || name.starts_with(&format!("{maker}-")))
    };
    let is_of = |(_, makers): &&(&str, &[&str])| makers.iter().any(made_by);
    MAKERS.iter().find(is_of).map(|(language, _)| *language)
}

/// The same of its bytes; empty when they do not tell. Unreadable ones are another's error.
pub(super) fn of(component: &[u8]) -> String {
    let mut names: Vec<String> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let Ok(Payload::CustomSection(section)) = payload else {
            continue;
        };
        let KnownCustom::Producers(fields) = section.as_known() else {
            continue;
        };
        let values = fields.into_iter().flatten();
        let values = values.flat_map(|field| field.values.into_iter().flatten());
        names.extend(values.map(|value| value.name.to_owned()));
    }
    language(names.iter().map(String::as_str))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_tells_more_than_the_compiler_that_built_it() {
        assert_eq!(language(["rustc", "componentize-py"]), Some("Python"));
        assert_eq!(language(["Rust", "wit-component"]), Some("Rust"));
        assert_eq!(language(["wit-component"]), None);
    }
}
