//! The machine's words and those of the wire, both ways. What comes from outside is checked here.

use common::application::{CLASS_CHARS_MAX, STAGES_MAX};
use common::fabric::Address;
use common::proto::{self, stage_report};
use common::status::Status;
use common::types::{ComponentHash, Item, Pin, WorkerAddress, required};

use crate::core::{
    Checkpoint, Dispatch, Heartbeat, Run, RunNumber, RunState, Stage, StageEnd, StageReport,
    TracedTask, UnknownRun, Worker,
};

/// A node's name.
const NAME_BYTES_MAX: usize = 128;
/// Classes of one worker.
const CLASSES_MAX: usize = 10_000;
/// Text of an operator's error; the rest is cut.
const ERROR_BYTES_MAX: usize = 16 << 10;

pub fn name(name: String) -> Result<String, Status> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(name),
        length => Err(Status::invalid(format!(
            "a node's name has 1 to {NAME_BYTES_MAX} bytes, not {length}"
        ))),
    }
}

pub fn stage_index(stage: u32) -> Result<usize, Status> {
    if stage >= STAGES_MAX {
        return Err(Status::invalid(format!(
            "an application has at most {STAGES_MAX} stages; there is no stage {stage}"
        )));
    }
    usize::try_from(stage).map_err(|error| Status::invalid(error.to_string()))
}

fn worker_address(worker: proto::WorkerAddress) -> Result<WorkerAddress, Status> {
    let address =
        Address::parse(&worker.url).map_err(|error| Status::invalid(error.to_string()))?;
    Ok(WorkerAddress {
        name: name(worker.name)?,
        address,
    })
}

pub fn heartbeat(request: proto::HeartbeatRequest) -> Result<Heartbeat, Status> {
    let mut classes = request.classes;
    if classes.len() > CLASSES_MAX || classes.iter().any(|class| class.len() > CLASS_CHARS_MAX) {
        return Err(Status::invalid(format!(
            "a worker has at most {CLASSES_MAX} operator classes with names of at most {CLASS_CHARS_MAX} bytes"
        )));
    }
    classes.sort_unstable();
    classes.dedup();
    let worker = worker_address(required(request.worker, "worker")?)?;
    Ok(Heartbeat {
        worker,
        incarnation: request.incarnation,
        classes,
        slots: request.slots,
    })
}

/// Attempts whose items a report may name.
const PARTS_MAX: usize = 100_000;

pub fn stage_report(report: proto::StageReport) -> Result<StageReport, Status> {
    let end = match required(report.end, "end")? {
        stage_report::End::Output(output) => StageEnd::Returned(Checkpoint {
            items: output.items.into_iter().map(Item::from).collect(),
            pins: pins(output.pins)?,
        }),
        stage_report::End::Held(held) => StageEnd::Held {
            pins: pins(held.pins)?,
        },
        stage_report::End::Lost(lost) if lost.parts.len() > PARTS_MAX => {
            return Err(Status::invalid(format!(
                "a report names at most {PARTS_MAX} lost parts"
            )));
        }
        stage_report::End::Lost(lost) => StageEnd::SourceLost {
            worker: name(lost.worker)?,
            parts: lost.parts.into_iter().map(Into::into).collect(),
            reason: bounded(lost.reason),
        },
        stage_report::End::Error(reason) => {
            let reason = bounded(reason);
            StageEnd::Failed {
                reason,
                permanent: report.permanent,
            }
        }
    };
    Ok(StageReport {
        run: report.run,
        attempt: report.attempt,
        stage: stage_index(report.stage)?,
        task: report.task,
        worker: name(required(report.worker, "worker")?.name)?,
        queue_ms: report.queue_ms,
        run_ms: report.run_ms,
        cold_ms: report.cold_ms,
        calls: report.calls.unwrap_or_default().into(),
        end,
    })
}

fn bounded(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(ERROR_BYTES_MAX));
    reason
}

pub fn pins(pins: Vec<proto::Pin>) -> Result<Vec<Pin>, Status> {
    pins.into_iter().map(Pin::try_from).collect()
}

fn pins_to_proto(pins: &[Pin]) -> Vec<proto::Pin> {
    pins.iter().cloned().map(proto::Pin::from).collect()
}

fn items_to_proto(items: &[Item]) -> Vec<proto::Item> {
    items.iter().cloned().map(proto::Item::from).collect()
}

