//! What differs between what a case expects and what came of it.

use std::collections::BTreeSet;

use common::types::Item;
use worker::host::OperatorFailure;

use crate::cases::{Case, End};
use crate::rehearse::{Outcome, kind, level};
use crate::show;

/// Differing items, or records, that are shown of one case.
const SHOWN_MAX: usize = 10;

/// One difference.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is about, such as `item 2`.
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl Difference {
    fn new(what: impl Into<String>, expected: impl AsRef<str>, found: impl AsRef<str>) -> Self {
        let (expected, found) = show::windows(expected.as_ref(), found.as_ref());
        Self {
            what: what.into(),
            expected,
            found,
        }
    }
}

/// All differences; none when the case is well.
pub fn differences(case: &Case, outcome: &Outcome) -> Vec<Difference> {
    let mut found = match (&case.expect.end, &outcome.result) {
        (End::Items(None), Ok(_)) => Vec::new(),
        (End::Items(Some(expected)), Ok(items)) => of_items(expected, items),
        (End::Items(_), Err(failure)) => {
            vec![Difference::new("end", "items", failed(failure))]
        }
        (End::Error { .. }, Ok(items)) => {
            let items: Vec<String> = items.iter().map(show::item).collect();
            let found = format!("items: [{}]", items.join(", "));
            vec![Difference::new("end", "an error", found)]
        }
        (End::Error { text, kind: wanted }, Err(failure)) => {
            of_error(text.as_deref(), *wanted, failure)
        }
    };
    found.extend(of_records(case, outcome));
    found.extend(of_log(case, outcome));
    let left = outcome.faults_left.iter();
    found.extend(left.map(|fault| Difference::new("fault", fault.to_string(), "no such call")));
    found
}

fn failed(failure: &OperatorFailure) -> String {
    let text = failure.to_string();
    format!(
        "error ({}): {}",
        kind(failure),
        show::plain(text.as_bytes())
    )
}

fn of_items(expected: &[Item], found: &[Item]) -> Vec<Difference> {
    let shown = |item: Option<&Item>| item.map_or_else(|| "nothing".to_owned(), show::item);
    let places = 0..expected.len().max(found.len());
    let differing = places.filter_map(|place| {
        let (expected, found) = (expected.get(place), found.get(place));
        let what = format!("item {}", place + 1);
        (expected != found).then(|| Difference::new(what, shown(expected), shown(found)))
    });
    bounded(differing.collect(), "items")
}

fn of_error(
    text: Option<&str>,
    wanted: Option<&'static str>,
    failure: &OperatorFailure,
) -> Vec<Difference> {
    let mut differing = Vec::new();
    if wanted.is_some_and(|wanted| wanted != kind(failure)) {
        let wanted = wanted.unwrap_or_default();
        differing.push(Difference::new("kind", wanted, failed(failure)));
    }
    if let Some(text) = text
        && !failure.to_string().contains(text)
    {
        let expected = format!("a text with {}", show::quoted(text.as_bytes()));
        differing.push(Difference::new("error", expected, failed(failure)));
    }
    differing
}

/// Records that are not as listed, and those not listed that changed.
fn of_records(case: &Case, outcome: &Outcome) -> Vec<Difference> {
    let expect = &case.expect;
    let others = outcome.records.keys().filter(|_| !expect.others_may_change);
    let ids: BTreeSet<&String> = expect.records.keys().chain(others).collect();
    let differing = ids.into_iter().filter_map(|id| {
        let before = case.setup.records.get(id);
        let expected = expect.records.get(id).or(before);
        let found = outcome.records.get(id);
        let what = format!("record {}", show::quoted(id.as_bytes()));
        (expected != found)
            .then(|| Difference::new(what, show::found(expected), show::found(found)))
    });
    bounded(differing.collect(), "records")
}

/// The first expected line that does not come after the one before it.
fn of_log(case: &Case, outcome: &Outcome) -> Option<Difference> {
    let mut lines = outcome.lines.iter();
    let missing = case.expect.log.iter().find(|text| {
        let is_meant = |(_, line): &(_, String)| line.contains(text.as_str());
        !lines.any(is_meant)
    })?;
    let expected = format!("a line with {}", show::quoted(missing.as_bytes()));
    let found = match outcome.lines.as_slice() {
        [] => "no lines".to_owned(),
        lines => format!("{} lines without it, or in another order", lines.len()),
    };
    Some(Difference::new("log", expected, found))
}

fn bounded(mut differing: Vec<Difference>, what: &str) -> Vec<Difference> {
    let count = differing.len();
    if count > SHOWN_MAX {
        differing.truncate(SHOWN_MAX);
        let more = format!("{} more differ", count - SHOWN_MAX);
        differing.push(Difference::new(what, more, "…"));
    }
    differing
}

/// The lines of the log, as people read them.
pub fn log_lines(outcome: &Outcome) -> impl Iterator<Item = String> {
    let lines = outcome.lines.iter();
    lines.map(|(at, line)| format!("{:<5} {}", level(*at), show::plain(line.as_bytes())))
}
