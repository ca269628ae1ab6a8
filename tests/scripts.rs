//! Every script in `scripts/` runs against real processes, exits 0 and prints what its golden file `x.out` says.
//!
//! Ports are replaced by free ones. What differs between good runs is evened out before comparing: the order in which
//! outcomes of `client` come, when `watch` tells changes of different records, the numbers in the tables of `status`, the
//! latencies of `load`; on which worker a run failed; and what depends on the compiler of an operator, its hash, its size and
//! the names of the functions in which it trapped. `UPDATE_EXPECT=1` writes the golden files anew.
//!
//! What `scripts/build-examples` makes is built before.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::Marionette;
use support::ports::{free_ports_for, inverse, replace_ports};

/// A script that deploys Python waits until workers have compiled its interpreter.
const SCRIPT_MAX: Duration = Duration::from_mins(5);
/// Instead of what a load has measured.
const LATENCIES: &str = "latency …";
/// Named by the scripts that deploy what it makes.
const BUILD: &str = "scripts/build-examples";

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    // `tests/simulate.rs` has those of `regress`.
    let entries = entries.filter(|path| !path.ends_with("regress"));
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut found: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|is| is == "pm"))
        .collect();
    found.extend(folders.iter().flat_map(|folder| scripts(folder)));
    found.sort();
    found
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
    let mut table = Table::Other;
    let mut lines = Vec::new();
    for line in others {
        table = table.at(line);
        let border = line.starts_with(['┌', '╞', '└']);
        let cells: Vec<_> = line.split('┆').map(str::trim).collect();
        match (table, &cells[..]) {
            // A wrapped cell goes on in rows that have no name.
            (Table::Nodes, [node, role, url, state, ..]) if !role.is_empty() => {
                lines.push([*node, role, url, state].join(" "));
            }
            (Table::Operators, [class, _, current, language, ..]) => {
                lines.push([*class, current, language].join(" "));
            }
            (Table::Other, _) if line.starts_with("latency ") => lines.push(LATENCIES.to_owned()),
            // Borders are as wide as the columns, which depend on the ports.
            (Table::Other, _) if !border => lines.push(without_hash_and_size(line)),
            _ => {}
        }
    }
    // As many lines as there are buckets.
    lines.dedup_by(|next, line| next == LATENCIES && line == LATENCIES);
    lines.extend(outcomes.into_iter().map(without_places));
    lines.extend(changes.into_iter().map(str::to_owned));
    lines.join("\n") + "\n"
}

/// Which table a line is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Nodes,
    Operators,
    Other,
}

impl Table {
    /// That of the next line.
    fn at(self, line: &str) -> Self {
        if line.starts_with("│ node ") {
            Self::Nodes
        } else if line.starts_with("│ class ") {
            Self::Operators
        } else if line.starts_with(['│', '╞', '└']) {
            self
        } else {
            Self::Other
        }
    }
}

/// Of `FILE deployed as HASH (N bytes): CLASSES`.
fn without_hash_and_size(line: &str) -> String {
    match (line.split_once(" deployed as "), line.split_once(" bytes)")) {
        (Some((file, _)), Some((_, classes))) => format!("{file} deployed as …{classes}"),
        _ => without_functions(line).to_owned(),
    }
}

/// Of a run that failed `on worker NAME`.
fn without_places(outcome: &str) -> String {
    let outcome = without_functions(outcome);
    match outcome.split_once(" on worker ") {
        Some((start, rest)) => {
            let end = rest.find([' ', ':']).unwrap_or(rest.len());
            format!("{start} on worker …{}", &rest[end..])
        }
        None => outcome.to_owned(),
    }
}

/// Of a trap `in FUNCTION < FUNCTION`, innermost first.
fn without_functions(line: &str) -> &str {
    let ends = [" in hostile::", " in <hostile::"].map(|start| line.find(start));
    &line[..ends.into_iter().flatten().min().unwrap_or(line.len())]
}

fn copy_of_folder(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_files(folder, copy.path());
    copy
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_files(&path, &to);
        } else {
            std::fs::copy(&path, to).unwrap();
        }
    }
}

/// Runs one script in a copy of its folder; what is wrong with it.
fn run(script: &Path) -> Result<(), String> {
    let copy = copy_of_folder(script.parent().unwrap());
    let text = std::fs::read_to_string(script).unwrap();
    let ports = free_ports_for(&text);
    let copied = copy.path().join(script.file_name().unwrap());
    std::fs::write(&copied, replace_ports(&text, &ports)).unwrap();

    let running = Marionette::start(&["run", copied.to_str().unwrap()]);
    let finished = running.finish_within(SCRIPT_MAX);
    if !finished.status.success() {
        return Err(format!(
            "{}\n{}\n{}",
            finished.status, finished.output, finished.error
        ));
    }
    let output = replace_ports(&finished.output, &inverse(&ports));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(script.with_extension("out"), even_out(&output)).unwrap();
    }
    compare(script, &output, &finished.error)
}

/// The same in a simulation, whose network has ports of its own.
fn simulate(script: &Path) -> Result<(), String> {
    let copy = copy_of_folder(script.parent().unwrap());
    let copied = copy.path().join(script.file_name().unwrap());
    let running = Marionette::start(&["simulate", copied.to_str().unwrap(), "--seed", "1"]);
    let finished = running.finish_within(SCRIPT_MAX);
    if !finished.status.success() {
        return Err(format!(
            "{}\n{}\n{}",
            finished.status, finished.output, finished.error
        ));
    }
    compare(script, &finished.output, &finished.error)
}

fn compare(script: &Path, output: &str, error: &str) -> Result<(), String> {
    let output = even_out(output);
    let expected = std::fs::read_to_string(script.with_extension("out")).unwrap_or_default();
    if output == expected {
        Ok(())
    } else {
        Err(format!(
            "printed:\n{output}\nexpected:\n{expected}\n{error}"
        ))
    }
}

/// What is wrong with any of the scripts.
fn all(check: fn(&Path) -> Result<(), String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut scripts = scripts(&folder);
    assert!(scripts.len() > 10, "{scripts:?}");
    if !support::examples::built() {
        scripts.retain(|script| !std::fs::read_to_string(script).unwrap().contains(BUILD));
    }
    let wrong: Vec<_> = scripts
        .iter()
        .filter_map(|script| {
            check(script)
                .err()
                .map(|why| format!("{}: {why}", script.display()))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_script_prints_what_its_golden_file_says() {
    all(run);
}

#[test]
fn every_script_prints_the_same_in_a_simulation() {
    all(simulate);
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

/// The sum of the primes from `first` to `last`, by the simplest sieve.
fn sum_of_primes(first: usize, last: usize) -> u64 {
    let mut is_composite = vec![false; last + 1];
    let mut sum = 0;
    for number in 2..=last {
        if is_composite[number] {
            continue;
        }
        if number >= first {
            sum += number as u64;
        }
        if number <= last.isqrt() {
            for multiple in (number * number..=last).step_by(number) {
                is_composite[multiple] = true;
            }
        }
    }
    sum
}

#[test]
fn the_sums_of_primes_are_those_of_a_simple_sieve() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/primes.out");
    let golden = std::fs::read_to_string(golden).unwrap();
    assert!(golden.contains("run 1 completed: 10 2500010, 2500011 3700000\n"));
    for (run, first, last) in [(2, 10, 3_700_000), (3, 1, 20_000_000), (4, 1, 100_000_000)] {
        let sum = sum_of_primes(first, last);
        let line = format!("run {run} completed: {sum}\n");
        assert!(golden.contains(&line), "no {line:?} in\n{golden}");
    }
}
