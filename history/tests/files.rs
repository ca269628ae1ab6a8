//! Histories in files: each is judged as the golden beside it says. `UPDATE_EXPECT=1` writes the goldens anew.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use common::types::Version;
use expect_test::expect_file;
use history::edn::edn;
use history::line::{Event, Function, Header, Kind, Line};
use history::{Recorded, check, read};
use proptest::prelude::*;

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files")
}

#[test]
fn good_and_bad_histories_are_told_apart() {
    let mut seen = (0, 0);
    for entry in fs::read_dir(files()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
            || name == "wrong"
        {
            continue;
        }
        let text = fs::read(&path).unwrap();
        let verdict = check(&read(&name, &text[..]).unwrap());
        expect_file![path.with_extension("out")].assert_eq(&format!("{name}: {verdict}"));
        assert_eq!(verdict.holds(), name.starts_with("good"), "{name}");
        if verdict.holds() {
            seen.0 += 1;
        } else {
            seen.1 += 1;
        }
    }
    assert!(seen.0 >= 2 && seen.1 >= 9, "{seen:?}");
}

#[test]
fn wrong_lines_are_told_all_at_once() {
    let text = fs::read(files().join("wrong.jsonl")).unwrap();
    let wrong = read("wrong.jsonl", &text[..]).unwrap_err();
    let told: String = wrong.iter().map(|wrong| wrong.render(false)).collect();
    expect_file![files().join("wrong.out")].assert_eq(&told);
}

#[test]
fn nothing_is_no_history() {
    let wrong = read("empty", &b"\n\n"[..]).unwrap_err();
    assert_eq!(wrong.len(), 1);
    let wrong = read("other", &b"{\"a\":1}\n{\"event\":\"invoke\"}\n"[..]).unwrap_err();
    assert_eq!(wrong.len(), 2, "{wrong:?}");
}

#[test]
fn a_history_is_exported_as_jepsen_has_it() {
    let text = fs::read(files().join("good.jsonl")).unwrap();
    let recorded = read("good.jsonl", &text[..]).unwrap();
    expect_file![files().join("good.edn")].assert_eq(&edn(&recorded));
}

/// A storage that answers rightly: each operation takes effect at once, somewhere between its invocation and its end.
struct Clients {
    random: u64,
    lines: Vec<Line>,
    /// By record: the newest.
    held: Vec<(Version, Option<String>)>,
    /// By client: what it waits for.
    open: Vec<Option<Line>>,
    records: u64,
}

impl Clients {
    fn new(seed: u64, clients: usize, records: u64) -> Self {
        let held = (0..records).map(|_| (Version::NULL, None)).collect();
        Self {
            random: seed,
            lines: Vec::new(),
            held,
            open: vec![None; clients],
            records,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) % end
    }

    fn step(&mut self, operations: &mut u64) {
        let client = usize::try_from(self.below(self.open.len() as u64)).unwrap();
        let time = Some(self.lines.len() as u64);
        if let Some(end) = self.open[client].take() {
            self.lines.push(Line { time, ..end });
            return;
        }
        *operations += 1;
        // A third of all is asked of one record.
        let record = if self.below(3) == 0 {
            0
        } else {
            self.below(self.records)
        };
        let (function, read) = match self.below(3) {
            0 => (Function::Read, Some(Kind::Linearizable)),
            _ => (Function::UpdateIfValueIs, None),
        };
        let mut line = Line {
            time,
            operation: Some(*operations),
            process: Some(format!("c{client}")),
            function: Some(function),
            read,
            record: Some(format!("r{record}")),
            ..Line::default()
        };
        let index = usize::try_from(record).unwrap();
        let (version, value) = self.held[index].clone();
        if read.is_none() {
            line.old.clone_from(&value);
            if self.below(4) == 0 {
                line.old = Some("else".to_owned());
            }
            line.value = Some(format!("{}", self.below(5)));
            line.id = Some(format!("c{client}/{operations}"));
        }
        self.lines.push(line.clone());
        let mut end = Line {
            event: Event::Ok,
            operation: line.operation,
            ..Line::default()
        };
        if read.is_some() || line.old != value {
            end.event = if read.is_some() {
                Event::Ok
            } else {
                Event::Fail
            };
            (end.version, end.value) = (Some(version), value);
            self.open[client] = Some(end);
            return;
        }
        let is_unknown = self.below(10) == 0;
        if !is_unknown || self.below(2) == 0 {
            let made = version.successor();
            self.held[index] = (made, line.value);
            end.version = Some(made);
        }
        if is_unknown {
            end = Line {
                event: Event::Unknown,
                operation: line.operation,
                ..Line::default()
            };
        }
        self.open[client] = Some(end);
    }

    fn history(seed: u64, clients: usize, records: u64, length: u64) -> Vec<u8> {
        let mut them = Self::new(seed, clients, records);
        let mut operations = 0;
        while operations < length {
            them.step(&mut operations);
        }
        text(&them.lines)
    }
}

fn text(lines: &[Line]) -> Vec<u8> {
    let mut text = serde_json::to_vec(&Header::new("majority", Vec::new())).unwrap();
    for line in lines {
        text.push(b'\n');
        serde_json::to_writer(&mut text, line).unwrap();
    }
    text
}

fn recorded(text: &[u8]) -> Recorded {
    read("made", text).unwrap()
}

#[test]
fn ten_thousand_operations_over_a_hundred_records_hold() {
    let text = Clients::history(7, 40, 100, 10_000);
    let verdict = check(&recorded(&text));
    assert!(verdict.holds(), "{verdict}");
    assert_eq!((verdict.operations, verdict.records), (10_000, 100));
}

proptest! {
    #[test]
    fn what_a_right_storage_answers_holds_and_one_other_value_does_not(
        seed: u64, clients in 1..8_usize, records in 1..5_u64, chosen: prop::sample::Index
    ) {
        let good = Clients::history(seed, clients, records, 60);
        let mut recorded = recorded(&good);
        let verdict = check(&recorded);
        prop_assert!(verdict.holds(), "{verdict}");
        let read = |line: &Line| line.event != Event::Invoke && line.value.is_some();
        let reads = recorded.lines.iter_mut().filter(|(_, line)| read(line)).collect::<Vec<_>>();
        if !reads.is_empty() {
            let mut reads = reads;
            let index = chosen.index(reads.len());
            reads[index].1.value = Some("never written".to_owned());
            let verdict = check(&recorded);
            prop_assert!(!verdict.holds(), "{verdict}");
            let rows = verdict.broken.iter().map(|broken| broken.rows.len());
            prop_assert!(rows.max().unwrap_or(0) <= 8, "{verdict}");
        }
    }
}
