//! Version order against real time: whatever is asked for after something has ended sees it.
//!
//! - An update or linearizable read sees what every earlier one has seen or made, and what a majority held before it
//!   (I4, I6, I9). It needs not see a write of level `one`, which sorts wherever its version says.
//! - A replica's newest version and the numbers that it gives never go back (I7, I12).

use std::collections::BTreeMap;

use common::types::{RecordVersion, ReplicaId, Version};

use crate::operation::{Action, Operation, ReadKind};
use crate::record::RecordHistory;
use crate::violation::{Kind, Violation};
use common::types::Level;
use common::types::Outcome;

pub fn check(record: &RecordHistory) -> Vec<Violation> {
    let mut found = totally_ordered(record);
    found.extend(replicas_go_forward(record));
    found
}

/// What a version is known to be visible to, from a time on.
#[derive(Clone, Copy)]
struct Floor<'a> {
    at: u64,
    version: Version,
    operation: &'a Operation,
}

/// In order of time, each with the newest version up to then.
struct Floors<'a>(Vec<Floor<'a>>);

impl<'a> Floors<'a> {
    fn new(mut floors: Vec<Floor<'a>>) -> Self {
        floors.sort_by_key(|floor| floor.at);
        let mut newest: Option<Floor> = None;
        for floor in &mut floors {
            if let Some(newest) = newest.filter(|newest| newest.version > floor.version) {
                (floor.version, floor.operation) = (newest.version, newest.operation);
            }
            newest = Some(*floor);
        }
        Self(floors)
    }

    /// The newest version that an operation invoked at that time has to see.
    fn before(&self, invoked_at: u64) -> Option<Floor<'a>> {
        let earlier = self.0.partition_point(|floor| floor.at < invoked_at);
        self.0.get(earlier.checked_sub(1)?).copied()
    }
}

/// An answered update or linearizable read, and the version that it has looked at.
struct Tested<'a> {
    invoked_at: u64,
    version: Version,
    operation: &'a Operation,
}

fn totally_ordered(record: &RecordHistory) -> Vec<Violation> {
    let floors = Floors::new(floors(record));
    let mut found = Vec::new();
    for tested in tested(record) {
        let Some(floor) = floors.before(tested.invoked_at) else {
            continue;
        };
        if floor.version <= tested.version {
            continue;
        }
        let message = format!(
            "{} was tested or read after {} was there",
            tested.version, floor.version
        );
        let kind = match (&tested.operation.action, &floor.operation.action) {
            (Action::Read { .. }, _) => Kind::StaleRead,
            (_, Action::Write { .. }) => Kind::MissedWrite,
            _ => Kind::MissedUpdate,
        };
        found.push(record.violation(kind, message, &[floor.operation, tested.operation]));
    }
    found
}

fn floors<'a>(record: &RecordHistory<'a>) -> Vec<Floor<'a>> {
    let writes = record.writes().filter_map(|write| {
        let answer = write.answer?;
        let version = *answer.result;
        let is_held =
            write.level != Level::One && !record.history.may_be_lost(version, write.level);
        is_held.then_some(Floor {
            at: answer.at,
            version,
            operation: write.operation,
        })
    });
    let reads = record.reads().filter_map(|(kind, read)| {
        let version = read.result.version;
        // Also a local read shows only updates that a quorum holds.
        let is_held = (kind == ReadKind::Linearizable || version.step > 0)
            && !record.history.may_be_lost(version, Level::Majority);
        is_held.then_some(Floor {
            at: read.at,
            version,
            operation: read.operation,
        })
    });
    let updates = record.updates.iter().filter_map(|update| {
        let answer = update.answers.first()?;
        Some(Floor {
            at: answer.at,
            version: answer.operation.version()?,
            operation: answer.operation,
        })
    });
    writes.chain(reads).chain(updates).collect()
}

fn tested<'a>(record: &RecordHistory<'a>) -> Vec<Tested<'a>> {
    let updates = record.updates.iter().filter_map(|update| {
        let answer = update.answers.first()?;
        let (Outcome::Updated { base: version, .. }
        | Outcome::Mismatch {
            found: RecordVersion { version, .. },
        }) = answer.result;
        Some(Tested {
            invoked_at: update.invoked_at,
            version: *version,
            operation: answer.operation,
        })
    });
    let reads = record.reads();
    let reads = reads.filter(|(kind, _)| *kind == ReadKind::Linearizable);
    let reads = reads.map(|(_, read)| Tested {
        invoked_at: read.operation.invoked_at,
        version: read.result.version,
        operation: read.operation,
    });
    updates.chain(reads).collect()
}

/// Reads with a session may be of an older version, which it has pinned.
fn replicas_go_forward(record: &RecordHistory) -> Vec<Violation> {
    let mut shown: BTreeMap<ReplicaId, Vec<Floor>> = BTreeMap::new();
    let mut show = |replica, at, version, operation| {
        shown.entry(replica).or_default().push(Floor {
            at,
            version,
            operation,
        });
    };
    for write in record.writes() {
        if let Some(answer) = write.answer {
            show(
                answer.result.replica,
                answer.at,
                *answer.result,
                write.operation,
            );
        }
    }
    for (kind, read) in record.reads() {
        if let (ReadKind::Local, None, Some(replica)) =
            (kind, &read.operation.session, read.operation.replica)
        {
            show(replica, read.at, read.result.version, read.operation);
        }
    }
    let mut found = Vec::new();
    for (replica, operations) in shown {
        // Its state and its numbers went with it.
        if record.history.lost.contains(&replica) {
            continue;
        }
        let floors = Floors::new(operations.clone());
        for Floor {
            version, operation, ..
        } in operations
        {
            let Some(floor) = floors.before(operation.invoked_at) else {
                continue;
            };
            let (goes_back, verb) = match operation.action {
                Action::Write { .. } => (version.number <= floor.version.number, "made"),
                _ => (version < floor.version, "showed"),
            };
            if goes_back {
                let message = format!("replica {replica} {verb} {version} after {}", floor.version);
                let evidence = [floor.operation, operation];
                found.push(record.violation(
                    Kind::ReplicaWentBack,
                    message,
                    &[&evidence[0], &evidence[1]],
                ));
            }
        }
    }
    found
}
