//! Checkpoint tables: sled and the simulated one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use storage::disk::sim::{Fault, Operation, SimTable};
use storage::disk::{DiskError, Place, SledSettings, SledTable, Table, Write};

use crate::world::{chance, lose_all};

type Contents = Vec<(Vec<u8>, Vec<u8>)>;

fn put<'a>(key: &'a str, value: &'a str) -> Write<'a> {
    Write {
        key: key.as_bytes(),
        value: Some(value.as_bytes()),
    }
}

fn remove(key: &str) -> Write<'_> {
    Write {
        key: key.as_bytes(),
        value: None,
    }
}

fn try_contents(table: &dyn Table) -> Result<Contents, DiskError> {
    let mut found = Vec::new();
    table.for_each(&mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(())
    })?;
    Ok(found)
}

fn contents(table: &dyn Table) -> Vec<String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let pairs = try_contents(table).unwrap().into_iter();
    pairs
        .map(|(key, value)| format!("{}={}", text(key), text(value)))
        .collect()
}

fn sled(path: &Path) -> Result<SledTable, DiskError> {
    SledTable::open(path, SledSettings::default())
}

/// sled itself, when the threads of whoever had it open have let go of it.
fn raw(path: &Path) -> sled::Db {
    fs::File::open(path.join("db")).unwrap().lock().unwrap();
    sled::open(path).unwrap()
}

/// Each of the tests takes a table as `reopen` returns it, after the one before it is gone.
fn on_both(test: impl Fn(&mut dyn FnMut() -> Box<dyn Table>)) {
    let disk = SimTable::default();
    test(&mut || Box::new(disk.clone()));
    let directory = tempfile::tempdir().unwrap();
    test(&mut || Box::new(sled(&directory.path().join("a/table")).unwrap()));
}

#[test]
fn contents_come_back_in_the_order_of_their_keys() {
    on_both(|table| {
        let mut first = table();
        assert_eq!(contents(&*first), [""; 0]);
        first
            .apply(&[put("b", "1"), put("a", "2"), put("", "3")])
            .unwrap();
        first
            .apply(&[put("b", "4"), put("c", ""), remove("absent")])
            .unwrap();
        first
            .apply(&[put("d", "5"), remove("a"), remove("d"), put("b", "6")])
            .unwrap();
        assert_eq!(contents(&*first), ["=3", "b=6", "c="]);
        first.flush().unwrap();
        assert!(first.size_on_disk_bytes().unwrap() > 0);
        drop(first);
        assert_eq!(contents(&*table()), ["=3", "b=6", "c="]);
    });
}

#[test]
fn what_the_visitor_refuses_is_corrupt_at_its_key() {
    on_both(|table| {
        let mut table = table();
        table.apply(&[put("good", "1"), put("wrong", "2")]).unwrap();
        let refused = table.for_each(&mut |key, _| match key {
            b"wrong" => Err("no record".to_owned()),
            _ => Ok(()),
        });
        match refused {
            Err(DiskError::Corrupt { place, reason, .. }) => {
                assert_eq!(
                    (place, reason),
                    (Place::Key(b"wrong".to_vec()), "no record".to_owned())
                );
            }
            other => panic!("{other:?}"),
        }
    });
}

/// sled's threads may hold its lock for some time after the handle is gone.
#[test]
fn a_table_can_be_opened_as_soon_as_it_was_dropped() {
    let directory = tempfile::tempdir().unwrap();
    for n in 0..100_u32 {
        let mut table = sled(directory.path()).unwrap();
        let key = n.to_string();
        table.apply(&[put(&key, "value")]).unwrap();
    }
    let table = sled(directory.path()).unwrap();
    assert_eq!(contents(&table).len(), 100);
}

#[test]
fn sled_is_opened_once() {
    let directory = tempfile::tempdir().unwrap();
    let first = sled(directory.path()).unwrap();
    assert!(matches!(
        sled(directory.path()),
        Err(DiskError::Locked { .. })
    ));
    drop(first);
}

/// What somebody else does to the table of two records, in sled's own terms.
fn tampered(tamper: impl FnOnce(&sled::Db)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut table = sled(directory.path()).unwrap();
    table.apply(&[put("a", "1"), put("b", "2")]).unwrap();
    drop(table);
    let db = raw(directory.path());
    tamper(&db);
    drop(db);
    let error = sled(directory.path())
        .and_then(|table| try_contents(&table))
        .unwrap_err();
    assert!(matches!(error, DiskError::Corrupt { .. }));
    error
        .to_string()
        .replace(&directory.path().display().to_string(), "TABLE")
}

const A: &[u8] = b"\x01a";
const B: &[u8] = b"\x01b";

#[test]
fn a_value_in_sled_that_was_not_applied_is_corrupt_at_its_key() {
    let wanted = "TABLE is corrupt at key \"b\": the value's checksum";
    for stored in [b"something".as_slice(), b"", b"\x01\x02"] {
        assert_eq!(tampered(|db| drop(db.insert(B, stored).unwrap())), wanted);
    }
    let exchanged = tampered(|db| {
        let other = db.get(A).unwrap().unwrap();
        db.insert(B, other).unwrap();
    });
    assert_eq!(exchanged, wanted);
}

#[test]
fn a_record_that_sled_has_lost_is_noticed() {
    assert_eq!(
        tampered(|db| drop(db.remove(B).unwrap())),
        "TABLE is corrupt at an unknown place: it holds 1 records and not the 2 that it should"
    );
    let without_digest = tampered(|db| drop(db.remove([0]).unwrap()));
    assert!(without_digest.ends_with("it holds 2 records and not the 0 that it should"));
    let wrong_digest = tampered(|db| drop(db.insert([0], b"wrong").unwrap()));
    assert!(wrong_digest.ends_with("its digest cannot be read"));
}

