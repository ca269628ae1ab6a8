//! Data directories that are whole, torn, damaged, or in use; real files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use common::fabric::Address;
use common::types::{CommitMode, RecordVersion, Ring, UpdateId, Version};
use storage::SyncMode;
use storage::core::durable::Founding;
use storage::core::message::{Ask, Decision, LogRecord, Outcome, Update};
use storage::core::record::RecordChange;
use storage::core::{Change, Input, Level};
use storage::disk::LogSettings;
use storage::engine::directory::Directory;
use storage::engine::store::Store;
use storage::engine::{Engine, EngineStats};
use storage::node::Node;
use storage::verify::{Report, VerifyError, verify};
use tempfile::TempDir;

fn founding() -> Founding {
    let address = Address::parse("http://localhost:3000").unwrap();
    let nodes = vec![("s1".to_owned(), address)];
    Founding {
        replica: 1,
        ring: Ring::new(nodes, None, CommitMode::Majority, 3).unwrap(),
        disk: 7,
        replaces: false,
        incarnation: 1,
    }
}

fn store(directory: &Path) -> Store<Directory> {
    let settings = LogSettings {
        segment_bytes_max: 4_096,
    };
    let mut store = Store::new(Directory(directory.to_owned()), SyncMode::Always, settings);
    store.recover().unwrap();
    store
}

fn commit(node: &mut Node, store: &mut Store<Directory>) {
    let stats: EngineStats = store.stats();
    // Also what nobody waits for.
    node.step(0, Input::Tick);
    while let Some(batch) = node.hand_over(0, stats) {
        store.commit(&batch.changes).unwrap();
        node.committed(batch.changes);
        if let Some(slice) = batch.slice {
            store.save(slice).unwrap();
        }
    }
}

fn id(sequence: u64) -> UpdateId {
    UpdateId {
        origin: "test".to_owned(),
        sequence,
    }
}

/// What a node leaves that has made `updates` writes and compare-and-swaps, with checkpoints on the way.
fn written(updates: u64) -> TempDir {
    written_with(updates, 8_192)
}

fn written_with(updates: u64, checkpoint_bytes: u64) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut store = store(directory.path());
    let mut node = Node::found(0, 0, founding(), true);
    node.checkpoint_every(checkpoint_bytes);
    commit(&mut node, &mut store);
    for number in 0..updates {
        let record = format!("r{}", number % 7);
        let value = Some(Bytes::from(format!("value {number}")));
        let input = if number % 3 == 0 {
            Input::UpdateIf {
                token: number,
                update: Update {
                    id: id(number),
                    record,
                    ask: Ask::IfValueIs {
                        old: None,
                        new: value,
                    },
                    task: None,
                },
            }
        } else {
            Input::Write {
                token: number,
                id: id(number),
                record,
                value,
                level: Level::One,
                above: Version::NULL,
                task: None,
            }
        };
        node.step(0, input);
        commit(&mut node, &mut store);
    }
    directory
}

/// Every file with its bytes.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// What is found, and that nothing was changed.
fn verified(directory: &Path) -> Result<Report, VerifyError> {
    let before = contents(directory);
    let found = verify(directory);
    assert!(contents(directory) == before, "the directory was changed");
    found
}

fn damage(directory: &Path) -> String {
    match verified(directory) {
        Err(VerifyError::Damaged(why)) => why,
        other => panic!("not damaged, but {other:?}"),
    }
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let log = contents(&directory.join("log"));
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|is| is == "log");
    log.into_keys().filter(is_segment).collect()
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[offset] ^= 0x40;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn what_a_node_leaves_is_whole() {
    let directory = written(400);
    let report = verified(directory.path()).unwrap();
    let owner = report.owner.clone();
    assert_eq!((owner.node.as_str(), owner.replica), ("s1", 1));
    assert_eq!(
        (owner.ring.as_str(), owner.disk),
        ("s1=http://localhost:3000", 7)
    );
    assert_eq!((report.records, report.versions), (7, 21));
    assert!(report.covers > 0 && report.table_keys > 7, "{report:?}");
    assert!(
        report.changes > 400 && report.log_segments > 1,
        "{report:?}"
    );
    assert_eq!((report.torn, report.undecided.len()), (None, 0));
}

