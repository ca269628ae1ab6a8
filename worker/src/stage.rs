//! One task from its start to its end: its items are fetched, its operator runs, and what that returned is divided, if a
//! `reduce` comes next.

use std::sync::Arc;

use common::fabric::{Duration, FabricHandle, timeout};

use crate::core::{Account, Ended, Task};
use crate::fetch::fetch;
use crate::host::{OperatorHost, OperatorRequest, Ran};
use crate::parts::{PartError, PartKey, Parts};
use crate::ring::RingWatch;
use crate::session::Session;

/// What tasks are run with. Cheap to clone.
#[derive(Clone)]
pub struct Bench {
    pub fabric: FabricHandle,
    pub host: Arc<OperatorHost>,
    pub ring: RingWatch,
    pub parts: Parts,
}

impl Bench {
    /// How the task ended, and what it took. The operator has `time_ms`, but not beyond the run's deadline; to fetch what it
    /// needs takes no longer than that, either.
    pub async fn run(&self, task: Arc<Task>, time_ms: u64) -> (Ended, Account) {
        let deadline_ms = self.fabric.now_ms() + time_ms;
        let (mut session, afterwards) = Session::new(&task, self.ring.clone(), deadline_ms);
        if task.retry
            && let Err(end) = session.recover().await
        {
            return (end, Account::default());
        }
        let request = match self.request(&task, deadline_ms).await {
            Ok(request) => request,
            Err(end) => return (end, Account::default()),
        };
        let now_ms = self.fabric.now_ms();
        let left_ms = time_ms.min(task.deadline_ms.saturating_sub(now_ms));
        session.ends_at(now_ms + left_ms);
        let deadline = Duration::from_millis(left_ms);
        let Ran { result, cold, .. } = self.host.run(request, Box::new(session), deadline).await;
        let account = Account {
            cold_ms: u64::try_from(cold.as_millis()).unwrap_or(u64::MAX),
            calls: afterwards.calls(),
        };
        let end = self.leave(&task, afterwards.end(result)).await;
        (end, account)
    }

    async fn request(&self, task: &Task, deadline_ms: u64) -> Result<OperatorRequest, Ended> {
        let link = task.link().ok_or_else(|| Ended::Failed {
            reason: "the chain has no such stage".to_owned(),
            permanent: true,
        })?;
        let mut items = task.items.clone();
        if !task.sources.is_empty() {
            let left_ms = deadline_ms.saturating_sub(self.fabric.now_ms());
            let left = Duration::from_millis(left_ms);
            let fetched = timeout(self.fabric.as_ref(), left, fetch(&self.fabric, task)).await;
            let late = || {
                Err(Ended::Failed {
                    reason: "its items could not be fetched in time".to_owned(),
                    permanent: false,
                })
            };
            items.extend(fetched.unwrap_or_else(late)?);
        }
        if task.reduces() {
            // Stable: equal keys stay in the order of the tasks that returned them.
            items.sort_by(|one, other| one.key.cmp(&other.key));
        }
        Ok(OperatorRequest {
            class: link.class.clone(),
            component: link.component,
            run: task.key.run.number,
            scheduler_incarnation: task.key.run.scheduler_incarnation,
            submitted_unix_ms: task.submitted_unix_ms,
            stage: link.order,
            task: task.key.task,
            attempt: task.key.attempt,
            input: task.input.clone(),
            options: link.options.clone(),
            grants: task.grants.clone(),
            items,
            rehearsal: None,
        })
    }

    /// What the task returned stays here if the tasks of a `reduce` will fetch it.
    async fn leave(&self, task: &Task, end: Ended) -> Ended {
        match (task.leaves(), end) {
            (Some(partitions), Ended::Returned { items, pins }) => {
                let key = PartKey {
                    run: task.key.run,
                    stage: task.key.stage,
                    part: common::types::Part {
                        task: task.key.task,
                        attempt: task.key.attempt,
                    },
                };
                let times = (self.fabric.now_ms(), task.deadline_ms);
                match self.parts.keep(key, items, partitions, times).await {
                    Ok(()) => Ended::Held { pins },
                    Err(error) => Ended::Failed {
                        reason: error.to_string(),
                        permanent: matches!(error, PartError::NoKey),
                    },
                }
            }
            (_, end) => end,
        }
    }
}
