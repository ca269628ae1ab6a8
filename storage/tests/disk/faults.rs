//! Full disks, failed syncs, limits.

use storage::disk::sim::{Fault, Operation, SimFiles};
use storage::disk::{DiskError, Files, Log};

use crate::world::{SETTINGS, keep_all, lose_all, numbered, open};

fn once(operation: Operation) -> Fault {
    Fault {
        operation: Some(operation),
        after: 0,
        lasting: false,
    }
}

fn used(disk: &SimFiles) -> u64 {
    let names = disk.list().unwrap();
    names
        .iter()
        .map(|name| disk.read(name).unwrap().len() as u64)
        .sum()
}

/// At every number of bytes that are left, with and without a rotation.
#[test]
fn a_full_disk_refuses_a_batch_and_takes_it_when_there_is_room() {
    for first_bytes in [10, 550] {
        for left in 0..84 + 24 {
            let disk = SimFiles::default();
            let (mut log, ..) = open(disk.clone()).unwrap();
            log.append(&[vec![b'a'; first_bytes]]).unwrap();
            let rotates = first_bytes == 550;
            let needed = 36 + 4 + 44 + if rotates { 24 } else { 0 };
            disk.set_bytes_max(Some(used(&disk) + left));
            let full = log.append(&[[b'b'; 44]]).err();
            if left >= needed {
                assert_eq!(full, None);
                continue;
            }
            assert!(
                matches!(full, Some(DiskError::Full { .. })),
                "{left} bytes left: {full:?}"
            );
            assert_eq!((log.last_sequence(), log.poisoned()), (1, None));
            log.sync().unwrap();
            // A restart finds the same, also while the disk is full.
            let (_, _, entries) = open(disk.clone()).unwrap();
            assert_eq!(entries, [(1, vec![b'a'; first_bytes])]);
            disk.set_bytes_max(None);
            assert_eq!(log.append(&[[b'c'; 44]]), Ok(2));
            log.sync().unwrap();
            disk.crash(&mut lose_all);
            let (_, recovered, entries) = open(disk.clone()).unwrap();
            assert_eq!(entries.last().unwrap(), &(2, vec![b'c'; 44]));
            assert_eq!(recovered.torn, None);
        }
    }
}

#[test]
fn a_checkpoint_makes_room_on_a_full_disk() {
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    disk.set_bytes_max(Some(1_500));
    let full = loop {
        match log.append(&[[1; 100]]) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(full, DiskError::Full { .. }));
    log.sync().unwrap();
    log.drop_through(log.synced_sequence()).unwrap();
    log.append(&[[2; 100]]).unwrap();
}

#[test]
fn after_a_failed_sync_nothing_is_taken_until_what_is_in_doubt_is_cut_off() {
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    log.append(&["kept"]).unwrap();
    log.sync().unwrap();
    log.append(&["in doubt"]).unwrap();
    disk.plan(once(Operation::Sync));
    let failed = log.sync().unwrap_err();
    assert!(matches!(
        failed,
        DiskError::Io {
            operation: "sync",
            ..
        }
    ));

    let refused = DiskError::Poisoned {
        cause: Box::new(failed),
    };
    assert_eq!(log.append(&["refused"]), Err(refused.clone()));
    assert_eq!(log.sync(), Err(refused.clone()));
    assert_eq!(log.drop_through(1), Err(refused));
    assert_eq!(log.synced_sequence(), 1);

    log.reopen(false).unwrap();
    assert_eq!((log.last_sequence(), log.poisoned()), (1, None));
    assert_eq!(log.append(&["new"]), Ok(2));
    log.sync().unwrap();
    drop(log);
    disk.crash(&mut lose_all);
    let (.., entries) = open(disk).unwrap();
    assert_eq!(entries, numbered(&[(1, "kept"), (2, "new")]));
}

#[test]
fn a_failed_reopen_leaves_the_log_poisoned() {
    for operation in [Operation::Truncate, Operation::SyncDirectory] {
        let disk = SimFiles::default();
        let (mut log, ..) = open(disk.clone()).unwrap();
        log.append(&["in doubt"]).unwrap();
        disk.plan(once(Operation::Sync));
        disk.plan(once(operation));
        log.sync().unwrap_err();
        log.reopen(false).unwrap_err();
        assert!(log.append(&["refused"]).is_err());
        log.reopen(false).unwrap();
        assert_eq!(log.append(&["taken"]), Ok(1));
    }
}

#[test]
fn a_failed_append_that_cannot_be_cut_back_poisons_the_log() {
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    log.append(&["kept"]).unwrap();
    log.sync().unwrap();
    disk.plan(once(Operation::Append));
    disk.plan(once(Operation::Truncate));
    assert!(matches!(
        log.append(&["lost"]),
        Err(DiskError::Io {
            operation: "append to",
            ..
        })
    ));
    assert!(matches!(
        log.append(&["refused"]),
        Err(DiskError::Poisoned { .. })
    ));
    // Without a reopen the half of a frame is a torn tail.
    disk.crash(&mut keep_all);
    let (_, recovered, entries) = open(disk).unwrap();
    assert_eq!(entries, numbered(&[(1, "kept")]));
    assert!(recovered.torn.is_some());
}

#[test]
fn a_batch_beyond_the_bound_is_refused_and_nothing_is_written() {
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    let mebibyte = vec![0; 1 << 20];
    let entries = vec![mebibyte.as_slice(); 257];
    let bytes = 257 * ((1 << 20) + 4);
    assert_eq!(
        log.append(&entries),
        Err(DiskError::TooLong {
            bytes,
            bytes_max: 256 << 20
        })
    );
    assert_eq!(used(&disk), 0);
    assert_eq!(log.append(&["short"]), Ok(1));
}

#[test]
fn errors_of_the_system_are_told_apart() {
    let path = std::path::Path::new("/data/x");
    // ENOSPC, EDQUOT, EFBIG; EIO, EACCES
    for (code, is_full) in [(28, true), (122, true), (27, true), (5, false), (13, false)] {
        let error = std::io::Error::from_raw_os_error(code);
        let error = DiskError::from_io("sync", path, &error);
        assert_eq!(matches!(error, DiskError::Full { .. }), is_full, "{error}");
        assert!(error.to_string().contains("/data/x"), "{error}");
    }
}

#[test]
fn a_log_opens_on_a_full_disk() {
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    log.append(&["kept"]).unwrap();
    disk.set_bytes_max(Some(used(&disk)));
    let opened = Log::open(disk, SETTINGS, 0, |_, _| Ok(())).map(|(log, _)| log.last_sequence());
    assert_eq!(opened, Ok(1));
}

#[test]
fn what_was_appended_stays_where_nobody_waits_for_a_sync() {
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    log.append(&["acknowledged"]).unwrap();
    disk.plan(Fault {
        operation: Some(Operation::Append),
        after: 0,
        lasting: false,
    });
    log.append(&["refused"]).unwrap_err();
    log.reopen(true).unwrap();
    assert_eq!(log.append(&["later"]), Ok(2));
    log.sync().unwrap();
    drop(log);
    disk.crash(&mut lose_all);
    let (.., entries) = open(disk).unwrap();
    assert_eq!(entries, numbered(&[(1, "acknowledged"), (2, "later")]));
}
