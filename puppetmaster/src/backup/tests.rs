//! A file is whole, or it is not accepted.

use super::*;
use common::proto::{BackupPartitions, PartitionTimestamp, RecordCopies, RecordCopy};
use common::types::{CommitMode, Ring};

fn ring() -> Ring {
    let nodes = Ring::parse_nodes("s1=http://localhost:3000").unwrap();
    Ring::new(nodes, None, CommitMode::Majority, 10).unwrap()
}

fn copies(records: &[&str]) -> RecordCopies {
    let copy = |record: &&str| RecordCopy {
        record: (*record).to_owned(),
        state: None,
    };
    RecordCopies {
        records: records.iter().map(copy).collect(),
    }
}

fn started(path: &Path) -> Writer {
    let mut writer = Writer::create(path, "test", (&ring()).into()).unwrap();
    writer
        .partitions(BackupPartitions {
            node: "s1".to_owned(),
            partitions: vec![PartitionTimestamp::default(); 2],
        })
        .unwrap();
    writer.records(copies(&["a", "b"])).unwrap();
    writer.records(copies(&["c"])).unwrap();
    writer
}

fn records(path: &Path) -> Vec<String> {
    let mut reader = Reader::open(path).unwrap();
    let pages = std::iter::from_fn(|| reader.records().unwrap());
    pages.flatten().map(|copy| copy.record).collect()
}

#[test]
fn what_was_written_is_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("copy");
    started(&path).finish().unwrap();
    let trailer = started(&path).finish().unwrap();
    assert_eq!(
        (trailer.frames, trailer.partitions, trailer.records),
        (4, 2, 3)
    );
    let contents = check(&path).unwrap();
    assert_eq!((contents.ring, contents.trailer), (ring(), trailer));
    assert_eq!(records(&path), ["a", "b", "c"]);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn an_interrupted_backup_leaves_nothing_and_what_was_there_before() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("copy");
    std::fs::write(&path, "MRNT-BAK, older").unwrap();
    drop(started(&path));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "MRNT-BAK, older");
}

#[test]
fn only_a_backup_is_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let refused = |path: &Path| {
        let refused = Writer::create(path, "test", (&ring()).into()).unwrap_err();
        refused.to_string()
    };
    let script = place.path().join("script.pm");
    for text in ["", "read a\n"] {
        std::fs::write(&script, text).unwrap();
        assert!(refused(&script).ends_with("is no backup: it is not overwritten"));
        assert_eq!(std::fs::read_to_string(&script).unwrap(), text);
    }
    assert!(refused(place.path()).ends_with("is a directory"));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_was_cut_or_changed_anywhere_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("copy");
    started(&path).finish().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(check(&path).is_err(), "cut at {length}");
    }
    for offset in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[offset] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(check(&path).is_err(), "changed at {offset}");
    }
    let longer = [whole.as_slice(), &[0; 9]].concat();
    std::fs::write(&path, longer).unwrap();
    assert!(
        matches!(check(&path), Err(FileError::Damaged { offset, .. }) if offset == whole.len() as u64)
    );
}
