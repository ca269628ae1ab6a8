//! Torn tails are cut off, damage is reported with its place; byte by byte.

use storage::disk::sim::SimFiles;
use storage::disk::{DiskError, Files, Place};

use crate::world::{chance, keep_all, lose_all, open};

const FIRST: &str = "00000000000000000001.log";
const HEADER: usize = 24;
/// A frame with one entry of 20 bytes.
const FRAME: usize = 36 + 4 + 20;

fn entry(number: u8) -> Vec<u8> {
    vec![number; 20]
}

/// `synced` frames of one entry, each followed by a sync, then `unsynced` ones.
fn written(synced: u8, unsynced: u8) -> SimFiles {
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    for number in 1..=synced + unsynced {
        log.append(&[entry(number)]).unwrap();
        if number <= synced {
            log.sync().unwrap();
        }
    }
    disk
}

/// The disk with one file's bytes replaced.
fn with(name: &str, bytes: &[u8], others: &SimFiles) -> SimFiles {
    let mut disk = SimFiles::default();
    for other in others.list().unwrap() {
        disk.create(&other).unwrap();
        let original = others.read(&other).unwrap();
        disk.append(&other, if other == name { bytes } else { &original })
            .unwrap();
    }
    disk
}

/// Where the log is corrupt.
fn corrupt_at(disk: SimFiles) -> (String, u64) {
    match open(disk).err() {
        Some(DiskError::Corrupt {
            file,
            place: Place::Offset(offset),
            ..
        }) => (file, offset),
        other => panic!("not corrupt, but {other:?}"),
    }
}

/// The log has exactly so many entries, and goes on.
fn assert_recovered(disk: &SimFiles, entries: u8) {
    let (mut log, _, found) = open(disk.clone()).unwrap();
    let wanted: Vec<_> = (1..=entries).map(|n| (u64::from(n), entry(n))).collect();
    assert_eq!(found, wanted);
    log.append(&[entry(entries + 1)]).unwrap();
    log.sync().unwrap();
    drop(log);
    disk.crash(&mut lose_all);
    let (.., found) = open(disk.clone()).unwrap();
    assert_eq!(
        found.last().unwrap(),
        &(u64::from(entries) + 1, entry(entries + 1))
    );
}

#[test]
fn a_frame_torn_at_any_byte_is_cut_off() {
    let whole = written(2, 1);
    let bytes = whole.read(FIRST).unwrap();
    let start = HEADER + 2 * FRAME;
    assert_eq!(bytes.len(), start + FRAME);
    for length in start..bytes.len() {
        let disk = with(FIRST, &bytes[..length], &whole);
        let (_, recovered, _) = open(disk.clone()).unwrap();
        let torn = recovered
            .torn
            .map(|torn| (torn.file, torn.offset, torn.bytes));
        let cut = (length - start) as u64;
        assert_eq!(
            torn,
            (cut > 0).then(|| (FIRST.to_owned(), start as u64, cut))
        );
        assert_recovered(&disk, 2);
    }
    assert_recovered(&with(FIRST, &bytes, &whole), 3);
}

#[test]
fn a_torn_frame_is_cut_off_whichever_of_its_bytes_is_wrong() {
    let whole = written(2, 1);
    for offset in HEADER + 2 * FRAME..HEADER + 3 * FRAME {
        let disk = with(FIRST, &whole.read(FIRST).unwrap(), &whole);
        assert!(disk.flip(FIRST, offset, 0x10));
        assert_recovered(&disk, 2);
    }
}

#[test]
fn a_file_that_grew_without_its_data_is_cut_off() {
    let whole = written(2, 0);
    let mut bytes = whole.read(FIRST).unwrap();
    bytes.resize(bytes.len() + 1_000, 0);
    assert_recovered(&with(FIRST, &bytes, &whole), 2);
}

#[test]
fn an_unsynced_frame_lost_before_one_that_survived_is_no_damage() {
    for lost in 3..=5 {
        let disk = written(2, 4);
        let offset = HEADER + (lost - 1) * FRAME + 40;
        assert!(disk.flip(FIRST, offset, 0xFF));
        assert_recovered(&disk, u8::try_from(lost).unwrap() - 1);
    }
}

#[test]
fn a_synced_frame_that_cannot_be_read_is_damage_whichever_byte_is_wrong() {
    // The fourth is not synced: it is the witness that the others were, and may itself be torn in its payload.
    let whole = written(3, 1);
    for torn_witness in [false, true] {
        for offset in HEADER..HEADER + 3 * FRAME {
            let disk = with(FIRST, &whole.read(FIRST).unwrap(), &whole);
            disk.flip(FIRST, offset, 0x01);
            if torn_witness {
                disk.flip(FIRST, HEADER + 4 * FRAME - 1, 0x80);
            }
            let frame = (offset - HEADER) / FRAME;
            let place = (HEADER + frame * FRAME) as u64;
            assert_eq!(
                corrupt_at(disk),
                (FIRST.to_owned(), place),
                "flipped at {offset}"
            );
        }
    }
}