pub fn task(dispatch: &Dispatch, scheduler_incarnation: u64) -> proto::Task {
    let mut chain: Vec<proto::Assignment> = dispatch.chain.iter().map(Into::into).collect();
    let mut pins = Vec::new();
    if let Some(checkpoint) = &dispatch.checkpoint {
        pins = pins_to_proto(&checkpoint.pins);
        if let Some(before) = dispatch
            .stage
            .checked_sub(1)
            .and_then(|before| chain.get_mut(before))
        {
            before.output = items_to_proto(&checkpoint.items);
        }
    }
    proto::Task {
        meta: Some(proto::MetaRecord {
            run: dispatch.run,
            attempt: dispatch.attempt,
            deadline_ms: dispatch.left_ms,
            pins,
            scheduler_incarnation,
            submitted_unix_ms: dispatch.submitted_unix_ms,
            grants: dispatch.grants.to_vec(),
            retry: dispatch.is_retry,
        }),
        input: dispatch.input.to_string(),
        next: u32::try_from(dispatch.stage).unwrap_or(u32::MAX),
        chain,
        task: dispatch.task,
        sources: dispatch.sources.iter().map(Into::into).collect(),
    }
}

pub fn prepare_request(component: ComponentHash) -> proto::PrepareRequest {
    proto::PrepareRequest {
        component: component.bytes().to_vec().into(),
    }
}

/// The run without its output.
pub fn run_summary(run: &Run, now_ms: u64) -> proto::RunReport {
    let (state, error) = match run.told_state() {
        RunState::Running => (proto::RunState::Running, ""),
        RunState::Completed(_) => (proto::RunState::Completed, ""),
        RunState::Failed(reason) => (proto::RunState::Failed, reason.as_str()),
        RunState::Expired(reason) => (proto::RunState::Expired, reason.as_str()),
        RunState::Cancelled => (proto::RunState::Cancelled, ""),
    };
    proto::RunReport {
        run: run.number,
        input: run.input.to_string(),
        application_name: run.application.clone(),
        state: state.into(),
        output: Vec::new(),
        error: error.to_owned(),
        stages: run.stages.iter().map(stage_summary).collect(),
        elapsed_ms: run.elapsed_ms(now_ms),
        pins: Vec::new(),
    }
}

pub fn run_report(run: &Run, now_ms: u64) -> proto::RunReport {
    let mut report = run_summary(run, now_ms);
    if let RunState::Completed(last) = run.told_state() {
        report.output = items_to_proto(&last.items);
        let touched = last.pins.iter().filter(|pin| !pin.is_floor);
        report.pins = touched.cloned().map(proto::Pin::from).collect();
    }
    report
}

fn stage_summary(stage: &Stage) -> proto::StageSummary {
    let times_ms = stage.times_ms.unwrap_or_default();
    proto::StageSummary {
        order: stage.spec.order,
        class: stage.spec.class.clone(),
        worker: stage.worker.clone().unwrap_or_default(),
        attempts: stage.tries,
        queue_ms: times_ms.queue,
        run_ms: times_ms.run,
        cold_ms: times_ms.cold,
        done: stage.done,
        tasks: u32::try_from(stage.progress.tasks).unwrap_or(u32::MAX),
        tasks_done: u32::try_from(stage.progress.done).unwrap_or(u32::MAX),
    }
}

/// What became of the run's tasks; `waits_for` is for people.
pub fn trace(run: &Run, waits_for: String) -> proto::TraceResponse {
    let task = |task: &TracedTask| {
        let spec = run.stages.get(task.stage).map(|stage| &stage.spec);
        proto::TracedTask {
            order: spec.map_or(0, |spec| spec.order),
            class: spec.map(|spec| spec.class.clone()).unwrap_or_default(),
            worker: task.worker.clone(),
            attempt: task.attempt,
            queue_ms: task.times_ms.queue,
            cold_ms: task.times_ms.cold,
            run_ms: task.times_ms.run,
            error: task.error.clone().unwrap_or_default(),
            task: task.task,
            calls: Some(task.calls.clone().into()),
        }
    };
    proto::TraceResponse {
        tasks: run.trace.iter().map(task).collect(),
        waits_for,
    }
}

pub fn worker_status(worker: &Worker, now_ms: u64) -> proto::WorkerStatus {
    proto::WorkerStatus {
        worker: Some(proto::WorkerAddress::from(&worker.at)),
        incarnation: worker.incarnation,
        outstanding: worker.outstanding,
        slots: worker.slots,
        silent_ms: now_ms.saturating_sub(worker.heard_ms),
        classes: worker.classes.clone(),
    }
}

pub fn unknown_run(number: RunNumber) -> Status {
    Status::not_found(UnknownRun(number).to_string())
}
