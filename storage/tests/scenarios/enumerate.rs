//! Every fault, at every step of an update, to every replica: all combinations, none of them by chance.
//!
//! A combination that fails names itself. To play it alone and see its steps:
//! `COMBINATION='majority, Forwarded, …' cargo test -p storage --test scenarios one_combination -- --nocapture`

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::play::{Back, COORDINATOR, Fault, Play, SECOND, THIRD, Work, perform, rehearse};
use crate::steps::{Mishap, Mode, Step};

/// Violations that are shown.
const SHOWN_MAX: usize = 5;

/// A play and the step before which the fault happens, from 0.
struct Combination {
    play: Play,
    step: usize,
}

impl Combination {
    fn name(&self) -> String {
        format!("{}, step {}", self.play, self.step)
    }

    fn perform(&self, traces: bool) -> Result<(), String> {
        let mut left = self.step;
        let mut moment = |_: &Step| {
            let is_now = left == 0;
            left = left.saturating_sub(1);
            is_now
        };
        perform(&self.play, &mut moment, traces)
    }
}

fn faults() -> Vec<Fault> {
    let mut faults = vec![Fault::Write, Fault::Update, Fault::Repeat];
    for back in [Back::AtOnce, Back::Later, Back::AfterAll] {
        faults.extend([true, false].map(|keeps| Fault::Crash { keeps, back }));
    }
    for (outgoing, incoming) in [(true, true), (true, false), (false, true)] {
        faults.push(Fault::Cut { outgoing, incoming });
    }
    faults.extend([Mishap::Lost, Mishap::Duplicated, Mishap::Delayed].map(Fault::Message));
    faults
}

/// Where a fault would be another one in disguise it is left out: a message is met when it is sent, and what is not
/// synced can only be kept or lost while there is such a thing.
fn applies(fault: Fault, at: u32, steps: &[Step], step: usize) -> bool {
    let next = &steps[step];
    match fault {
        Fault::Message(_) => matches!(next, Step::Send(from, ..) if *from == at),
        Fault::Crash { keeps: true, .. } => *next == Step::Sync(at),
        _ => true,
    }
}

fn all() -> Vec<Combination> {
    let mut all = Vec::new();
    for mode in [Mode::Majority, Mode::FailStop, Mode::Memory] {
        for work in Work::ALL {
            for role in [COORDINATOR, SECOND, THIRD] {
                for fault in faults() {
                    let play = Play {
                        mode,
                        nodes: 3,
                        work,
                        role,
                        fault,
                    };
                    let (steps, places) = rehearse(&play).unwrap();
                    let applies = |step: &usize| applies(fault, places[role], &steps, *step);
                    let combination = |step| Combination { play, step };
                    all.extend((0..steps.len()).filter(applies).map(combination));
                }
            }
        }
    }
    all
}

#[test]
fn every_fault_to_every_replica_at_every_step() {
    let all = all();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(combination) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(wrong) = combination.perform(false) {
                let failure = format!("{}: {wrong}", combination.name());
                failures.lock().unwrap().push(failure);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    println!("{} combinations", all.len());
    let failures = failures.into_inner().unwrap();
    let shown: Vec<_> = failures.iter().take(SHOWN_MAX).cloned().collect();
    assert!(
        failures.is_empty(),
        "{} of {} combinations failed, among them:\n{}",
        failures.len(),
        all.len(),
        shown.join("\n")
    );
}

#[test]
fn one_combination() {
    let wanted = std::env::var("COMBINATION");
    let wanted = wanted.unwrap_or_else(|_| "majority, AtCoordinator, coordinator, Write, step 0".to_owned());
    let all = all();
    let found = all.iter().find(|combination| combination.name() == wanted);
    let found = found.unwrap_or_else(|| panic!("`{wanted}` is no combination, as {} is", all[0].name()));
    found.perform(true).unwrap_or_else(|wrong| panic!("{wrong}"));
}
