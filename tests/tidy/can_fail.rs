//! Each rule can fail.

use crate::repository::{Source, Violation};
use crate::rules::{
    FILE_LINES_MAX, FUNCTION_LINES_MAX, MARKERS, nothing_left_to_do, one_way_dependencies,
    only_through_the_fabric, pure_cores, scripts_have_golden_output, short_files, short_functions,
};

/// The lines that a rule finds in one file.
#[track_caller]
fn assert_found(rule: fn(&[Source]) -> Vec<Violation>, path: &str, text: &str, lines: &[usize]) {
    let source = Source {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let found = rule(&[source]);
    assert_eq!(
        found
            .iter()
            .map(|violation| violation.line)
            .collect::<Vec<_>>(),
        lines,
        "{found:?}"
    );
}

#[test]
fn an_impure_core_is_found() {
    let text = "use std::time::Instant;\n// tokio\nlet s = \"tokio\";\nasync fn f() {}\n#[cfg(test)]\nmod tests { use rand; }";
    assert_found(pure_cores, "storage/src/core/mod.rs", text, &[1, 4]);
    assert_found(pure_cores, "history/src/lib.rs", text, &[1, 4]);
    assert_found(pure_cores, "storage/src/server.rs", text, &[]);
    assert_found(pure_cores, "storage/src/core/tests.rs", text, &[]);
    assert_found(
        pure_cores,
        "a/src/core/b.rs",
        "let operand = grand_total;",
        &[],
    );
}

#[test]
fn what_goes_around_the_fabric_is_found() {
    let text = "tokio::spawn(x);\nuse tokio::{\n  sync, time};\nlet i = Instant::now();\nuse tokio::sync::mpsc;";
    assert_found(
        only_through_the_fabric,
        "scheduler/src/server.rs",
        text,
        &[1, 4, 2],
    );
    assert_found(
        only_through_the_fabric,
        "worker/src/host/wasm/mod.rs",
        text,
        &[],
    );
    assert_found(
        only_through_the_fabric,
        "common/src/fabric/mod.rs",
        text,
        &[],
    );
}

#[test]
fn a_dependency_the_wrong_way_is_found() {
    let text = "[dependencies]\ncommon.workspace = true\nstorage = { path = \"x\" }\n[dev-dependencies]\npcs.workspace = true\n[dependencies.worker]\npath = \"y\"";
    assert_found(one_way_dependencies, "scheduler/Cargo.toml", text, &[3, 6]);
    assert_found(one_way_dependencies, "Cargo.toml", text, &[]);
}

#[test]
fn a_long_function_is_found() {
    let body = "    work();\n".repeat(FUNCTION_LINES_MAX - 1);
    let text = format!("trait T {{ fn short(a: [u8; 2]); }}\n\nfn long() {{\n{body}}}\n");
    assert_found(short_functions, "a.rs", &text, &[3]);
    let body = "    work(\"{\"); // {\n".repeat(FUNCTION_LINES_MAX - 2);
    assert_found(
        short_functions,
        "a.rs",
        &format!("fn fits() {{\n{body}}}\nfn g() {{}}\n"),
        &[],
    );
}

#[test]
fn a_long_file_is_found() {
    let code = "const A: u8 = 1;\n".repeat(FILE_LINES_MAX + 1);
    assert_found(short_files, "a/src/b.rs", &code, &[FILE_LINES_MAX + 1]);
    let tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{code}}}\n");
    assert_found(short_files, "a/src/b.rs", &tests, &[]);
    let declared_first = format!("#[cfg(test)]\nmod tests;\n{code}");
    assert_found(
        short_files,
        "a/src/b.rs",
        &declared_first,
        &[FILE_LINES_MAX + 1],
    );
}

#[test]
fn work_left_behind_is_found() {
    let text = format!(
        "// {}: later\nlet method = 1;\n{}(x);",
        MARKERS[0], MARKERS[3]
    );
    assert_found(nothing_left_to_do, "a.rs", &text, &[1, 3]);
}

#[test]
fn a_script_without_expected_output_is_found() {
    assert_found(scripts_have_golden_output, "scripts/course/a.pm", "", &[1]);
    let path = |path: &str| Source {
        path: path.to_owned(),
        text: String::new(),
    };
    assert!(scripts_have_golden_output(&[path("scripts/a.pm"), path("scripts/a.out")]).is_empty());
}
