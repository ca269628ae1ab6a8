//! The machine's words and those of the wire, both ways. What comes from outside is checked here.

use common::application::{
    CLASS_CHARS_MAX, GRANT_BYTES_MAX, GRANTS_MAX, PARTITIONS_MAX, STAGES_MAX, TIMEOUT_MAX,
};
use common::fabric::Address;
use common::proto::{self, stage_report};
use common::status::Status;
use common::types::{
    ComponentHash, Dealing, Item, Link, PINS_MAX, Pin, Source, WorkerAddress, required,
};

use crate::core::{Ended, Forward, Report, RunKey, Task, TaskKey};

/// Sources of one task: workers that have left something for it.
const SOURCES_MAX: usize = 10_000;
/// What they have left, together.
const PARTS_MAX: usize = 1_000_000;

pub fn task(now_ms: u64, task: proto::Task) -> Result<Task, Status> {
    let meta = required(task.meta, "meta")?;
    if task.chain.len() > STAGES_MAX as usize || task.next as usize >= task.chain.len() {
        return Err(Status::invalid(format!(
            "a chain has at most {STAGES_MAX} stages, and `next` is one of them; not {} and {}",
            task.chain.len(),
            task.next
        )));
    }
    if meta.pins.len() > PINS_MAX {
        return Err(Status::invalid(format!(
            "a request has at most {PINS_MAX} pins, not {}",
            meta.pins.len()
        )));
    }
    let are_long = meta
        .grants
        .iter()
        .any(|grant| grant.len() > GRANT_BYTES_MAX);
    if are_long || meta.grants.len() > GRANTS_MAX {
        return Err(Status::invalid(format!(
            "a request grants at most {GRANTS_MAX} prefixes of at most {GRANT_BYTES_MAX} bytes"
        )));
    }
    let left_max_ms = u64::try_from(TIMEOUT_MAX.as_millis()).unwrap_or(u64::MAX);
    let mut chain = task.chain;
    let before = task
        .next
        .checked_sub(1)
        .and_then(|before| chain.get_mut(before as usize));
    let items = before
        .map(|before| std::mem::take(&mut before.output))
        .unwrap_or_default();
    let chain: Vec<Link> = chain.into_iter().map(link).collect::<Result<_, _>>()?;
    Ok(Task {
        key: TaskKey {
            run: RunKey {
                scheduler_incarnation: meta.scheduler_incarnation,
                number: meta.run,
            },
            segment: segment(&chain, task.next),
            task: task.task,
            attempt: meta.attempt,
            stage: task.next,
        },
        sources: sources(task.sources)?,
        arrived_ms: now_ms,
        deadline_ms: now_ms + meta.deadline_ms.min(left_max_ms),
        input: task.input,
        items: items.into_iter().map(Item::from).collect(),
        pins: meta
            .pins
            .into_iter()
            .map(Pin::try_from)
            .collect::<Result<_, _>>()?,
        grants: meta.grants,
        submitted_unix_ms: meta.submitted_unix_ms,
        retry: meta.retry,
        chain,
    })
}

/// Index of the first of the plain stages that are handed on up to this one.
fn segment(chain: &[Link], stage: u32) -> u32 {
    let is_parallel = |index: u32| {
        let link = chain.get(index as usize);
        link.is_none_or(|link| link.dealing.is_parallel())
    };
    let mut first = stage;
    while !is_parallel(first)
        && first
            .checked_sub(1)
            .is_some_and(|before| !is_parallel(before))
    {
        first -= 1;
    }
    first
}

fn sources(sources: Vec<proto::Source>) -> Result<Vec<Source>, Status> {
    let parts: usize = sources.iter().map(|source| source.parts.len()).sum();
    if sources.len() > SOURCES_MAX || parts > PARTS_MAX {
        return Err(Status::invalid(format!(
            "a task has at most {SOURCES_MAX} sources with {PARTS_MAX} parts"
        )));
    }
    let source = |source: proto::Source| {
        Ok(Source {
            worker: worker_address(required(source.worker, "worker")?)?,
            parts: source.parts.into_iter().map(Into::into).collect(),
        })
    };
    sources.into_iter().map(source).collect()
}

