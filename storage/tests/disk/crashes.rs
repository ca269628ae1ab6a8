//! Every crash point and every failure of a workload, enumerated: after each the log has all that was synced, in order,
//! and nothing that was not appended.

use std::collections::{BTreeMap, BTreeSet};

use storage::disk::sim::{Fault, Operation, SimFiles};
use storage::disk::{DiskError, Log, LogSettings};

use crate::world::{Opened, SETTINGS, chance, lose_all, open_with};

const SEEDS: u64 = 12;

/// Several segments; and one, so that several unsynced frames lie in several sectors of one file.
const SEGMENTS: [LogSettings; 2] = [
    SETTINGS,
    LogSettings {
        segment_bytes_max: 64 << 10,
    },
];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A batch of entries of these lengths.
    Append(&'static [usize]),
    Sync,
    /// A checkpoint covers what is synced.
    Drop,
}

/// Synced and unsynced batches, rotations with and without unsynced entries, frames longer than a segment and than
/// several sectors, and checkpoints.
const WORKLOAD: [Step; 21] = [
    Step::Append(&[10, 0, 30]),
    Step::Append(&[40]),
    Step::Sync,
    Step::Append(&[300]),
    Step::Append(&[250]),
    Step::Append(&[20]),
    Step::Append(&[700]),
    Step::Sync,
    Step::Drop,
    Step::Append(&[5]),
    Step::Append(&[6]),
    Step::Append(&[500]),
    Step::Append(&[3_000]),
    Step::Append(&[9]),
    Step::Append(&[8, 8]),
    Step::Sync,
    Step::Append(&[200]),
    Step::Append(&[200, 100]),
    Step::Drop,
    Step::Append(&[40]),
    Step::Append(&[900, 300]),
];

/// What must hold of the log, whatever happens to it.
struct Oracle {
    settings: LogSettings,
    /// Entries are all different, by this number.
    made: u64,
    /// What may be found at a sequence.
    possible: BTreeMap<u64, BTreeSet<Vec<u8>>>,
    /// What was appended and not cut off; through `synced` it must be found.
    current: BTreeMap<u64, Vec<u8>>,
    synced: u64,
    /// The last entry that a checkpoint covers.
    checkpoint: u64,
}

impl Oracle {
    fn new(settings: LogSettings) -> Self {
        Self {
            settings,
            made: 0,
            possible: BTreeMap::new(),
            current: BTreeMap::new(),
            synced: 0,
            checkpoint: 0,
        }
    }

    fn open(&self, disk: &SimFiles) -> Result<Opened<SimFiles>, DiskError> {
        open_with(disk.clone(), self.settings, self.checkpoint)
    }

    fn make(&mut self, sequence: u64, length: usize) -> Vec<u8> {
        self.made += 1;
        let entry: Vec<u8> = self
            .made
            .to_le_bytes()
            .into_iter()
            .cycle()
            .take(length)
            .collect();
        let possible = self.possible.entry(sequence).or_default();
        possible.insert(entry.clone());
        entry
    }