#[test]
fn a_torn_tail_is_told_and_left_where_it_is() {
    let directory = written(20);
    let last = segments(directory.path()).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, &bytes[..bytes.len() - 3]).unwrap();
    let torn = verified(directory.path()).unwrap().torn.unwrap();
    assert_eq!(Some(torn.file.as_str()), last.file_name().unwrap().to_str());
    assert_eq!(torn.offset + torn.bytes, bytes.len() as u64 - 3);
}

#[test]
fn a_flipped_bit_of_the_log_is_found_with_its_file_and_offset() {
    for offset in [3, 30, 70, 200, 1_000, 2_000] {
        let directory = written(400);
        let first = segments(directory.path()).remove(0);
        flip(&first, offset);
        let why = damage(directory.path());
        assert!(
            why.contains(&first.display().to_string()),
            "{offset}: {why}"
        );
        assert!(why.contains("at offset "), "{offset}: {why}");
    }
}

#[test]
fn a_missing_segment_is_found() {
    let directory = written_with(400, u64::MAX);
    let missing = segments(directory.path());
    std::fs::remove_file(&missing[1]).unwrap();
    assert!(damage(directory.path()).contains(&missing[2].display().to_string()));
    let directory = written(400);
    for segment in segments(directory.path()) {
        std::fs::remove_file(segment).unwrap();
    }
    assert!(damage(directory.path()).contains("a checkpoint covers"));
}

#[test]
fn a_damaged_or_missing_table_is_found() {
    let directory = written(400);
    let table = directory.path().join("table");
    let database = table.join("db");
    let bytes = std::fs::read(&database).unwrap();
    let at = bytes.windows(5).position(|is| is == b"value").unwrap();
    flip(&database, at);
    // sled may take what it cannot read for torn, and show an older table: then the log does not meet it.
    damage(directory.path());
    std::fs::remove_dir_all(&table).unwrap();
    let first = segments(directory.path()).remove(0);
    assert!(damage(directory.path()).contains(&first.display().to_string()));
}

#[test]
fn what_a_correct_node_never_writes_is_found() {
    let founded = Change::Founded(founding());
    let version = |number, value: &str| RecordVersion {
        version: Version::write(number, 1),
        value: Some(Bytes::from(value.to_owned())),
    };
    let change = |change| Change::Record {
        record: "a".to_owned(),
        change,
    };
    let decided = |slot| {
        let found = version(1, "x");
        let decision = Decision {
            id: id(slot),
            outcome: Outcome::Mismatch { found },
            note: None,
        };
        change(RecordChange::Decide(LogRecord {
            slot,
            decisions: vec![decision],
        }))
    };
    let merge = |value| change(RecordChange::Merge(version(1, value)));
    for (changes, named) in [
        (
            vec![decided(1), decided(3)],
            "slot 3 is decided after slot 1",
        ),
        (vec![merge("x"), merge("y")], "version 2.1 has two values"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = store(directory.path());
        store.commit(std::slice::from_ref(&founded)).unwrap();
        for change in &changes {
            store.commit(std::slice::from_ref(change)).unwrap();
        }
        drop(store);
        let why = damage(directory.path());
        assert!(why.contains("record `a`") && why.contains(named), "{why}");
        assert!(why.contains("00000000000000000001.log"), "{why}");
    }
}

#[test]
fn a_directory_in_use_and_one_without_data_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        verified(directory.path()),
        Err(VerifyError::NoData(_))
    ));
    let mut used = store(directory.path());
    used.commit(&[Change::Founded(founding())]).unwrap();
    let Err(VerifyError::Unreadable(error)) = verify(directory.path()) else {
        panic!("in use");
    };
    assert!(error.to_string().contains("in use by another process"));
    drop(used);
    assert_eq!(verified(directory.path()).unwrap().records, 0);
}
