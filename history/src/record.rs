//! The history of one record, as the checkers want it: every promise is about one record.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use bytes::Bytes;
use common::types::{RecordId, RecordVersion, ReplicaId, UpdateId, Version};

use crate::operation::{Action, Answer, FinalState, History, Operation, ReadKind, Test};
use crate::violation::{Kind, Violation, text};
use common::types::Level;
use common::types::Outcome;

pub struct RecordHistory<'a> {
    pub history: &'a History,
    pub record: &'a RecordId,
    /// In the order of the history.
    pub operations: Vec<&'a Operation>,
    /// In order of id.
    pub updates: Vec<Update<'a>>,
}

/// All calls of one update id. It may take effect as soon as the first of them is invoked.
pub struct Update<'a> {
    pub id: &'a UpdateId,
    pub test: &'a Test,
    pub new: Option<&'a Bytes>,
    pub invoked_at: u64,
    /// In order of invocation.
    pub calls: Vec<&'a Operation>,
    /// In order of time; none: its outcome is unknown.
    pub answers: Vec<Answered<'a, Outcome>>,
}

pub struct Answered<'a, T> {
    pub at: u64,
    pub result: &'a T,
    pub operation: &'a Operation,
}

pub struct Write<'a> {
    pub value: Option<&'a Bytes>,
    pub level: Level,
    pub answer: Option<Answered<'a, Version>>,
    pub operation: &'a Operation,
}

/// Somebody says that a version names a value.
pub struct Named<'a> {
    pub version: Version,
    pub value: Option<&'a Bytes>,
    /// Of who made it: when it can exist at the earliest. Of who saw it: when it existed at the latest.
    pub at: u64,
    pub source: Source<'a>,
}

pub enum Source<'a> {
    Initial,
    Operation(&'a Operation),
    Final(ReplicaId),
}

impl<'a> RecordHistory<'a> {
    /// One for each record, in order of ids.
    pub fn all(history: &'a History) -> Vec<Self> {
        let mut records: BTreeMap<&RecordId, Vec<&Operation>> = BTreeMap::new();
        let known = history.initial.keys().chain(history.finals.keys());
        records.extend(known.map(|record| (record, Vec::new())));
        for operation in &history.operations {
            let operations = records.entry(&operation.record).or_default();
            operations.push(operation);
        }
        let of = |(record, operations): (_, Vec<_>)| Self {
            history,
            record,
            updates: updates(&operations),
            operations,
        };
        records.into_iter().map(of).collect()
    }

    pub fn initial(&self) -> &'a [RecordVersion] {
        self.history
            .initial
            .get(self.record)
            .map_or(&[], Vec::as_slice)
    }

    pub fn finals(&self) -> impl Iterator<Item = (ReplicaId, &'a FinalState)> {
        let finals = self.history.finals.get(self.record);
        finals
            .into_iter()
            .flatten()
            .map(|(replica, state)| (*replica, state))
    }

    /// The answered ones.
    pub fn reads(&self) -> impl Iterator<Item = (ReadKind, Answered<'a, RecordVersion>)> {
        self.operations
            .iter()
            .filter_map(|operation| match &operation.action {
                Action::Read { kind, answer } => {
                    Some((*kind, answered(operation, answer.as_ref())?))
                }
                _ => None,
            })
    }

    pub fn writes(&self) -> impl Iterator<Item = Write<'a>> {
        self.operations
            .iter()
            .filter_map(|operation| match &operation.action {
                Action::Write {
                    value,
                    level,
                    answer,
                } => Some(Write {
                    value: value.as_ref(),
                    level: *level,
                    answer: answered(operation, answer.as_ref()),
                    operation,
                }),
                _ => None,
            })
    }

    /// What is known to be made, and by whom.
    pub fn made(&self) -> Vec<Named<'a>> {
        let initial = self.initial().iter().map(|made| Named {
            version: made.version,
            value: made.value.as_ref(),
            at: 0,
            source: Source::Initial,
        });
        let absent = Named {
            version: Version::NULL,
            value: None,
            at: 0,
            source: Source::Initial,
        };
        let writes = self.writes().filter_map(|write| {
            Some(Named {
                version: *write.answer?.result,
                value: write.value,
                at: write.operation.invoked_at,
                source: Source::Operation(write.operation),
            })
        });
        let updates = self.updates.iter().flat_map(|update| {
            update.answers.iter().filter_map(|answer| {
                Some(Named {
                    version: answer.result.made()?,
                    value: update.new,
                    at: update.invoked_at,
                    source: Source::Operation(answer.operation),
                })
            })
        });
        let known = std::iter::once(absent).chain(initial);
        known.chain(writes).chain(updates).collect()
    }

    /// Which versions were seen, with which value.
    pub fn seen(&self) -> Vec<Named<'a>> {
        let operation = |found: &'a RecordVersion, at, operation| Named {
            version: found.version,
            value: found.value.as_ref(),
            at,
            source: Source::Operation(operation),
        };
        let reads = self
            .reads()
            .map(|(_, read)| operation(read.result, read.at, read.operation));
        let updates = self.updates.iter().flat_map(|update| {
            update.answers.iter().filter_map(|answer| {
                let seen = match answer.result {
                    // As in `made`. The answer to a late repeat lacks the value.
                    Outcome::Updated { made, .. }
                        if made.value.is_none() || made.value.as_ref() == update.new =>
                    {
                        return None;
                    }
                    Outcome::Updated { made, .. } => made,
                    Outcome::Mismatch { found } => found,
                };
                Some(operation(seen, answer.at, answer.operation))
            })
        });
        let finals = self.finals().flat_map(|(replica, state)| {
            state.versions.iter().map(move |held| Named {
                version: held.version,
                value: held.value.as_ref(),
                at: u64::MAX,
                source: Source::Final(replica),
            })
        });
        reads.chain(updates).chain(finals).collect()
    }

    pub fn violation(&self, kind: Kind, message: String, evidence: &[&dyn Display]) -> Violation {
        Violation {
            kind,
            record: self.record.clone(),
            message,
            evidence: evidence.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = format!("{} = {}", self.version, text(self.value));
        match self.source {
            Source::Initial => write!(f, "before all: {held}"),
            Source::Operation(operation) => write!(f, "{operation}"),
            Source::Final(replica) => write!(f, "replica {replica} in the end: {held}"),
        }
    }
}

fn answered<'a, T>(
    operation: &'a Operation,
    answer: Option<&'a Answer<T>>,
) -> Option<Answered<'a, T>> {
    answer.map(|answer| Answered {
        at: answer.at,
        result: &answer.result,
        operation,
    })
}

fn updates<'a>(operations: &[&'a Operation]) -> Vec<Update<'a>> {
    let mut updates: BTreeMap<&UpdateId, Update> = BTreeMap::new();
    for operation in operations {
        let Action::Update {
            id,
            test,
            new,
            answer,
        } = &operation.action
        else {
            continue;
        };
        let update = updates.entry(id).or_insert_with(|| Update {
            id,
            test,
            new: new.as_ref(),
            invoked_at: operation.invoked_at,
            calls: Vec::new(),
            answers: Vec::new(),
        });
        update.invoked_at = update.invoked_at.min(operation.invoked_at);
        update.calls.push(operation);
        update.answers.extend(answered(operation, answer.as_ref()));
    }
    for update in updates.values_mut() {
        update.calls.sort_by_key(|call| call.invoked_at);
        update.answers.sort_by_key(|answer| answer.at);
    }
    updates.into_values().collect()
}
