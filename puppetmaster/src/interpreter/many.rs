//! The commands that concern all records whose ids begin alike: `scan` and `watch`.

use super::Interpreter;
use super::storage::text;
use crate::cluster::Cluster;
use crate::outcome::Failure;
use crate::output::{Event, Output};
use common::client::scan::{PAGE_MAX, ScanPage};
use common::client::watch::{Change, From, Watch};
use common::client::{Route, StorageClient};
use common::fabric::Task;
use common::types::{RESERVED_PREFIX, RecordId, RecordVersion};
use futures::stream::{self, StreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Prefixes that one script watches.
const WATCHES_MAX: usize = 64;
/// Reads at once of records that a replica does not have as the script has seen them. Each takes seconds if what was seen is
/// lost: few rounds are to fit into the command's patience.
const SEEN_READS_MAX: usize = 256;
/// How long a script that has ended waits for the last changes.
const LAST_CHANGES_MS: u64 = 5_000;

/// A watch under way; it ends when this is dropped.
pub(super) struct Watching {
    /// Says that no more changes are to be expected.
    end: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
    task: Task,
}

impl Interpreter {
    /// Shows the records that exist, in key order.
    pub(super) async fn scan(&self, prefix: &str, limit: Option<u32>) -> Result<(), Failure> {
        let mut left = limit.unwrap_or(u32::MAX);
        let mut after = RecordId::new();
        let mut is_first = true;
        loop {
            let (client, route) = self.route(None).await?;
            let page = client
                .scan(prefix, &after, left.min(PAGE_MAX), route)
                .await?;
            let next = page.next.clone();
            for (key, found) in self.with_seen(prefix, &after, page, &client, route).await? {
                let shown = left > 0 && is_wanted(prefix, &key);
                if let Some(value) = text(&found).filter(|_| shown) {
                    self.say_record(&key, found.version, value);
                    (left, is_first) = (left - 1, false);
                }
            }
            match next {
                Some(next) if left > 0 => after = next,
                _ => break,
            }
        }
        if is_first {
            self.cluster.output.say(&Event::Records(Vec::new()));
        }
        Ok(())
    }

    /// The page, with no record older than the script has seen it.
    async fn with_seen(
        &self,
        prefix: &str,
        after: &str,
        page: ScanPage,
        client: &StorageClient,
        route: Route,
    ) -> Result<BTreeMap<RecordId, RecordVersion>, Failure> {
        let mut records: BTreeMap<_, _> = page.records.into_iter().collect();
        let is_behind = |key: &RecordId, seen| {
            key.starts_with(prefix)
                && key.as_str() > after
                && page.next.as_ref().is_none_or(|next| key <= next)
                && records.get(key).is_none_or(|found| found.version < seen)
        };
        let mut behind = self.runs.seen.all();
        behind.retain(|(key, seen)| is_behind(key, *seen));
        let mut reads = stream::iter(behind)
            .map(|(key, _)| async move {
                let wanted = self.runs.seen.newest(&key);
                let found = client.read(&key, wanted, route).await;
                (key, wanted, found)
            })
            .buffered(SEEN_READS_MAX);
        while let Some((key, wanted, found)) = reads.next().await {
            let found = found?;
            self.note_loss(&key, wanted, &found);
            records.insert(key, found);
        }
        Ok(records)
    }

    /// From now on tells every change, until the script ends.
    pub(super) async fn watch(&mut self, prefix: &str) -> Result<(), Failure> {
        if self.watches.contains_key(prefix) {
            let told = format!("records that begin with `{prefix}` are watched already");
            self.cluster.output.message(told);
            return Ok(());
        }
        if self.watches.len() >= WATCHES_MAX {
            let message = format!("a script watches at most {WATCHES_MAX} prefixes");
            return Err(Failure::new(message));
        }
        let (client, route) = self.route(None).await?;
        let mut watch = client.watch(prefix, From::Now)?;
        let output = self.cluster.output.clone();
        watch
            .catch_up(route.deadline_ms, |change| tell(&output, prefix, change))
            .await?;
        let (end, is_over) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let following = follow(
            Arc::clone(&self.cluster),
            prefix.to_owned(),
            watch,
            is_over,
            ending,
        );
        let watching = Watching {
            end,
            ended,
            task: self.cluster.fabric.spawn(Box::pin(following)),
        };
        self.watches.insert(prefix.to_owned(), watching);
        Ok(())
    }

    /// Returns when the watches have told what there was to tell.
    pub(super) async fn end_watches(&mut self) {
        let watches = std::mem::take(&mut self.watches);
        let mut ending = Vec::new();
        for Watching { end, ended, task } in watches.into_values() {
            // A watch that has failed has said so.
            let _ = end.send(());
            ending.push((ended, task));
        }
        for (ended, _task) in ending {
            let _ = ended.await;
        }
    }
}

/// Marionette's own records are shown only to who asks for them.
fn is_wanted(prefix: &str, key: &str) -> bool {
    prefix.starts_with(RESERVED_PREFIX) || !key.starts_with(RESERVED_PREFIX)
}

/// Tells changes until it is over, and then those that are there by then.
async fn follow(
    cluster: Arc<Cluster>,
    prefix: String,
    mut watch: Watch,
    mut is_over: oneshot::Receiver<()>,
    ending: oneshot::Sender<()>,
) {
    let output = &cluster.output;
    let failed = loop {
        tokio::select! {
            changes = watch.next() => match changes {
                Ok(changes) => changes.into_iter().for_each(|change| tell(output, &prefix, change)),
                Err(status) => break Err(status),
            },
            _ = &mut is_over => {
                let deadline_ms = cluster.fabric.now_ms() + LAST_CHANGES_MS;
                break watch.catch_up(deadline_ms, |change| tell(output, &prefix, change)).await;
            }
        }
    };
    if let Err(status) = failed {
        let why = status.message;
        output.message(format!(
            "not all changes of records that begin with `{prefix}` were told: {why}"
        ));
    }
    // Nobody waits for a watch that ends early.
    let _ = ending.send(());
}

fn tell(output: &Output, prefix: &str, change: Change) {
    if !is_wanted(prefix, &change.record) {
        return;
    }
    output.say(&Event::Change {
        value: text(&change.made),
        key: change.record,
        version: change.made.version,
    });
}
