//! The rules: functions from sources to violations.

use std::path::Path;

use crate::code::{Function, SKIPPED, code_only, functions, has_word, line_of, without_tests};
use crate::repository::{Source, Violation, has_extension, production, violation};

pub const FUNCTION_LINES_MAX: usize = 70;
/// "About 400". Tests are counted neither here nor above: tables of cases are long.
pub const FILE_LINES_MAX: usize = 450;
/// A script `x.pm` is a test whose expected output is `x.out`.
const GOLDEN_EXTENSION: &str = "out";

const FORBIDDEN_IN_CORES: [&str; 15] = [
    "tokio",
    "async",
    ".await",
    "Instant",
    "SystemTime",
    "rand",
    "HashMap",
    "HashSet",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "println!",
    "print!",
    "eprintln!",
];
const FORBIDDEN_BESIDE_THE_FABRIC: [&str; 6] = [
    "tokio::time",
    "tokio::spawn",
    "tokio::task::spawn",
    "Instant",
    "SystemTime",
    "rand",
];
const ROLES: [&str; 5] = ["scheduler", "storage", "worker", "puppetmaster", "pcs"];
/// The rooms that touch the machine itself: wasmtime and its threads, the operating system's processes.
const ROOMS_BESIDE_THE_FABRIC: [&str; 2] = ["worker/src/host/", "pcs/src/process/"];
/// Which of our own packages each package may use. Tests may use every one.
const DEPENDENCIES: [(&str, &[&str]); 12] = [
    (
        "Cargo.toml",
        &[
            "common",
            "history",
            "storage",
            "scheduler",
            "worker",
            "pcs",
            "puppetmaster",
            "operator-tool",
        ],
    ),
    ("common/Cargo.toml", &[]),
    ("history/Cargo.toml", &["common"]),
    ("storage/Cargo.toml", &["common", "history"]),
    ("scheduler/Cargo.toml", &["common"]),
    // The worker hosts what the SDK compiles to: it shares the SDK's table of native operators.
    ("worker/Cargo.toml", &["common", "marionette-sdk"]),
    ("pcs/Cargo.toml", &["common"]),
    ("puppetmaster/Cargo.toml", &["common", "history"]),
    ("bench/Cargo.toml", &["common", "history", "storage"]),
    ("operators/sdk/Cargo.toml", &[]),
    ("operators/std/Cargo.toml", &["marionette-sdk"]),
    (
        "operators/tool/Cargo.toml",
        &["common", "worker", "marionette-sdk"],
    ),
];
pub const MARKERS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("dbg", "!"),
    concat!("to", "do!"),
    concat!("unimplemented", "!"),
];

pub fn pure_cores(sources: &[Source]) -> Vec<Violation> {
    let cores = production(sources).filter(|source| {
        let is_inside =
            source.path.contains("/src/core/") || source.path.starts_with("history/src/");
        is_inside || source.path.ends_with("/src/core.rs")
    });
    cores
        .flat_map(|source| mentions(source, &FORBIDDEN_IN_CORES, "has no place in a core"))
        .collect()
}

pub fn only_through_the_fabric(sources: &[Source]) -> Vec<Violation> {
    let is_bound = |path: &str| {
        ROLES
            .iter()
            .any(|role| path.starts_with(&format!("{role}/src/")))
            && !ROOMS_BESIDE_THE_FABRIC
                .iter()
                .any(|room| path.starts_with(room))
    };
    let bound = production(sources).filter(|source| is_bound(&source.path));
    bound
        .flat_map(|source| {
            let mut found = mentions(
                source,
                &FORBIDDEN_BESIDE_THE_FABRIC,
                "goes through the fabric",
            );
            found.extend(grouped_imports_of_tokio(source));
            found
        })
        .collect()
}

/// `use tokio::{spawn, time}` says the same as the names spelt out.
fn grouped_imports_of_tokio(source: &Source) -> Vec<Violation> {
    let code = code_only(&source.text);
    let groups = code.match_indices("tokio::{");
    groups
        .filter_map(|(start, _)| {
            let group = code[start..].split(';').next().unwrap_or_default();
            let word = ["spawn", "time"]
                .into_iter()
                .find(|word| has_word(group, word))?;
            Some(violation(
                source,
                line_of(&code, start),
                format!("`tokio::{word}` goes through the fabric"),
            ))
        })
        .collect()
}

