//! Makes a failure small: fewer disturbances, fewer lines, fewer repetitions, as long as the simulation still fails with
//! its faults and does well without them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use common::fabric::Profile;
use indicatif::ProgressBar;
use puppetmaster::language::Faults;
use puppetmaster::outcome::Outcome;
use puppetmaster::output::{Format, Output};

use super::{Case, simulate};
use crate::failure::Failure;

/// Simulations that are tried.
const TRIES_MAX: u64 = 500;
/// More disturbances than this are not counted.
const DISTURBANCES_MAX: u32 = 1 << 12;

/// A script that fails, as small as it is by now.
struct Shrinking {
    seed: u64,
    case: Case,
    lines: Vec<String>,
    tries: ProgressBar,
}

/// Writes the smallest script that was found into `directory`.
pub fn run(case: &Case, seed: u64, directory: &Path) -> Result<ExitCode, Failure> {
    let text = std::fs::read_to_string(&case.file)
        .map_err(|error| Failure::other(format!("{}: {error}", case.file.display())))?;
    let says_something = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(['#', ';']) && !line.starts_with("//")
    };
    let lines = text.lines().filter(says_something);
    let mut shrinking = Shrinking {
        seed,
        case: case.clone(),
        lines: lines.map(str::to_owned).collect(),
        tries: ProgressBar::new(TRIES_MAX).with_message("shrinking"),
    };
    if !shrinking.fails(&shrinking.lines.clone(), case.faults)? {
        return Err(Failure::usage(format!(
            "seed {seed} does not fail with these faults only: there is nothing to shrink"
        )));
    }
    loop {
        let before = (shrinking.lines.clone(), shrinking.case.faults);
        shrinking.fewer_disturbances()?;
        shrinking.fewer_lines()?;
        shrinking.fewer_repetitions()?;
        if before == (shrinking.lines.clone(), shrinking.case.faults) || shrinking.is_tired() {
            break;
        }
    }
    shrinking.tries.finish_and_clear();
    let written = shrinking.write(case, directory)?;
    println!(
        "{} lines, {} faults: {}",
        shrinking.lines.len(),
        shrinking.case.faults,
        written.display()
    );
    Ok(ExitCode::SUCCESS)
}

impl Shrinking {
    fn is_tired(&self) -> bool {
        self.tries.position() >= TRIES_MAX
    }

    /// With these faults and not without: what fails by itself now is another failure.
    fn fails(&self, lines: &[String], faults: Faults) -> Result<bool, Failure> {
        if self.is_tired() {
            return Ok(false);
        }
        self.tries.inc(1);
        let outcome = |faults| {
            let case = Case {
                text: Some(lines.join("\n")),
                faults,
                ..self.case.clone()
            };
            let nobody = Output::new(Format::Text, false, Arc::new(|_, _| {}));
            simulate(&case, self.seed, &nobody).map(|ended| ended.outcome)
        };
        let is_wanted = |outcome| matches!(outcome, Outcome::Failed | Outcome::NodeLost);
        let is_only_by_faults = self.case.faults.profile != Profile::None;
        Ok(is_wanted(outcome(faults)?)
            && (!is_only_by_faults || outcome(Faults::default())? == Outcome::Well))
    }

    /// The first ones that suffice.
    fn fewer_disturbances(&mut self) -> Result<(), Failure> {
        if self.case.faults.profile == Profile::None {
            return Ok(());
        }
        let at_most = |at_most| Faults {
            at_most: Some(at_most),
            ..self.case.faults
        };
        let most = self.case.faults.at_most.unwrap_or(DISTURBANCES_MAX);
        // One less than is enough, and enough.
        let (mut few, mut enough) = (None, 0);
        while !self.fails(&self.lines, at_most(enough))? {
            few = Some(enough);
            enough = (enough * 2).max(1);
            if enough >= most {
                return Ok(());
            }
        }
        while let Some(less) = few.filter(|less| less + 1 < enough) {
            let middle = less.midpoint(enough);
            if self.fails(&self.lines, at_most(middle))? {
                enough = middle;
            } else {
                few = Some(middle);
            }
        }
        self.case.faults = at_most(enough);
        Ok(())
    }

    /// Without ever smaller parts (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", TSE 2002).
    fn fewer_lines(&mut self) -> Result<(), Failure> {
        let mut size = self.lines.len() / 2;
        while size > 0 {
            let mut start = 0;
            while start < self.lines.len() {
                let mut without = self.lines.clone();
                without.drain(start..(start + size).min(self.lines.len()));
                if self.fails(&without, self.case.faults)? {
                    self.lines = without;
                } else {
                    start += size;
                }
            }
            size /= 2;
        }
        Ok(())
    }

    fn fewer_repetitions(&mut self) -> Result<(), Failure> {
        for place in 0..self.lines.len() {
            while let Some(line) = self.lines.get(place).and_then(|line| halved(line)) {
                let mut fewer = self.lines.clone();
                fewer.splice(place..=place, [line]);
                if !self.fails(&fewer, self.case.faults)? {
                    break;
                }
                self.lines = fewer;
            }
        }
        Ok(())
    }

    /// With the command that found it and the one that repeats it.
    fn write(&self, found: &Case, directory: &Path) -> Result<PathBuf, Failure> {
        let stem = found.file.file_stem().unwrap_or_default().to_string_lossy();
        let file = directory.join(format!("{stem}-{}.pm", self.seed));
        let again = Case {
            file: file.clone(),
            ..self.case.clone()
        };
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(text, "# Found by: {}", found.command(self.seed));
        let _ = writeln!(text, "# Again: {}", again.command(self.seed));
        for line in &self.lines {
            let _ = writeln!(text, "{}", moved(line, &found.file, directory));
        }
        let written = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&file, text));
        written.map_err(|error| Failure::other(format!("{}: {error}", file.display())))?;
        Ok(file)
    }
}

/// `repeat 6 X` as `repeat 3 X`, and at last as `X`.
fn halved(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("repeat ")?;
    let (count, command) = rest.trim().split_once(' ')?;
    match count.parse::<u32>().ok()? / 2 {
        0 => None,
        1 => Some(command.trim().to_owned()),
        half => Some(format!("repeat {half} {command}")),
    }
}

/// A line for a script elsewhere: the files beside the script that it names are named by their whole paths, unless the
/// script goes into a directory below.
fn moved(line: &str, script: &Path, directory: &Path) -> String {
    let beside = script.parent().unwrap_or(Path::new(""));
    let below = directory.strip_prefix(beside).ok();
    let words = line.split(' ').map(|word| {
        let file = beside.join(word);
        if word.is_empty() || !file.exists() {
            return word.to_owned();
        }
        match below {
            Some(below) => "../".repeat(below.components().count()) + word,
            None => std::path::absolute(&file)
                .unwrap_or(file)
                .display()
                .to_string(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_halved_to_one() {
        let mut line = "repeat 7 client red a.app".to_owned();
        let mut seen = Vec::new();
        while let Some(next) = halved(&line) {
            seen.push(next.clone());
            line = next;
        }
        assert_eq!(seen, ["repeat 3 client red a.app", "client red a.app"]);
    }

    #[test]
    fn files_beside_a_script_are_found_from_where_it_goes() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.app"), "").unwrap();
        let script = place.path().join("x.pm");
        let line = |directory: &Path| moved("run red a.app", &script, directory);
        assert_eq!(line(&place.path().join("regress")), "run red ../a.app");
        let elsewhere = line(Path::new("/elsewhere"));
        assert_eq!(
            elsewhere,
            format!("run red {}/a.app", place.path().display())
        );
    }
}