fn dealing(kind: proto::StageKind, partitions: u32) -> Result<Dealing, Status> {
    match kind {
        proto::StageKind::Unspecified | proto::StageKind::Operator => Ok(Dealing::Whole),
        proto::StageKind::Map => Ok(Dealing::Chunks),
        proto::StageKind::Reduce if (1..=PARTITIONS_MAX).contains(&partitions) => {
            Ok(Dealing::Partitions(partitions))
        }
        proto::StageKind::Reduce => Err(Status::invalid(format!(
            "a reduce has 1 to {PARTITIONS_MAX} partitions, not {partitions}"
        ))),
    }
}

fn link(assignment: proto::Assignment) -> Result<Link, Status> {
    if assignment.class.is_empty() || assignment.class.len() > CLASS_CHARS_MAX {
        return Err(Status::invalid(format!(
            "the name of a class has 1 to {CLASS_CHARS_MAX} bytes"
        )));
    }
    Ok(Link {
        dealing: dealing(assignment.kind(), assignment.partitions)?,
        component: assignment
            .component
            .map(|hash| ComponentHash::try_from(&hash[..]))
            .transpose()?,
        class: assignment.class,
        order: assignment.order,
        worker: assignment.worker.map(worker_address).transpose()?,
        timeout_ms: assignment.timeout_ms,
        options: assignment.options.into_iter().collect(),
    })
}

pub fn worker_address(worker: proto::WorkerAddress) -> Result<WorkerAddress, Status> {
    let address =
        Address::parse(&worker.url).map_err(|error| Status::invalid(error.to_string()))?;
    Ok(WorkerAddress {
        name: worker.name,
        address,
    })
}

fn pins_to_proto(pins: &[Pin]) -> Vec<proto::Pin> {
    pins.iter().cloned().map(proto::Pin::from).collect()
}

fn items_to_proto(items: &[Item]) -> Vec<proto::Item> {
    items.iter().cloned().map(proto::Item::from).collect()
}

pub fn report(report: &Report, worker: proto::WorkerAddress) -> proto::StageReport {
    let key = report.task.key;
    let (end, permanent) = match report.end.as_ref() {
        Ended::Returned { items, pins } => {
            let output = proto::StageOutput {
                items: items_to_proto(items),
                pins: pins_to_proto(pins),
            };
            (stage_report::End::Output(output), false)
        }
        Ended::Held { pins } => {
            let pins = pins_to_proto(pins);
            (stage_report::End::Held(proto::StageHeld { pins }), false)
        }
        Ended::SourceLost {
            worker,
            parts,
            reason,
        } => {
            let lost = proto::SourceLost {
                worker: worker.clone(),
                parts: parts.iter().copied().map(Into::into).collect(),
                reason: reason.clone(),
            };
            (stage_report::End::Lost(lost), false)
        }
        Ended::Failed { reason, permanent } => {
            (stage_report::End::Error(reason.clone()), *permanent)
        }
    };
    proto::StageReport {
        run: key.run.number,
        attempt: key.attempt,
        stage: key.stage,
        task: key.task,
        worker: Some(worker),
        queue_ms: report.queue_ms,
        run_ms: report.run_ms,
        cold_ms: report.account.cold_ms,
        calls: Some(report.account.calls.clone().into()),
        end: Some(end),
        permanent,
        scheduler_incarnation: key.run.scheduler_incarnation,
    }
}

/// The request for the next worker; `attempt` and `left_ms` are filled in when it is sent.
pub fn next_task(forward: &Forward) -> proto::Task {
    let Forward { task, end } = forward;
    let mut chain: Vec<proto::Assignment> = task.chain.iter().map(Into::into).collect();
    let mut pins = Vec::new();
    if let Ended::Returned { items, pins: held } = end.as_ref() {
        pins = pins_to_proto(held);
        if let Some(ended) = chain.get_mut(task.key.stage as usize) {
            ended.output = items_to_proto(items);
        }
    }
    proto::Task {
        meta: Some(proto::MetaRecord {
            run: task.key.run.number,
            attempt: task.key.attempt,
            deadline_ms: 0,
            pins,
            scheduler_incarnation: task.key.run.scheduler_incarnation,
            submitted_unix_ms: task.submitted_unix_ms,
            grants: task.grants.clone(),
            // Whoever has executed this stage before may have handed it on.
            retry: task.retry,
        }),
        input: task.input.clone(),
        next: task.key.stage + 1,
        chain,
        task: 0,
        sources: Vec::new(),
    }
}
