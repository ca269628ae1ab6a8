//! Runs as the machine has them and as they are kept, both ways.

use std::sync::Arc;

use common::proto::{self, StoredOutcome, StoredRun, StoredStage};
use common::status::Status;
use common::types::{ComponentHash, Dealing, Item};

use crate::convert::pins;
use crate::core::{Checkpoint, Recovered, Run, RunState, StageSpec, Submission};
use crate::term::Term;

pub fn stored_run(run: &Run, term: &Term) -> StoredRun {
    StoredRun {
        lineage: term.lineage,
        run: run.number,
        key: run.key.as_deref().unwrap_or_default().to_owned(),
        input: run.input.to_string(),
        application_name: run.application.clone(),
        grants: run.grants.to_vec(),
        seen: run.seen.iter().cloned().map(Into::into).collect(),
        submitted_unix_ms: run.submitted_unix_ms,
        timeout_ms: run.timeout_ms,
        stages: run
            .stages
            .iter()
            .map(|stage| stored_stage(&stage.spec))
            .collect(),
        term: term.number,
    }
}

fn stored_stage(spec: &StageSpec) -> StoredStage {
    let (kind, partitions) = match spec.dealing {
        Dealing::Whole => (proto::StageKind::Operator, 0),
        Dealing::Chunks => (proto::StageKind::Map, 0),
        Dealing::Partitions(partitions) => (proto::StageKind::Reduce, partitions),
    };
    StoredStage {
        class: spec.class.clone(),
        order: spec.order,
        kind: kind.into(),
        partitions,
        chunk: u32::try_from(spec.chunk).unwrap_or(u32::MAX),
        timeout_ms: spec.timeout_ms,
        attempts_max: spec.attempts_max,
        options: spec.options.clone(),
        component: spec.component.map(|hash| hash.bytes().to_vec().into()),
    }
}

/// Absent: the run has no outcome yet.
pub fn stored_outcome(run: &Run, lineage: u64, ended_unix_ms: u64) -> Option<StoredOutcome> {
    let mut stored = StoredOutcome {
        lineage,
        run: run.number,
        ended_unix_ms,
        ..StoredOutcome::default()
    };
    match &run.state {
        RunState::Running => return None,
        RunState::Completed(output) => {
            stored.set_state(proto::RunState::Completed);
            stored.output = output.items.iter().cloned().map(Into::into).collect();
            stored.pins = output.pins.iter().cloned().map(Into::into).collect();
        }
        RunState::Failed(reason) => {
            stored.set_state(proto::RunState::Failed);
            stored.error.clone_from(reason);
        }
        RunState::Expired(reason) => {
            stored.set_state(proto::RunState::Expired);
            stored.error.clone_from(reason);
        }
        RunState::Cancelled => stored.set_state(proto::RunState::Cancelled),
    }
    Some(stored)
}

/// A run whose deadline has passed meanwhile has no time left.
pub fn recovered(
    run: StoredRun,
    outcome: Option<StoredOutcome>,
    term: u32,
    unix_ms: u64,
) -> Result<Recovered, Status> {
    let past_ms = unix_ms.saturating_sub(run.submitted_unix_ms);
    let stages: Result<Vec<StageSpec>, Status> = run.stages.into_iter().map(stage).collect();
    Ok(Recovered {
        number: run.run,
        recoveries: term.saturating_sub(run.term),
        left_ms: run.timeout_ms.saturating_sub(past_ms),
        outcome: outcome.map(state).transpose()?,
        submission: Submission {
            key: Some(run.key).filter(|key| !key.is_empty()),
            input: run.input,
            application: run.application_name,
            stages: stages?,
            timeout_ms: run.timeout_ms,
            seen: pins(run.seen)?,
            grants: run.grants,
            submitted_unix_ms: run.submitted_unix_ms,
        },
    })
}

fn stage(stored: StoredStage) -> Result<StageSpec, Status> {
    let dealing = match stored.kind() {
        proto::StageKind::Unspecified | proto::StageKind::Operator => Dealing::Whole,
        proto::StageKind::Map => Dealing::Chunks,
        proto::StageKind::Reduce => Dealing::Partitions(stored.partitions),
    };
    let component = stored
        .component
        .map(|hash| ComponentHash::try_from(&hash[..]));
    Ok(StageSpec {
        class: stored.class,
        order: stored.order,
        dealing,
        chunk: stored.chunk as usize,
        timeout_ms: stored.timeout_ms,
        attempts_max: stored.attempts_max,
        options: stored.options,
        component: component.transpose()?,
    })
}

fn state(stored: StoredOutcome) -> Result<RunState, Status> {
    Ok(match stored.state() {
        proto::RunState::Completed => RunState::Completed(Arc::new(Checkpoint {
            items: stored.output.into_iter().map(Item::from).collect(),
            pins: pins(stored.pins)?,
        })),
        proto::RunState::Failed => RunState::Failed(stored.error),
        proto::RunState::Expired => RunState::Expired(stored.error),
        proto::RunState::Cancelled => RunState::Cancelled,
        proto::RunState::Unspecified | proto::RunState::Running => {
            return Err(Status::invalid("an outcome that is none"));
        }
    })
}