    /// Does one step; the model follows what the log says.
    fn step(&mut self, log: &mut Log<SimFiles>, step: Step) -> Result<(), DiskError> {
        match step {
            Step::Append(lengths) => {
                let first = log.last_sequence() + 1;
                let entries: Vec<_> = (first..)
                    .zip(lengths)
                    .map(|(sequence, &length)| self.make(sequence, length))
                    .collect();
                let last = log.append(&entries)?;
                assert_eq!(last, first + entries.len() as u64 - 1);
                self.current.extend((first..).zip(entries));
            }
            Step::Sync => {
                log.sync()?;
                assert_eq!(log.synced_sequence(), log.last_sequence());
            }
            Step::Drop => {
                self.checkpoint = log.synced_sequence();
                log.drop_through(self.checkpoint)?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, log: &Log<SimFiles>) {
        assert!(
            log.synced_sequence() >= self.synced,
            "a promise was taken back"
        );
        self.synced = log.synced_sequence();
        self.current.split_off(&(log.last_sequence() + 1));
        assert_eq!(
            self.current.last_key_value().map_or(0, |(last, _)| *last),
            log.last_sequence()
        );
    }

    /// Checks what was recovered and takes it for the truth: all of it is durable now.
    fn check(&mut self, (log, _, entries): &Opened<SimFiles>) {
        let sequences: Vec<u64> = entries.iter().map(|(sequence, _)| *sequence).collect();
        let wanted: Vec<u64> = (self.checkpoint + 1..=log.last_sequence()).collect();
        assert_eq!(sequences, wanted);
        assert!(
            log.last_sequence() >= self.synced,
            "synced through {}, recovered through {}",
            self.synced,
            log.last_sequence()
        );
        for (sequence, entry) in entries {
            if *sequence <= self.synced {
                assert_eq!(entry, &self.current[sequence]);
            }
            assert!(
                self.possible[sequence].contains(entry),
                "{sequence} is invented"
            );
            self.current.insert(*sequence, entry.clone());
        }
        self.follow(log);
    }

    fn recover(&mut self, disk: &SimFiles) -> Log<SimFiles> {
        let opened = self.open(disk).unwrap();
        self.check(&opened);
        opened.0
    }

    /// The log is as good as new: it takes entries, and they outlive the worst crash.
    fn go_on(&mut self, disk: &SimFiles, mut log: Log<SimFiles>) {
        for step in [
            Step::Append(&[30]),
            Step::Append(&[400, 10]),
            Step::Sync,
            Step::Append(&[70]),
        ] {
            self.step(&mut log, step).unwrap();
            self.follow(&log);
        }
        drop(log);
        disk.crash(&mut lose_all);
        drop(self.recover(disk));
    }
}

/// Runs the workload, which `fault` strikes once or for good. A log that is poisoned is reopened once.
fn run(disk: &SimFiles, settings: LogSettings, fault: Option<Fault>) -> Oracle {
    let mut oracle = Oracle::new(settings);
    let (mut log, ..) = oracle.open(disk).unwrap();
    if let Some(fault) = fault {
        disk.plan(fault);
    }
    for step in WORKLOAD {
        let done = oracle.step(&mut log, step);
        if done.is_err() && log.poisoned().is_some() && log.reopen(false).is_err() {
            oracle.synced = oracle.synced.max(log.synced_sequence());
            return oracle;
        }
        oracle.follow(&log);
    }
    oracle
}

fn power_fails(after: u64) -> Fault {
    Fault {
        operation: None,
        after,
        lasting: true,
    }
}

fn operations(settings: LogSettings) -> u64 {
    let disk = SimFiles::default();
    let oracle = run(&disk, settings, None);
    assert_eq!(oracle.current.len(), 21);
    assert!(oracle.checkpoint > 0);
    disk.counters().operations
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_synced() {
    for settings in SEGMENTS {
        for after in 0..operations(settings) {
            for seed in 0..SEEDS {
                let disk = SimFiles::default();
                let mut oracle = run(&disk, settings, Some(power_fails(after)));
                disk.crash(&mut chance(seed));
                let log = oracle.recover(&disk);
                oracle.go_on(&disk, log);
            }
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_recovery_loses_nothing_either() {
    for settings in SEGMENTS {
        for after in 0..operations(settings) {
            for seed in 0..SEEDS {
                for recovery in 0..3 {
                    let disk = SimFiles::default();
                    let mut oracle = run(&disk, settings, Some(power_fails(after)));
                    let mut chance = chance(seed);
                    disk.crash(&mut chance);
                    disk.plan(power_fails(recovery));
                    let opened = oracle.open(&disk);
                    if let Ok(opened) = &opened {
                        oracle.check(opened);
                    }
                    drop(opened);
                    disk.crash(&mut chance);
                    let log = oracle.recover(&disk);
                    oracle.go_on(&disk, log);
                }
            }
        }
    }
}

/// The process dies and the machine lives: nothing is lost, but not all of it is durable when the log is opened. (Not
/// after a failed sync: what that left in doubt a new process cannot know of.)
#[test]
fn what_a_new_process_has_read_is_durable() {
    let kinds = [
        Operation::Create,
        Operation::Append,
        Operation::Truncate,
        Operation::Remove,
        Operation::SyncDirectory,
    ];
    let cases = kinds
        .iter()
        .flat_map(|kind| SEGMENTS.map(|settings| (kind, settings)));
    for (&operation, settings) in cases {
        for after in 0..operations(settings) {
            let disk = SimFiles::default();
            let stops = Fault {
                operation: Some(operation),
                ..power_fails(after)
            };
            let mut oracle = run(&disk, settings, Some(stops));
            disk.clear_faults();
            drop(oracle.recover(&disk));
            disk.crash(&mut lose_all);
            let log = oracle.recover(&disk);
            oracle.go_on(&disk, log);
        }
    }
}

#[test]
fn a_failure_at_any_operation_leaves_a_log_that_goes_on() {
    for settings in SEGMENTS {
        for after in 0..operations(settings) {
            for seed in 0..SEEDS {
                let disk = SimFiles::default();
                let fails_once = Fault {
                    lasting: false,
                    ..power_fails(after)
                };
                let mut oracle = run(&disk, settings, Some(fails_once));
                assert!(oracle.current.len() > 5, "the workload did not go on");
                disk.crash(&mut chance(seed));
                let log = oracle.recover(&disk);
                oracle.go_on(&disk, log);
            }
        }
    }
}
