//! Every script in `scripts/` runs against real processes, exits 0 and prints what its golden file `x.out` says.
//!
//! Ports are replaced by free ones. Three things differ between good runs and are evened out before comparing: the order
//! in which outcomes of `client` come, when `watch` tells changes of different records, and the numbers in the tables of
//! `status`. `UPDATE_EXPECT=1` writes the golden files anew.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::Marionette;

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut found: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|is| is == "pm"))
        .collect();
    found.extend(folders.iter().flat_map(|folder| scripts(folder)));
    found.sort();
    found
}

/// The ports of `http://localhost:PORT` in a script, and a free one for each.
fn free_ports_for(text: &str) -> BTreeMap<String, String> {
    let ports = text.split("http://localhost:").skip(1).map(|rest| {
        let [free] = support::free_ports();
        let port = rest.chars().take_while(char::is_ascii_digit).collect();
        (port, free.to_string())
    });
    ports.collect()
}

/// In one pass: a free port may begin with another one's digits.
fn replace_ports(text: &str, ports: &BTreeMap<String, String>) -> String {
    let mut pieces = text.split("localhost:");
    let mut replaced = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.chars().take_while(char::is_ascii_digit).count();
        let (port, rest) = piece.split_at(digits);
        replaced.extend([
            "localhost:",
            ports.get(port).map_or(port, String::as_str),
            rest,
        ]);
    }
    replaced
}

fn inverse(ports: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    ports
        .iter()
        .map(|(port, free)| (free.clone(), port.clone()))
        .collect()
}

/// Outcomes in the order of their runs and changes in that of their records, behind everything else; tables of nodes
/// without their details.
fn even_out(output: &str) -> String {
    let is_change = |line: &&str| line.starts_with("changed: ");
    let (mut changes, others): (Vec<_>, Vec<_>) = output.lines().partition(is_change);
    changes.sort_by_key(|line| line.split(" = ").next());
    let is_outcome = |line: &&str| line.starts_with("run ");
    let (mut outcomes, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is_outcome);
    outcomes.sort_by_key(|line| {
        line.split(' ')
            .nth(1)
            .and_then(|number| number.parse::<u64>().ok())
    });
    let mut in_nodes = false;
    let mut lines = Vec::new();
    for line in others {
        in_nodes = (in_nodes || line.starts_with("│ node ")) && line.starts_with(['│', '╞', '└']);
        let border = line.starts_with(['┌', '╞', '└']);
        match line.split('┆').collect::<Vec<_>>()[..] {
            // A wrapped cell goes on in rows that have no name.
            [node, role, url, state, ..] if in_nodes && role.trim() != "" => {
                lines.push([node, role, url, state].map(str::trim).join(" "));
            }
            // Borders are as wide as the columns, which depend on the ports.
            _ if !border && !in_nodes => lines.push(line.to_owned()),
            _ => {}
        }
    }
    let evened = outcomes.into_iter().chain(changes);
    lines.extend(evened.map(str::to_owned));
    lines.join("\n") + "\n"
}

fn copy_of_folder(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

/// Runs one script in a copy of its folder; what is wrong with it.
fn run(script: &Path) -> Result<(), String> {
    let copy = copy_of_folder(script.parent().unwrap());
    let text = std::fs::read_to_string(script).unwrap();
    let ports = free_ports_for(&text);
    let copied = copy.path().join(script.file_name().unwrap());
    std::fs::write(&copied, replace_ports(&text, &ports)).unwrap();

    let finished = Marionette::start(&["run", copied.to_str().unwrap()]).finish();
    if !finished.status.success() {
        return Err(format!(
            "{}\n{}\n{}",
            finished.status, finished.output, finished.error
        ));
    }
    let output = replace_ports(&finished.output, &inverse(&ports));
    let (output, golden) = (even_out(&output), script.with_extension("out"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(golden, output).unwrap();
        return Ok(());
    }
    let expected = std::fs::read_to_string(golden).unwrap_or_default();
    if output == expected {
        Ok(())
    } else {
        Err(format!(
            "printed:\n{output}\nexpected:\n{expected}\n{}",
            finished.error
        ))
    }
}

#[test]
fn every_script_prints_what_its_golden_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let scripts = scripts(&folder);
    assert!(scripts.len() > 10, "{scripts:?}");
    let wrong: Vec<_> = scripts
        .iter()
        .filter_map(|script| {
            run(script)
                .err()
                .map(|why| format!("{}: {why}", script.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_script_from_standard_input_gives_the_same_as_the_named_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/course");
    let text = std::fs::read_to_string(folder.join("sample.pm")).unwrap();
    let expected = std::fs::read_to_string(folder.join("sample.out")).unwrap();
    let ports = free_ports_for(&text);
    let script = replace_ports(&text, &ports);

    // From a pipe: what it names is in the working directory.
    let piped = Marionette::start_with(&["run"], &script, |command| {
        command.current_dir(&folder);
    });
    // By `< FILE`: what it names is beside it.
    let copy = copy_of_folder(&folder);
    let file = copy.path().join("sample.pm");
    std::fs::write(&file, &script).unwrap();
    let piped = piped.finish();
    let redirected = Marionette::start_with(&["run"], "", |command| {
        command.stdin(std::fs::File::open(&file).unwrap());
    })
    .finish();
    for finished in [piped, redirected] {
        assert!(finished.status.success(), "{finished:?}");
        let output = replace_ports(&finished.output, &inverse(&ports));
        assert_eq!(even_out(&output), expected);
    }
}
