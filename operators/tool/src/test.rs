//! `marionette operator test`: runs the table of cases beside a component, each on records of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::cases::{self, Case};
use crate::compare::{Difference, differences, log_lines};
use crate::notes::read_bounded;
use crate::rehearse::{Outcome, Stand};
use crate::unusable::{Terminal, Unusable, Verdict};

/// The table's name in the directory of a component.
pub const TABLE: &str = "cases.toml";
const TABLE_BYTES_MAX: u64 = 16 << 20;
/// Lines of the log that are shown of a case that failed: the last.
const LOG_LINES_SHOWN_MAX: usize = 20;
/// What an operator is written in, or built by.
const SOURCES: [&str; 12] = [
    "rs", "js", "mjs", "ts", "py", "c", "h", "cc", "cpp", "wit", "toml", "json",
];
/// Where builds and downloads are, not sources.
const NO_SOURCES: [&str; 5] = ["target", "node_modules", "build", "dist", "__pycache__"];
/// Files that are looked at for their age.
const LOOKED_AT_MAX: usize = 10_000;

/// Runs the cases of a directory, of these names only where `only` is given. A line for each goes to `terminal.out`.
/// Errors: the component or the table cannot be used.
pub async fn test(
    directory: &Path,
    only: Option<&str>,
    terminal: &mut Terminal<'_>,
) -> Result<Verdict, Unusable> {
    let begun = Instant::now();
    let component = component(directory)?;
    if let Some(source) = newer_source(directory, &component) {
        writeln!(
            terminal.err,
            "notice: {} is newer than {}: build it again to test it: marionette operator build",
            source.display(),
            component.display()
        )?;
    }
    let table = directory.join(TABLE);
    let text = table_text(&table)?;
    let stand = Stand::load(Some(&component), false).await?;
    let cases = read_cases(&table, &text, stand.classes())?;
    let chosen = choose(&cases, only)?;
    let mut failed = 0_usize;
    for case in &chosen {
        let case_begun = Instant::now();
        let outcome = stand.rehearse(&case.setup).await;
        let differing = differences(case, &outcome);
        failed += usize::from(!differing.is_empty());
        tell(case, &differing, case_begun.elapsed(), terminal)?;
        if !differing.is_empty() {
            explain(&table, case, &differing, &outcome, terminal)?;
        }
    }
    summary(failed, chosen.len(), begun.elapsed(), terminal)?;
    Ok(if failed == 0 {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}

/// The one component of a directory.
fn component(directory: &Path) -> Result<PathBuf, Unusable> {
    let unreadable = |error: io::Error| {
        Unusable::new(format!("{} cannot be read: {error}", directory.display()))
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
            && path.is_file()
        {
            found.push(path);
        }
    }
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let message = format!("there is no component in {}", directory.display());
            let hint = format!(
                "build it first: marionette operator build {}",
                directory.display()
            );
            Err(Unusable::new(message).hint(hint))
        }
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let message = format!("which component? There are {}", names.join(", "));
            Err(Unusable::new(message)
                .hint("leave one in the directory; a table is for one component"))
        }
    }
}

fn table_text(table: &Path) -> Result<String, Unusable> {
    let unusable = |reason: String| Unusable::new(format!("{}: {reason}", table.display()));
    if !table.exists() {
        let hint = "the first lines could be:\n\n[[case]]\nname = \"greets\"\ninput = \"Ada\"\n\
                    expect.output = [\"Hello, Ada!\"]\n";
        return Err(unusable("there is no such table of cases".to_owned()).hint(hint));
    }
    let bytes = read_bounded(table, TABLE_BYTES_MAX);
    let bytes = bytes.map_err(|reason| unusable(format!("it cannot be read: {reason}")))?;
    String::from_utf8(bytes).map_err(|_| unusable("it is not UTF-8 text".to_owned()))
}

fn read_cases(table: &Path, text: &str, classes: &[String]) -> Result<Vec<Case>, Unusable> {
    cases::read(table, text, classes).map_err(|diagnostics| {
        let count = match diagnostics.len() {
            1 => "1 mistake".to_owned(),
            count => format!("{count} mistakes"),
        };
        let mut wrong = Unusable::new(format!("{count} in {}, nothing was run", table.display()));
        wrong.diagnostics = diagnostics;
        wrong
    })
}

fn choose<'c>(cases: &'c [Case], only: Option<&str>) -> Result<Vec<&'c Case>, Unusable> {
    let text = only.unwrap_or_default();
    let chosen: Vec<&Case> = cases
        .iter()
        .filter(|case| case.name.contains(text))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let message = format!("no case has \"{text}\" in its name");
        return Err(Unusable::new(message).hint(format!("there are: {}", names.join(", "))));
    }
    Ok(chosen)
}

fn tell(
    case: &Case,
    differing: &[Difference],
    took: Duration,
    terminal: &mut Terminal<'_>,
) -> io::Result<()> {
    let is_good = differing.is_empty();
    let word = if is_good { "ok    " } else { "FAILED" };
    let word = terminal.paint(word, is_good);
    writeln!(
        terminal.out,
        "{word}  {}  ({} ms)",
        case.name,
        took.as_millis()
    )
}

fn explain(
    table: &Path,
    case: &Case,
    differing: &[Difference],
    outcome: &Outcome,
    terminal: &mut Terminal<'_>,
) -> io::Result<()> {
    writeln!(terminal.out, "        at {}:{}", table.display(), case.line)?;
    for difference in differing {
        writeln!(terminal.out, "        {}", difference.what)?;
        writeln!(terminal.out, "          expected  {}", difference.expected)?;
        writeln!(terminal.out, "          found     {}", difference.found)?;
    }
    let lines: Vec<String> = log_lines(outcome).collect();
    let skipped = lines.len().saturating_sub(LOG_LINES_SHOWN_MAX);
    if !lines.is_empty() {
        writeln!(terminal.out, "        log")?;
    }
    if skipped > 0 {
        writeln!(terminal.out, "          … {skipped} lines before")?;
    }
    for line in lines.iter().skip(skipped) {
        writeln!(terminal.out, "          {line}")?;
    }
    Ok(())
}

fn summary(
    failed: usize,
    count: usize,
    took: Duration,
    terminal: &mut Terminal<'_>,
) -> io::Result<()> {
    let cases = if count == 1 { "case" } else { "cases" };
    let text = if failed == 0 {
        format!("{count} {cases} ok")
    } else {
        format!("{failed} of {count} {cases} failed")
    };
    let text = terminal.paint(&text, failed == 0);
    writeln!(terminal.out, "{text}, {:.1} s", took.as_secs_f64())
}

/// A source of the directory that was changed after the component was built. What cannot be read is no source.
fn newer_source(directory: &Path, component: &Path) -> Option<PathBuf> {
    let built = changed(component)?;
    let mut left = vec![directory.to_owned()];
    let mut looked_at = 0;
    while let Some(directory) = left.pop() {
        let entries = std::fs::read_dir(directory).ok()?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        for path in paths {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                return None;
            }
            if path.is_dir() && !path.is_symlink() && !is_named(&path, &NO_SOURCES) {
                left.push(path);
            } else if is_source(&path) && changed(&path).is_some_and(|changed| changed > built) {
                return Some(path);
            }
        }
    }
    None
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// Hidden directories are none of ours either.
fn is_named(path: &Path, names: &[&str]) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_none_or(|name| name.starts_with('.') || names.contains(&name))
}

fn is_source(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_known = extension.is_some_and(|extension| SOURCES.contains(&extension));
    is_known && path.is_file() && !is_named(path, &[TABLE])
}
