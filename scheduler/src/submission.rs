//! A submission as it comes from outside: checked, with errors that name the place in the application file.

use std::sync::Arc;

use common::application::{Application, StageKind, TIMEOUT_MAX};
use common::diagnostic::{Diagnostic, render_all};
use common::proto;
use common::status::{Kind, Status};
use common::types::Dealing;

use crate::convert;
use crate::core::{StageSpec, Submission, SubmitError, WrongStage};

/// The input of a run.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// The text of an application file.
const APPLICATION_BYTES_MAX: usize = 256 << 10;
const APPLICATION_NAME_BYTES_MAX: usize = 4 << 10;
/// The key under which a run is submitted.
const KEY_BYTES_MAX: usize = 128;
/// Versions that one submitter has seen.
const SEEN_MAX: usize = 1_000;
/// The time of a run that says nothing else.
const RUN_TIMEOUT_MS: u64 = 60_000;
/// Attempts at a stage that says nothing else.
const ATTEMPTS_MAX: u32 = 3;

pub fn parse(
    request: proto::SubmitRequest,
    submitted_unix_ms: u64,
) -> Result<(Arc<Application>, Submission), Status> {
    bound("the input of a run", request.input.len(), INPUT_BYTES_MAX)?;
    bound(
        "an application file",
        request.application.len(),
        APPLICATION_BYTES_MAX,
    )?;
    bound(
        "the name of an application",
        request.application_name.len(),
        APPLICATION_NAME_BYTES_MAX,
    )?;
    bound("the key of a run", request.key.len(), KEY_BYTES_MAX)?;
    let timeout_max_ms = u64::try_from(TIMEOUT_MAX.as_millis()).unwrap_or(u64::MAX);
    let timeout_ms = match request.timeout_ms {
        0 => RUN_TIMEOUT_MS,
        ms if ms <= timeout_max_ms => ms,
        ms => {
            return Err(Status::invalid(format!(
                "a run lasts at most {timeout_max_ms} ms, not {ms}"
            )));
        }
    };
    let application = Application::parse(&request.application_name, &request.application)
        .map_err(|wrong| wrong_file(&wrong))?;
    let stages = application.stages.iter().map(stage_spec).collect();
    if request.seen.len() > SEEN_MAX {
        let count = request.seen.len();
        return Err(Status::invalid(format!(
            "a submitter has seen at most {SEEN_MAX} records, not {count}"
        )));
    }
    let mut seen = convert::pins(request.seen)?;
    for pin in &mut seen {
        pin.is_floor = true;
    }
    let submission = Submission {
        key: Some(request.key).filter(|key| !key.is_empty()),
        seen,
        input: request.input,
        application: request.application_name,
        stages,
        timeout_ms,
        grants: application.grants.clone(),
        submitted_unix_ms,
    };
    Ok((Arc::new(application), submission))
}

fn bound(what: &str, bytes: usize, bytes_max: usize) -> Result<(), Status> {
    if bytes > bytes_max {
        return Err(Status::invalid(format!(
            "{what} has at most {bytes_max} bytes, not {bytes}"
        )));
    }
    Ok(())
}

fn stage_spec(stage: &common::application::Stage) -> StageSpec {
    StageSpec {
        class: stage.class.clone(),
        order: stage.number,
        dealing: match stage.kind {
            StageKind::Operator => Dealing::Whole,
            StageKind::Map => Dealing::Chunks,
            // None: the machine knows how many workers there are.
            StageKind::Reduce => Dealing::Partitions(stage.partitions.unwrap_or(0)),
        },
        chunk: stage.chunk.unwrap_or(1) as usize,
        timeout_ms: stage
            .timeout
            .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        attempts_max: stage.retries.map_or(ATTEMPTS_MAX, |retries| retries + 1),
        options: stage.options.clone(),
        component: None,
    }
}

pub fn refused(error: &SubmitError, application: &Application) -> Status {
    match error {
        SubmitError::NoWorker | SubmitError::NoRing => Status::unavailable(error.to_string()),
        SubmitError::TooManyRuns { .. } | SubmitError::TooManyBytes { .. } => {
            Status::overloaded(error.to_string())
        }
        SubmitError::KeyTaken { .. } => Status::new(Kind::AlreadyExists, error.to_string()),
        SubmitError::WrongStages { stages, known } => {
            let wrong: Vec<Diagnostic> = stages
                .iter()
                .filter_map(|wrong| wrong_stage(*wrong, known, application))
                .collect();
            wrong_file(&wrong)
        }
    }
}

fn wrong_stage(
    wrong: WrongStage,
    known: &[String],
    application: &Application,
) -> Option<Diagnostic> {
    match wrong {
        WrongStage::UnknownClass(index) => {
            let stage = application.stages.get(index)?;
            Some(stage.unknown_class(known.iter().map(String::as_str)))
        }
        WrongStage::ReduceBehindReduce(index) => {
            let stage = application.stages.get(index)?;
            Some(
                stage
                    .wrong("a `reduce` cannot follow a `reduce` yet")
                    .hint("let an `operator` or a `map` come between"),
            )
        }
        WrongStage::NoItems(index) => {
            let stage = application.stages.get(index)?;
            let keyword = stage.kind.keyword();
            let message = format!("the first stage cannot be a `{keyword}`: it gets no items");
            Some(
                stage
                    .wrong(message)
                    .hint("let an `operator` come first that makes items of the run's input"),
            )
        }
    }
}

fn wrong_file(wrong: &[Diagnostic]) -> Status {
    Status::invalid(render_all(wrong, false))
}