#[test]
fn a_damaged_length_does_not_hide_the_frames_after_it() {
    let whole = written(3, 1);
    let mut bytes = whole.read(FIRST).unwrap();
    // All of the second frame, as a lost sector would leave it.
    bytes[HEADER + FRAME..HEADER + 2 * FRAME].fill(0);
    let place = (HEADER + FRAME) as u64;
    assert_eq!(
        corrupt_at(with(FIRST, &bytes, &whole)),
        (FIRST.to_owned(), place)
    );
}

#[test]
fn a_damaged_header_of_a_segment_with_frames_is_damage() {
    let whole = written(1, 0);
    for offset in 0..HEADER {
        let disk = with(FIRST, &whole.read(FIRST).unwrap(), &whole);
        disk.flip(FIRST, offset, 0x04);
        assert_eq!(corrupt_at(disk), (FIRST.to_owned(), 0));
    }
}

#[test]
fn a_segment_torn_before_its_first_frame_holds_nothing() {
    let whole = written(2, 0);
    for length in 0..HEADER {
        let disk = with(FIRST, &whole.read(FIRST).unwrap()[..length], &whole);
        assert_recovered(&disk, 0);
    }
}

/// Nine entries in three segments, of which the last holds one.
fn three_segments() -> (SimFiles, Vec<String>) {
    // 24 + 4 * 144 = 600
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    for number in 1..=9 {
        log.append(&[[number; 104]]).unwrap();
    }
    log.sync().unwrap();
    let names = disk.list().unwrap();
    assert_eq!(names.len(), 3);
    (disk, names)
}

#[test]
fn any_wrong_byte_of_a_segment_before_the_last_is_damage() {
    let (whole, names) = three_segments();
    for name in &names[..2] {
        let bytes = whole.read(name).unwrap();
        for offset in 0..bytes.len() {
            let disk = with(name, &bytes, &whole);
            disk.flip(name, offset, 0x20);
            let place = if offset < HEADER {
                0
            } else {
                HEADER + (offset - HEADER) / 144 * 144
            };
            assert_eq!(
                corrupt_at(disk),
                (name.clone(), place as u64),
                "flipped at {offset}"
            );
        }
    }
}

#[test]
fn anything_missing_before_the_last_segment_is_damage() {
    let (whole, names) = three_segments();
    let bytes = whole.read(&names[1]).unwrap();
    for length in 0..bytes.len() {
        let (file, _) = corrupt_at(with(&names[1], &bytes[..length], &whole));
        // Cut between two frames only the next segment shows that something is missing.
        assert!(file == names[1] || file == names[2], "{file}");
    }
    let mut without = with("", &[], &whole);
    without.remove(&names[1]).unwrap();
    assert_eq!(corrupt_at(without), (names[2].clone(), 0));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(
        corrupt_at(with(&names[1], &longer, &whole)),
        (names[1].clone(), 600)
    );
}

#[test]
fn a_segment_under_another_name_is_damage() {
    let (whole, names) = three_segments();
    let disk = with(&names[1], &whole.read(&names[0]).unwrap(), &whole);
    assert_eq!(corrupt_at(disk), (names[1].clone(), 0));
}

#[test]
fn another_format_is_told_from_damage() {
    let whole = written(1, 0);
    let mut bytes = whole.read(FIRST).unwrap();
    bytes[8] = 3;
    let checksum = crc32fast::hash(&bytes[..20]).to_le_bytes();
    bytes[20..24].copy_from_slice(&checksum);
    assert_eq!(
        open(with(FIRST, &bytes, &whole)).err(),
        Some(DiskError::Format {
            file: FIRST.to_owned(),
            found: "3".to_owned(),
            expected: "2".to_owned(),
        })
    );
}

#[test]
fn an_entry_that_looks_like_a_log_is_no_witness() {
    // Its frames say that much was synced.
    let stored = written(6, 0).read(FIRST).unwrap();
    let disk = SimFiles::default();
    let (mut log, ..) = open(disk.clone()).unwrap();
    log.append(&[entry(1)]).unwrap();
    log.sync().unwrap();
    log.append(&[stored]).unwrap();
    drop(log);
    let last = disk.read(FIRST).unwrap().len() - 1;
    disk.flip(FIRST, last, 1);
    assert_recovered(&disk, 1);
}

/// Of the same crash of an unsynced frame over many sectors, chance makes every kind of tail.
#[test]
fn large_frames_are_recovered_as_a_whole_or_not_at_all() {
    let (mut whole, mut torn) = (0, 0);
    for seed in 0..200 {
        let disk = SimFiles::default();
        let (mut log, ..) = open(disk.clone()).unwrap();
        log.append(&[entry(1)]).unwrap();
        log.sync().unwrap();
        log.append(&[[7; 2_000], [8; 2_000]]).unwrap();
        drop(log);
        disk.crash(&mut chance(seed));
        let (_, recovered, entries) = open(disk.clone()).unwrap();
        match entries.len() {
            1 => torn += u32::from(recovered.torn.is_some()),
            3 => whole += 1,
            other => panic!("{other} entries"),
        }
    }
    assert!(whole > 10 && torn > 10, "{whole} whole, {torn} torn");
}

#[test]
fn chance_keeps_everything_or_loses_all_that_is_not_synced() {
    for (kept, chance) in [(2, lose_all as fn(u64) -> u64), (5, keep_all)] {
        let disk = written(2, 3);
        disk.crash(&mut { chance });
        assert_recovered(&disk, kept);
    }
}
