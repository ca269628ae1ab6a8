//! Fetches what tasks of the stage before have left at other workers: from all of them at once, from each page by page,
//! so that nobody is sent more than it has room for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::fabric::{Duration, FabricHandle};
use common::proto::{FetchRequest, FetchResponse, worker};
use common::status::{Kind, Status};
use common::types::{Item, Source};
use futures::future::try_join_all;

use crate::core::{Ended, Task};

/// What one task may get, in bytes: its operator has it in memory at once.
const FETCHED_BYTES_MAX: usize = 256 << 20;
/// How long one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// A worker that does not answer for so long has lost what it had.
const SILENCE_MS_MAX: u64 = 3_000;
const PAUSE: Duration = Duration::from_millis(100);

/// All items for the task, in the order of the tasks that left them; or how the task ends without them.
pub async fn fetch(fabric: &FabricHandle, task: &Task) -> Result<Vec<Item>, Ended> {
    let bytes = AtomicUsize::new(0);
    let sources = task.sources.iter();
    let fetched = sources.map(|source| fetch_from(fabric, task, source, &bytes));
    let mut by_task: BTreeMap<u32, Vec<Item>> = BTreeMap::new();
    for (task, items) in try_join_all(fetched).await?.into_iter().flatten() {
        by_task.entry(task).or_default().extend(items);
    }
    Ok(by_task.into_values().flatten().collect())
}

async fn fetch_from(
    fabric: &FabricHandle,
    task: &Task,
    source: &Source,
    bytes: &AtomicUsize,
) -> Result<Vec<(u32, Vec<Item>)>, Ended> {
    let (mut fetched, mut ended, mut offset) = (Vec::new(), 0, 0);
    while ended < source.parts.len() {
        let page = page(fabric, task, source, (ended, offset)).await?;
        // A page that neither ends a part nor goes on in it would be asked for for ever.
        if page.parts_ended == 0 && page.offset <= offset {
            return Err(lost(source, "its answer leads nowhere"));
        }
        ended += page.parts_ended as usize;
        offset = page.offset;
        for part in page.items {
            let items: Vec<Item> = part.items.into_iter().map(Item::from).collect();
            let more: usize = items
                .iter()
                .map(|item| size_of::<Item>() + item.value.len())
                .sum();
            if bytes.fetch_add(more, Ordering::Relaxed) + more > FETCHED_BYTES_MAX {
                return Err(Ended::Failed {
                    reason: format!(
                        "the items of this partition have more than {FETCHED_BYTES_MAX} bytes: let the stage have more `partitions`"
                    ),
                    permanent: true,
                });
            }
            fetched.push((part.task, items));
        }
    }
    Ok(fetched)
}

async fn page(
    fabric: &FabricHandle,
    task: &Task,
    source: &Source,
    (ended, offset): (usize, u64),
) -> Result<FetchResponse, Ended> {
    let request = FetchRequest {
        run: task.key.run.number,
        scheduler_incarnation: task.key.run.scheduler_incarnation,
        stage: task.key.stage.saturating_sub(1),
        partition: task.key.task,
        parts: source
            .parts
            .iter()
            .skip(ended)
            .copied()
            .map(Into::into)
            .collect(),
        offset,
    };
    let at = source.worker.address.clone();
    let client = worker::Client::new(fabric.clone(), at, PAGE_TIMEOUT);
    let silent_since_ms = fabric.now_ms();
    loop {
        let failure = match client.fetch(&request).await {
            Ok(page) => return Ok(page),
            Err(failure) => failure,
        };
        let silent_ms = fabric.now_ms().saturating_sub(silent_since_ms);
        if is_final(&failure) || silent_ms > SILENCE_MS_MAX {
            return Err(lost(source, &failure.to_string()));
        }
        fabric.sleep(PAUSE).await;
    }
}

/// True when a repeat would be answered alike.
fn is_final(failure: &Status) -> bool {
    !matches!(
        failure.kind,
        Kind::Unavailable | Kind::Timeout | Kind::Overloaded
    )
}

fn lost(source: &Source, reason: &str) -> Ended {
    Ended::SourceLost {
        worker: source.worker.name.clone(),
        parts: source.parts.clone(),
        reason: format!("worker {}: {reason}", source.worker.name),
    }
}