#[test]
fn an_older_value_that_sled_has_kept_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = sled(directory.path()).unwrap();
    table.apply(&[put("a", "old")]).unwrap();
    drop(table);
    let old = raw(directory.path()).get(A).unwrap().unwrap();
    let mut table = sled(directory.path()).unwrap();
    table.apply(&[put("a", "new")]).unwrap();
    drop(table);
    let db = raw(directory.path());
    db.insert(A, old).unwrap();
    drop(db);
    let error = try_contents(&sled(directory.path()).unwrap()).unwrap_err();
    assert!(matches!(error, DiskError::Corrupt { .. }), "{error}");
}
/// The state after each batch; the first is the empty table.
fn numbered_batches(table: &mut dyn Table) -> Vec<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut states = vec![BTreeMap::new()];
    for batch in 0..20_u8 {
        let mut state = states[states.len() - 1].clone();
        for n in 0..100_u32 {
            let key = format!("record-{:04}", (u32::from(batch) * 60 + n) * 7_919 % 1_300);
            state.insert(key.into_bytes(), vec![batch; 300]);
        }
        let changed = |(_, value): &(&Vec<u8>, &Vec<u8>)| value[0] == batch;
        let writes: Vec<_> = state
            .iter()
            .filter(changed)
            .map(|(key, value)| Write {
                key,
                value: Some(value),
            })
            .collect();
        table.apply(&writes).unwrap();
        states.push(state);
    }
    table.flush().unwrap();
    states
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// What a reader makes of a damaged table: an error, or the state after some batch.
fn check_damaged(directory: &Path, states: &[BTreeMap<Vec<u8>, Vec<u8>>]) -> &'static str {
    match sled(directory).and_then(|table| try_contents(&table)) {
        Err(DiskError::Corrupt { .. } | DiskError::Format { .. } | DiskError::Io { .. }) => "error",
        Err(other) => panic!("{other}"),
        Ok(found) => {
            let found: BTreeMap<_, _> = found.into_iter().collect();
            let batch = states.iter().position(|state| *state == found);
            match batch.expect("a state that no batch has left") {
                last if last + 1 == states.len() => "same",
                _ => "earlier",
            }
        }
    }
}

/// Damages sled's file at many places, before and after it has written a snapshot.
#[test]
fn whatever_happens_to_its_file_sled_shows_what_a_batch_left_or_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole");
    let states = numbered_batches(&mut sled(&whole).unwrap());
    let mut outcomes = BTreeMap::new();
    for has_snapshot in [false, true] {
        if has_snapshot {
            drop(sled(&whole).unwrap());
        }
        let bytes = fs::read(whole.join("db")).unwrap();
        for n in 0..30 {
            let offset = n * bytes.len() / 30;
            let mut flipped = bytes.clone();
            flipped[offset] ^= 0x55;
            let mut zeroed = bytes.clone();
            zeroed[offset..].fill(0);
            for damaged_bytes in [&flipped, &zeroed, &bytes[..offset]] {
                let damaged = directory.path().join("damaged");
                copy(&whole, &damaged);
                fs::write(damaged.join("db"), damaged_bytes).unwrap();
                *outcomes
                    .entry(check_damaged(&damaged, &states))
                    .or_insert(0) += 1;
                fs::remove_dir_all(&damaged).unwrap();
            }
        }
    }
    for outcome in ["error", "same", "earlier"] {
        assert!(outcomes[outcome] > 10, "{outcomes:?}");
    }
}

#[test]
fn a_crash_keeps_a_prefix_of_the_batches_through_the_last_flush() {
    for seed in 0..50 {
        let disk = SimTable::default();
        let mut table = disk.clone();
        for batch in 1..=9_u8 {
            table
                .apply(&[
                    Write {
                        key: &[batch],
                        value: Some(b""),
                    },
                    Write {
                        key: b"last",
                        value: Some(&[batch]),
                    },
                ])
                .unwrap();
            if batch == 4 {
                table.flush().unwrap();
            }
        }
        disk.crash(&mut chance(seed));
        let found = try_contents(&disk).unwrap();
        let (last, before) = found.split_last().unwrap();
        let kept = last.1[0];
        assert!((4..=9).contains(&kept));
        assert_eq!(before.len(), usize::from(kept));
        // What a crash has kept is durable.
        disk.crash(&mut lose_all);
        assert_eq!(try_contents(&disk).unwrap(), found);
        match seed {
            0 => assert_eq!(kept, 4),
            1 => assert_eq!(kept, 9),
            _ => {}
        }
    }
}

#[test]
fn a_failed_batch_changes_nothing_and_a_failed_flush_keeps_nothing() {
    let disk = SimTable::default();
    let mut table = disk.clone();
    table.apply(&[put("a", "1")]).unwrap();
    for operation in [Operation::Apply, Operation::Flush] {
        disk.plan(Fault {
            operation: Some(operation),
            after: 0,
            lasting: false,
        });
    }
    assert!(matches!(
        table.apply(&[put("a", "2")]),
        Err(DiskError::Io { .. })
    ));
    assert!(matches!(table.flush(), Err(DiskError::Io { .. })));
    disk.set_bytes_max(Some(3));
    assert!(matches!(
        table.apply(&[put("b", "3")]),
        Err(DiskError::Full { .. })
    ));
    table.apply(&[remove("absent")]).unwrap();
    assert_eq!(contents(&table), ["a=1"]);
    disk.crash(&mut lose_all);
    assert_eq!(contents(&table), [""; 0]);
}
