//! Histories of storage operations, in files and in memory: does a history keep the promises of the storage (STORAGE.md §1, §8)?
//!
//! - [`operation`]: what clients and replicas said · [`record`]: the same by record · [`violation`]: what is wrong
//! - [`malformed`]: contradictions of a history with itself
//! - [`linearizable`]: a total order of updates and linearizable reads, for records without plain writes
//! - [`versions`]: adjacent numbering, one value for a version · [`origins`]: nothing comes from nowhere
//! - [`order`]: version order against real time · [`sessions`]: what a run sees
//! - [`exactly_once`]: update ids · [`convergence`]: what the replicas hold in the end
//!
//! - [`line`], [`reader`], [`replay`]: the file (README.md); [`edn`]: as Jepsen has it
//! - [`verdict`]: which properties hold · [`minimal`]: the part of a history that shows a violation · [`table`]: for people
//!
//! They promise no false alarm about a complete history: whatever they report, no correct storage can have answered.
//! They rely on one clock for all operations ([`Operation::invoked_at`]). They never do I/O and know no clock or chance:
//! the same history has the same violations in the same order. Nothing in a history makes them fail or go on for ever.

pub mod convergence;
pub mod edn;
pub mod exactly_once;
pub mod line;
pub mod linearizable;
pub mod malformed;
pub mod minimal;
pub mod operation;
pub mod order;
pub mod origins;
pub mod reader;
pub mod record;
pub mod replay;
pub mod sessions;
pub mod table;
pub mod verdict;
pub mod versions;
pub mod violation;

pub use operation::{Action, Answer, FinalState, History, Operation, ReadKind, Test};
pub use reader::{Recorded, read};
pub use record::RecordHistory;
pub use verdict::{Verdict, check};
pub use violation::{Kind, Violation};

type Checker = fn(&RecordHistory) -> Vec<Violation>;

/// Each of these that finds something excludes a linearization, and says more about why.
const OF_VERSIONS: [Checker; 3] = [versions::check, order::check, origins::check];
const OTHERS: [Checker; 3] = [sessions::check, exactly_once::check, convergence::check];

/// Everything that is wrong with a history, in order of records. One cause may break several promises.
pub fn check_all(history: &History) -> Vec<Violation> {
    let malformed = malformed::check(history);
    if !malformed.is_empty() {
        return malformed;
    }
    let records = RecordHistory::all(history);
    let check = |record| check_record(record, &mut { linearizable::STEPS_MAX });
    records.iter().flat_map(check).collect()
}

/// The same for one record, whose search takes from the steps what it needs.
fn check_record(record: &RecordHistory, steps_left: &mut usize) -> Vec<Violation> {
    let run = |checkers: [Checker; 3]| checkers.into_iter().flat_map(|check| check(record));
    let mut found: Vec<_> = run(OF_VERSIONS).collect();
    // The search is dear where there is nothing to be found.
    if found.is_empty() {
        found.extend(linearizable::check_within(record, steps_left));
    }
    found.extend(run(OTHERS));
    found
}
