//! Every fault, at every step of an update, to every replica: all combinations, none of them by chance.
//!
//! A combination that fails names itself. To play it alone and see its steps:
//! `COMBINATION='NAME' cargo test -p storage --test scenarios one_combination -- --nocapture`

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use storage::core::planted::Bug;

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

fn all(bug: Option<Bug>) -> Vec<Combination> {
    let mut all = Vec::new();
    for mode in Mode::ALL {
        for work in Work::ALL {
            for role in [COORDINATOR, SECOND, THIRD] {
                for fault in faults() {
                    let play = Play {
                        mode,
                        nodes: 3,
                        work,
                        role,
                        fault,
                        bug,
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
    let all = all(None);
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
    let all = all(None);
    let is_wanted = |combination: &&Combination| match std::env::var("COMBINATION") {
        Ok(wanted) => combination.name() == wanted,
        Err(_) => true,
    };
    let found = all.iter().find(is_wanted);
    let found = found.unwrap_or_else(|| panic!("no such combination; one is `{}`", all[0].name()));
    found
        .perform(true)
        .unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Found by simulation and model check instead: each of them takes two faults at two moments, or a task.
#[cfg(feature = "planted-bugs")]
const OUT_OF_REACH: [Bug; 4] = [
    Bug::FenceIgnored,
    Bug::CommitIgnoresPromise,
    Bug::GossipOutOfOrder,
    Bug::StaleVotes,
];

#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_within_reach_is_found() {
    for bug in Bug::ALL
        .into_iter()
        .filter(|bug| !OUT_OF_REACH.contains(bug))
    {
        let all = all(Some(bug));
        let fails = |combination: &&Combination| combination.perform(false).is_err();
        let found = all.iter().find(fails);
        let found = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: {}", found.name());
    }
}
