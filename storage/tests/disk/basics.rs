//! The log without faults, on simulated and real files alike.

use std::fs;

use storage::disk::sim::SimFiles;
use storage::disk::{DiskError, Files, RealFiles};

use crate::world::{numbered, open, open_after};

/// Each of the tests takes files as `reopen` returns them, after the log that used them is gone.
fn on_both(test: impl Fn(&mut dyn FnMut() -> Box<dyn Files>)) {
    let disk = SimFiles::default();
    test(&mut || Box::new(disk.clone()));
    let directory = tempfile::tempdir().unwrap();
    test(&mut || Box::new(RealFiles::open(directory.path().join("a/log")).unwrap()));
}

#[test]
fn entries_come_back_in_order_with_their_sequences() {
    on_both(|files| {
        let (mut log, recovered, _) = open(files()).unwrap();
        assert_eq!((recovered.bytes, log.last_sequence()), (0, 0));
        assert_eq!(log.append(&["one", "two"]), Ok(2));
        assert_eq!(log.append(&[""]), Ok(3));
        assert_eq!(log.append::<&[u8]>(&[]), Ok(3));
        assert_eq!((log.synced_sequence(), log.last_sequence()), (0, 3));
        log.sync().unwrap();
        assert_eq!(log.synced_sequence(), 3);
        drop(log);

        let (mut log, recovered, entries) = open(files()).unwrap();
        assert_eq!(entries, numbered(&[(1, "one"), (2, "two"), (3, "")]));
        assert_eq!(recovered.torn, None);
        assert_eq!((log.synced_sequence(), log.last_sequence()), (3, 3));
        assert_eq!(log.append(&["four"]), Ok(4));
        drop(log);

        let (_, _, entries) = open_after(files(), 2).unwrap();
        assert_eq!(entries, numbered(&[(3, ""), (4, "four")]));
    });
}

#[test]
fn segments_rotate_at_their_bound_and_are_dropped_when_covered() {
    on_both(|files| {
        let (mut log, ..) = open(files()).unwrap();
        for sequence in 1..=10 {
            assert_eq!(log.append(&[[b'x'; 200]]), Ok(sequence));
        }
        // Two frames of 240 bytes fit into 600, a third does not.
        assert_eq!(log.synced_sequence(), 8);
        assert_eq!(log.append(&[[b'y'; 2_000]]), Ok(11));
        log.sync().unwrap();
        let before = log.bytes();
        log.drop_through(5).unwrap();
        assert_eq!(before - log.bytes(), 2 * (24 + 2 * 240));
        drop(log);

        let (mut log, _, entries) = open_after(files(), 5).unwrap();
        assert_eq!(entries.first().unwrap().0, 6);
        assert_eq!(entries.len(), 6);
        // The newest is kept, or the log would count from 1 again.
        log.drop_through(100).unwrap();
        drop(log);
        let (log, _, entries) = open_after(files(), 10).unwrap();
        assert_eq!(entries, [(11, vec![b'y'; 2_000])]);
        assert_eq!(log.last_sequence(), 11);
    });
}

#[test]
fn a_checkpoint_that_the_log_does_not_meet_is_an_error() {
    on_both(|files| {
        let missing = open_after(files(), 3).err().unwrap();
        assert!(
            missing.to_string().contains("ends with entry 0"),
            "{missing}"
        );
        let (mut log, ..) = open(files()).unwrap();
        for _ in 0..6 {
            log.append(&[[b'x'; 200]]).unwrap();
        }
        log.drop_through(4).unwrap();
        drop(log);
        let missing = open_after(files(), 2).err().unwrap();
        assert_eq!(
            missing.to_string(),
            "00000000000000000005.log is corrupt at an unknown place: entries 3 to 4 before it are missing"
        );
        let missing = open_after(files(), 7).err().unwrap();
        assert!(
            missing.to_string().contains("ends with entry 6"),
            "{missing}"
        );
        assert!(open_after(files(), 6).is_ok());
    });
}

#[test]
fn what_the_visitor_refuses_is_corrupt() {
    on_both(|files| {
        let (mut log, ..) = open(files()).unwrap();
        log.append(&["good"]).unwrap();
        log.append(&["bad"]).unwrap();
        drop(log);
        let refusal = |_, entry: &[u8]| match entry {
            b"bad" => Err("not a change".to_owned()),
            _ => Ok(()),
        };
        let error = storage::disk::Log::open(files(), crate::world::SETTINGS, 0, refusal)
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "00000000000000000001.log is corrupt at offset 68: not a change"
        );
    });
}

#[test]
fn a_batch_is_one_write_and_a_sync_one_sync() {
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    log.append(&["first"]).unwrap();
    let before = (disk.counters(), log.counters());
    log.append(&["a", "b", "c"]).unwrap();
    log.sync().unwrap();
    log.sync().unwrap();
    let after = (disk.counters(), log.counters());
    assert_eq!(after.0.operations - before.0.operations, 2);
    assert_eq!(after.0.syncs - before.0.syncs, 1);
    assert_eq!(after.1.syncs - before.1.syncs, 1);
    assert_eq!(after.1.frames - before.1.frames, 1);
    assert_eq!(after.1.entries - before.1.entries, 3);
    assert_eq!(after.1.bytes - before.1.bytes, 36 + 3 * 5);
}

#[test]
fn who_comes_while_its_predecessor_lets_go_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let first = RealFiles::open(directory.path()).unwrap();
    let path = directory.path().to_owned();
    let (comes, came) = std::sync::mpsc::channel();
    let second = std::thread::spawn(move || {
        comes.send(()).unwrap();
        RealFiles::open(path).map(drop)
    });
    came.recv().unwrap();
    drop(first);
    second.join().unwrap().unwrap();
}

#[test]
fn a_directory_has_one_user_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = RealFiles::open(directory.path()).unwrap();
    assert_eq!(
        RealFiles::open(directory.path()).err().unwrap(),
        DiskError::Locked {
            path: directory.path().display().to_string()
        }
    );
    drop(first);
    RealFiles::open(directory.path()).unwrap();
}

#[test]
fn files_of_others_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let strangers = ["1.log", "notes.txt", "00000000000000000001.log.bak"];
    for name in strangers {
        fs::write(directory.path().join(name), "not a segment").unwrap();
    }
    fs::create_dir(directory.path().join("00000000000000000001.log.d")).unwrap();
    let (mut log, ..) = open(RealFiles::open(directory.path()).unwrap()).unwrap();
    log.append(&["entry"]).unwrap();
    drop(log);
    let (_, _, entries) = open(RealFiles::open(directory.path()).unwrap()).unwrap();
    assert_eq!(entries, numbered(&[(1, "entry")]));
    for name in strangers {
        let text = fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(text, "not a segment");
    }
}

#[test]
fn errors_name_the_path() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = RealFiles::open(directory.path()).unwrap();
    let missing = directory.path().join("missing").display().to_string();
    for error in [
        files.read("missing").map(drop),
        files.append("missing", b"x"),
        files.sync("missing"),
        files.truncate("missing", 0),
        files.remove("missing"),
    ] {
        let error = error.unwrap_err();
        assert!(
            matches!(&error, DiskError::Io { path, .. } if *path == missing),
            "{error}"
        );
    }
}
