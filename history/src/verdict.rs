//! Which properties of the storage a history keeps, which it breaks, and about which it says nothing.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::json;

use crate::minimal::smallest;
use crate::operation::{Action, History};
use crate::reader::Recorded;
use crate::record::RecordHistory;
use crate::replay::{UNNAMED, history};
use crate::table::{Row, rows, table};
use crate::violation::{Kind, Violation, printable};
use crate::{check_record, malformed};

/// Steps of the searches for linearizations of all records together: some seconds.
const STEPS_MAX: usize = 100_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// The history does not contradict itself.
    Consistent,
    /// There is a total order of the updates and linearizable reads of each record.
    Linearizability,
    UniqueVersions,
    NoPhantoms,
    Sessions,
    ExactlyOnce,
    Convergence,
}

impl Property {
    pub fn name(self) -> &'static str {
        match self {
            Self::Consistent => "consistency of the history itself",
            Self::Linearizability => "linearizability",
            Self::UniqueVersions => "unique versions",
            Self::NoPhantoms => "no phantoms",
            Self::Sessions => "session guarantees",
            Self::ExactlyOnce => "exactly-once effects",
            Self::Convergence => "convergence",
        }
    }

    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Malformed => Self::Consistent,
            Kind::Undecided
            | Kind::NotLinearizable
            | Kind::WrongVersion
            | Kind::TwoSuccessors
            | Kind::WrongTest
            | Kind::MissedUpdate
            | Kind::MissedWrite
            | Kind::StaleRead
            | Kind::ReplicaWentBack => Self::Linearizability,
            Kind::ReusedVersion => Self::UniqueVersions,
            Kind::Phantom => Self::NoPhantoms,
            Kind::OwnWriteUnseen
            | Kind::ReadWentBack
            | Kind::NotRepeatable
            | Kind::WriteBelowSeen => Self::Sessions,
            Kind::DifferentAnswers | Kind::ExecutedTwice => Self::ExactlyOnce,
            Kind::Missing | Kind::Diverged => Self::Convergence,
        }
    }
}

/// A property that does not hold, or of which nobody knows whether it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub property: Property,
    /// The first violation of it.
    pub violation: Violation,
    /// How many there are.
    pub violations: usize,
    /// What shows the first; of one that is undecided nothing does.
    pub rows: Vec<Row>,
    /// There may be fewer that show it.
    pub is_cut_short: bool,
    /// What the column of times has.
    pub times_are: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub operations: usize,
    pub records: usize,
    /// One for each property.
    pub broken: Vec<Broken>,
    /// What could not be checked, and why.
    pub not_checked: Vec<String>,
}

impl Verdict {
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    /// For programs.
    pub fn json(&self, file: &str) -> serde_json::Value {
        let row = |row: &Row| json!({"time": row.time, "who": row.who, "operation": row.operation, "result": row.result});
        let broken = self.broken.iter().map(|broken| {
            let Violation { kind, record, message, .. } = &broken.violation;
            json!({
                "property": broken.property.name(), "violation": kind.to_string(), "record": record, "message": message,
                "violations": broken.violations, "undecided": *kind == Kind::Undecided, "times": broken.times_are,
                "operations": broken.rows.iter().map(row).collect::<Vec<_>>(), "cut_short": broken.is_cut_short,
            })
        });
        json!({
            "event": "checked", "file": file, "holds": self.holds(), "operations": self.operations,
            "records": self.records, "broken": broken.collect::<Vec<_>>(), "not_checked": self.not_checked,
        })
    }
}

