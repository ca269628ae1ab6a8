//! What the clients of a simulation asked and were told, and what the nodes made visible: for the checkers.
//!
//! Apart from the generator of work, which does not know what is right.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::types::{RecordId, ReplicaId, Version};

use crate::core::client::visible;
use crate::core::message::Outcome;
use crate::core::{Change, Reply, Storage};
use history::{Action, Answer, FinalState, History, Operation, Violation, check_all};

#[derive(Debug, Default)]
pub struct Recorder {
    history: History,
    /// Places of operations that never happened.
    refused: BTreeSet<usize>,
    /// The reference model: every version that any node ever made visible, and its value.
    made: BTreeMap<(RecordId, Version), Option<Bytes>>,
    /// What was seen to be wrong while it happened.
    pub wrong: Vec<String>,
}

impl Recorder {
    /// Returns the operation's place, for its answer.
    pub fn asked(&mut self, operation: Operation) -> usize {
        self.history.operations.push(operation);
        self.history.operations.len() - 1
    }

    pub fn operations(&self) -> usize {
        self.history.operations.len()
    }

    /// Operations of known outcome.
    pub fn answered(&self) -> usize {
        let answered = |operation: &&Operation| operation.answered_at().is_some();
        self.history.operations.iter().filter(answered).count()
    }

    /// A refusal says that nothing has happened.
    pub fn refused(&mut self, place: usize) {
        self.refused.insert(place);
    }

    pub fn answered_by(&mut self, place: usize, at: u64, reply: Reply) {
        let Some(operation) = self.history.operations.get_mut(place) else {
            return;
        };
        match (&mut operation.action, reply) {
            (Action::Read { answer, .. }, Reply::Read(result))
            | (Action::Read { answer, .. }, Reply::Update(Outcome::Mismatch { found: result })) => {
                *answer = Some(Answer { at, result });
            }
            (Action::Write { answer, .. }, Reply::Written(result)) => {
                *answer = Some(Answer { at, result });
            }
            (Action::Update { answer, .. }, Reply::Update(result)) => {
                *answer = Some(Answer { at, result });
            }
            (action, reply) => self
                .wrong
                .push(format!("{action:?} was answered by {reply:?}")),
        }
    }

    /// I8: a version names one value for ever.
    pub fn made(&mut self, at: u64, by: ReplicaId, change: &Change) {
        for (record, made) in visible(change) {
            let key = (record.clone(), made.version);
            let known = self.made.entry(key).or_insert_with(|| made.value.clone());
            if *known != made.value {
                self.wrong.push(format!(
                    "I8: {record} {} has two values: {known:?}, and {:?} at replica {by} at {at} ms",
                    made.version, made.value
                ));
            }
        }
    }

    pub fn lost(&mut self, replica: ReplicaId) {
        self.history.lost.insert(replica);
    }

    /// All that is wrong. `nodes`: all replicas of every record, at rest.
    pub fn check(mut self, nodes: &[(ReplicaId, &Storage)]) -> (Vec<String>, Vec<Violation>) {
        let mut places = 0..;
        self.history.operations.retain(|_| {
            places
                .next()
                .is_some_and(|place| !self.refused.contains(&place))
        });
        let records: BTreeSet<RecordId> = self
            .history
            .operations
            .iter()
            .map(|operation| operation.record.clone())
            .collect();
        for record in records {
            let finals = nodes.iter().map(|(replica, core)| {
                let state = core.durable().record(&record);
                let state = state.map_or_else(FinalState::default, |state| FinalState {
                    versions: state.versions().cloned().collect(),
                    floor: state.floor,
                });
                (*replica, state)
            });
            let finals = finals.collect();
            self.history.finals.insert(record, finals);
        }
        (self.wrong, check_all(&self.history))
    }
}
