//! Fetches what tasks of the stage before have left at other workers: from all of them at once, from each page by page,
//! so that nobody is sent more than it has room for.
//!
//! Relies on: a page is named by its place, so that whoever is asked again for one that is late answers alike.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::fabric::{Duration, FabricHandle};
use common::proto::{FetchRequest, FetchResponse, worker};
use common::status::{Kind, Status};
use common::types::{Item, Source};
use futures::future::try_join_all;

use crate::core::{Ended, Task, item_bytes};

/// What one task may get, in bytes: its operator has it in memory at once.
const FETCHED_BYTES_MAX: usize = 256 << 20;
/// A page that takes longer is asked for again.
const PAGE_TIMEOUT: Duration = Duration::from_millis(2_500);
/// A worker that does not answer for so long has lost what it had. That is several times [`PAGE_TIMEOUT`], since one page
/// may be late; and longer than the scheduler waits for a worker (5 s), since what an evicted one had is made again without
/// counting as a failure.
const SILENCE_MS_MAX: u64 = 6_000;
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
        let page = page(fabric, task, source, (ended, offset)).await;
        let page = page.map_err(|reason| lost(source, ended, &reason))?;
        // A page that neither ends a part nor goes on in it would be asked for for ever.
        if page.parts_ended == 0 && page.offset <= offset {
            return Err(lost(source, ended, "its answer leads nowhere"));
        }
        ended += page.parts_ended as usize;
        offset = page.offset;
        for part in page.items {
            let items: Vec<Item> = part.items.into_iter().map(Item::from).collect();
            let more: usize = items.iter().map(item_bytes).sum();
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

/// The next page, or why there is none to be had.
async fn page(
    fabric: &FabricHandle,
    task: &Task,
    source: &Source,
    (ended, offset): (usize, u64),
) -> Result<FetchResponse, String> {
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
            return Err(failure.to_string());
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

/// What has been had by now is not lost.
fn lost(source: &Source, ended: usize, reason: &str) -> Ended {
    Ended::SourceLost {
        worker: source.worker.name.clone(),
        parts: source.parts.iter().skip(ended).copied().collect(),
        reason: format!("worker {}: {reason}", source.worker.name),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::AtomicU64;
    use std::sync::{Arc, Mutex};

    use common::fabric::{Address, BoxFuture, Bytes, Fabric, Router, Serving, decode, encode};
    use common::proto::{self, PartItems};
    use common::types::{Part, WorkerAddress};

    use super::*;
    use crate::core::tests::{key, task};

    /// What a worker does when it is asked.
    enum Turn {
        IsLate,
        IsAbsent,
        HasNothing,
        /// The first of the parts that were asked for.
        Gives(Item),
    }

    /// A worker that has one item in each part, as far as its turns go, then is late for ever; and the clock.
    #[derive(Default)]
    struct Played {
        turns: Mutex<VecDeque<Turn>>,
        asked: Mutex<Vec<FetchRequest>>,
        clock_ms: AtomicU64,
    }

    impl Played {
        fn answer(&self, body: Bytes, timeout: Duration) -> Result<Bytes, Status> {
            let request: FetchRequest = decode(body).unwrap();
            let first = request.parts[0];
            self.asked.lock().unwrap().push(request);
            match self.turns.lock().unwrap().pop_front() {
                Some(Turn::Gives(item)) => Ok(encode(&FetchResponse {
                    items: vec![PartItems {
                        task: first.task,
                        items: vec![proto::Item::from(item)],
                    }],
                    parts_ended: 1,
                    offset: 0,
                })),
                Some(Turn::HasNothing) => Err(Status::new(Kind::NotFound, "nothing")),
                Some(Turn::IsAbsent) => Err(Status::unavailable("nobody is there")),
                Some(Turn::IsLate) | None => {
                    self.pass(timeout);
                    Err(Status::timeout("late"))
                }
            }
        }

        fn pass(&self, time: Duration) {
            let time_ms = u64::try_from(time.as_millis()).unwrap();
            self.clock_ms.fetch_add(time_ms, Ordering::Relaxed);
        }
    }

    impl Fabric for Played {
        fn call(
            &self,
            _: &Address,
            _: &'static str,
            body: Bytes,
            timeout: Duration,
        ) -> BoxFuture<'static, Result<Bytes, Status>> {
            let answer = self.answer(body, timeout);
            Box::pin(async { answer })
        }

        fn send(&self, _: &Address, _: &'static str, _: Bytes, _: Duration) -> Result<(), Status> {
            unreachable!()
        }

        fn serve(&self, _: &Address, _: Router) -> BoxFuture<'static, Result<Serving, Status>> {
            unreachable!()
        }

        fn now_ms(&self) -> u64 {
            self.clock_ms.load(Ordering::Relaxed)
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            self.pass(duration);
            Box::pin(async {})
        }
    }

    fn part(task: u32) -> Part {
        Part { task, attempt: 1 }
    }

    /// What comes of fetching three parts from a worker that has these turns, by a task that has got so many bytes by
    /// now; and how that was asked.
    async fn fetched_behind(
        bytes: usize,
        turns: impl IntoIterator<Item = Turn>,
    ) -> (Result<Vec<Item>, Ended>, Arc<Played>) {
        let played = Arc::new(Played {
            turns: Mutex::new(turns.into_iter().collect()),
            ..Played::default()
        });
        let fabric: FabricHandle = played.clone();
        let source = Source {
            worker: WorkerAddress {
                name: "w2".to_owned(),
                address: Address::parse("127.0.0.1:1").unwrap(),
            },
            parts: (0..3).map(part).collect(),
        };
        let task = task(key("1/1/1"), 0, 60_000);
        let fetched = fetch_from(&fabric, &task, &source, &AtomicUsize::new(bytes)).await;
        let items = |parts: Vec<(u32, Vec<Item>)>| parts.into_iter().flat_map(|part| part.1);
        (fetched.map(|parts| items(parts).collect()), played)
    }

    async fn fetched(
        turns: impl IntoIterator<Item = Turn>,
    ) -> (Result<Vec<Item>, Ended>, Arc<Played>) {
        fetched_behind(0, turns).await
    }

    fn gives(value: &str) -> Turn {
        Turn::Gives(Item::plain(value.to_owned()))
    }

    fn lost_parts(ended: Result<Vec<Item>, Ended>) -> Vec<u32> {
        let Err(Ended::SourceLost { worker, parts, .. }) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(worker, "w2");
        parts.into_iter().map(|part| part.task).collect()
    }

    #[tokio::test]
    async fn a_page_that_is_late_is_asked_for_again_at_the_same_place() {
        let turns = [
            gives("a"),
            Turn::IsLate,
            Turn::IsLate,
            gives("b"),
            gives("c"),
        ];
        let (items, played) = fetched(turns).await;
        assert_eq!(items.unwrap(), ["a", "b", "c"].map(Item::plain));
        let asked = played.asked.lock().unwrap();
        assert_eq!(asked[1], asked[2]);
        assert_eq!(asked[1], asked[3]);
        assert_eq!(asked[1].parts, [1, 2].map(|task| part(task).into()));
    }

    #[tokio::test]
    async fn a_worker_that_stays_silent_has_lost_what_it_has_not_given_yet() {
        let (ended, played) = fetched([gives("a"), gives("b")]).await;
        assert_eq!(lost_parts(ended), [2]);
        let late = played.asked.lock().unwrap().len() - 2;
        assert!(late >= 3, "asked only {late} times for the late page");
        // The scheduler, which evicts a worker after 5 s, is to be first.
        assert!((5_500..8_000).contains(&played.now_ms()));
    }

    #[tokio::test]
    async fn a_worker_that_is_not_there_may_come_back_for_a_while() {
        let absent = |times| (0..times).map(|_| Turn::IsAbsent);
        let back = absent(20).chain(["a", "b", "c"].map(gives));
        let (items, _) = fetched(back).await;
        assert_eq!(items.unwrap().len(), 3);
        let (ended, played) = fetched(absent(200)).await;
        assert_eq!(lost_parts(ended), [0, 1, 2]);
        assert!(played.now_ms() < 8_000);
    }

    #[tokio::test]
    async fn a_worker_that_says_that_it_has_nothing_is_not_asked_again() {
        let (ended, played) = fetched([gives("a"), Turn::HasNothing]).await;
        assert_eq!(lost_parts(ended), [1, 2]);
        assert_eq!(played.asked.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn keys_count_among_the_bytes_of_a_task() {
        let item = Item {
            key: Some("k".repeat(1_000)),
            value: Bytes::new(),
        };
        let (ended, _) = fetched_behind(FETCHED_BYTES_MAX - 1_000, [Turn::Gives(item)]).await;
        let Err(Ended::Failed {
            reason,
            permanent: true,
        }) = ended
        else {
            panic!("{ended:?}");
        };
        assert!(reason.contains("more `partitions`"), "{reason}");
    }
}