/// Checks everything that can be.
pub fn check(recorded: &Recorded) -> Verdict {
    let history = history(recorded);
    let mut found = malformed::check(&history);
    let records = RecordHistory::all(&history);
    if found.is_empty() {
        let mut steps_left = STEPS_MAX;
        for record in &records {
            let mut left = steps_left.min(crate::linearizable::STEPS_MAX);
            let before = left;
            found.extend(check_record(record, &mut left));
            steps_left -= before - left;
        }
    }
    let mut properties: BTreeMap<Property, Vec<Violation>> = BTreeMap::new();
    for violation in found {
        let property = Property::of(violation.kind);
        properties.entry(property).or_default().push(violation);
    }
    let times = times(recorded);
    let broken = properties.into_iter().filter_map(|(property, violations)| {
        // What is certain comes before what is not.
        let is_undecided = |violation: &&Violation| violation.kind == Kind::Undecided;
        let first = violations.iter().find(|violation| !is_undecided(violation));
        let violation = first.or(violations.first())?.clone();
        let (rows, is_cut_short) = if violation.kind == Kind::Undecided {
            (Vec::new(), false)
        } else {
            let part = smallest(&history, &violation);
            (rows(&part.history, times.as_ref()), part.is_cut_short)
        };
        Some(Broken {
            property,
            violation,
            violations: violations.len(),
            rows,
            is_cut_short,
            times_are: if times.is_some() { "ms" } else { "line" },
        })
    });
    Verdict {
        operations: history.operations.len(),
        records: records.len(),
        broken: broken.collect(),
        not_checked: not_checked(&history, &records),
    }
}

/// Of lines, in microseconds; None: some have none.
fn times(recorded: &Recorded) -> Option<BTreeMap<u64, u64>> {
    let lines = recorded.lines.iter();
    let of_operations = lines.filter(|(_, line)| line.operation.is_some());
    of_operations
        .map(|(number, line)| Some((*number, line.time?)))
        .collect()
}

fn not_checked(history: &History, records: &[RecordHistory]) -> Vec<String> {
    let mut missing = Vec::new();
    let with_writes = records
        .iter()
        .filter(|record| record.writes().next().is_some() && !record.updates.is_empty());
    let with_writes = with_writes.count();
    if with_writes > 0 {
        missing.push(format!(
            "a total order of updates where there are plain writes, too (records: {with_writes}): those sort by their versions, \
             which were compared with real time"
        ));
    }
    if history
        .operations
        .iter()
        .all(|operation| operation.session.is_none())
    {
        missing.push("session guarantees: no operation names a session".to_owned());
    }
    let mut updates = history
        .operations
        .iter()
        .filter_map(|operation| match &operation.action {
            Action::Update { id, .. } => Some(id),
            Action::Read { .. } | Action::Write { .. } => None,
        });
    if updates.clone().next().is_some() && updates.all(|id| id.origin == UNNAMED) {
        missing.push("exactly-once effects: no update has an id".to_owned());
    }
    if history.finals.is_empty() {
        let why = "convergence: the history does not say what the replicas hold in the end";
        missing.push(why.to_owned());
    }
    missing
}

impl fmt::Display for Broken {
    /// A sentence, and the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            kind,
            record,
            message,
            ..
        } = &self.violation;
        let (record, message) = (printable(record), printable(message));
        let is = if *kind == Kind::Undecided {
            "undecided"
        } else {
            "broken"
        };
        write!(
            f,
            "{}: {is}: record `{record}`: {message} ({kind})",
            self.property.name()
        )?;
        if self.violations > 1 {
            write!(f, "; {} more", self.violations - 1)?;
        }
        f.write_char('\n')?;
        f.write_str(&table(&self.rows, self.times_are))?;
        if self.is_cut_short {
            f.write_str("  (the search for fewer operations was cut short)\n")?;
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    /// Without the name of the file, with which it begins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let (operations, records) = (self.operations, self.records);
        write!(
            f,
            "{operations} operation{} over {records} record{}: ",
            plural(operations),
            plural(records)
        )?;
        let unsure = self
            .broken
            .iter()
            .filter(|broken| broken.violation.kind == Kind::Undecided);
        match (self.broken.len(), unsure.count()) {
            (0, _) if self.not_checked.is_empty() => f.write_str("every property holds\n")?,
            (0, _) => f.write_str("every property that could be checked holds\n")?,
            (1, 0) => f.write_str("a property does not hold\n")?,
            (all, unsure) if all == unsure => f.write_str("undecided\n")?,
            (all, _) => writeln!(f, "{all} properties do not hold")?,
        }
        for broken in &self.broken {
            write!(f, "\n{broken}")?;
        }
        if !self.broken.is_empty() && !self.not_checked.is_empty() {
            f.write_char('\n')?;
        }
        self.not_checked
            .iter()
            .try_for_each(|why| writeln!(f, "not checked: {why}"))
    }
}