pub fn one_way_dependencies(sources: &[Source]) -> Vec<Violation> {
    let ours: Vec<&str> = ROLES
        .into_iter()
        .chain([
            "common",
            "history",
            "marionette",
            "marionette-sdk",
            "marionette-std",
            "operator-tool",
        ])
        .collect();
    let mut found = Vec::new();
    for (path, allowed) in DEPENDENCIES {
        let Some(source) = sources.iter().find(|source| source.path == path) else {
            continue;
        };
        for (line, name) in dependencies(&source.text) {
            if ours.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                found.push(violation(
                    source,
                    line,
                    format!("must not depend on `{name}`"),
                ));
            }
        }
    }
    found
}

/// Line and name of what a Cargo.toml depends on, not for its tests.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(manifest.lines()) {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = !section.starts_with("workspace")
                && (section.ends_with("dependencies") && !section.ends_with("dev-dependencies"));
            // `[dependencies.NAME]`
            if let Some((_, name)) = section
                .split_once("dependencies.")
                .filter(|(kind, _)| !kind.ends_with("dev-"))
            {
                found.push((number, name.to_owned()));
            }
        } else if inside && !line.starts_with('#') && line.contains('=') {
            let name: String = line.chars().take_while(|c| !" .=".contains(*c)).collect();
            found.push((number, name.trim_matches('"').to_owned()));
        }
    }
    found
}

pub fn short_functions(sources: &[Source]) -> Vec<Violation> {
    production(sources)
        .flat_map(|source| {
            let code = code_only(&without_tests(&source.text));
            let long = functions(&code)
                .into_iter()
                .filter(|function| function.lines > FUNCTION_LINES_MAX);
            long.map(|Function { name, line, lines }| {
                violation(
                    source,
                    line,
                    format!("fn {name} has {lines} lines, more than {FUNCTION_LINES_MAX}"),
                )
            })
            .collect::<Vec<_>>()
        })
        .collect()
}

pub fn short_files(sources: &[Source]) -> Vec<Violation> {
    production(sources)
        .filter_map(|source| {
            let lines = without_tests(&source.text)
                .lines()
                .filter(|line| *line != SKIPPED)
                .count();
            (lines > FILE_LINES_MAX).then(|| {
                violation(
                    source,
                    lines,
                    format!("the file has {lines} lines, more than {FILE_LINES_MAX}"),
                )
            })
        })
        .collect()
}

pub fn nothing_left_to_do(sources: &[Source]) -> Vec<Violation> {
    sources
        .iter()
        .flat_map(|source| {
            let lines = (1..).zip(source.text.lines());
            lines.flat_map(move |(number, line)| {
                let markers = MARKERS.iter().filter(move |marker| has_word(line, marker));
                markers.map(move |marker| {
                    violation(source, number, format!("`{marker}` is not left behind"))
                })
            })
        })
        .collect()
}

pub fn scripts_have_golden_output(sources: &[Source]) -> Vec<Violation> {
    // Those of `regress` need only do well.
    let is_script = |source: &&Source| {
        let is_golden =
            source.path.starts_with("scripts/") && !source.path.starts_with("scripts/regress/");
        is_golden && has_extension(&source.path, "pm")
    };
    sources
        .iter()
        .filter(is_script)
        .filter_map(|script| {
            let golden = Path::new(&script.path).with_extension(GOLDEN_EXTENSION);
            let found = sources
                .iter()
                .any(|source| Path::new(&source.path) == golden);
            (!found).then(|| {
                violation(
                    script,
                    1,
                    format!("its expected output {} is missing", golden.display()),
                )
            })
        })
        .collect()
}

/// One violation for each of the words on each line of the production code.
fn mentions(source: &Source, words: &[&str], why: &str) -> Vec<Violation> {
    let code = code_only(&without_tests(&source.text));
    let lines = (1..).zip(code.lines());
    let found = lines.filter_map(|(number, line)| {
        let word = words.iter().find(|word| has_word(line, word));
        word.map(|word| violation(source, number, format!("`{word}` {why}")))
    });
    found.collect()
}
