//! Submits runs, follows each to its outcome, and says the outcome once, when it comes.

use super::seen::Seen;
use crate::cluster::{CALL_MAX, Cluster, POLL_INTERVAL, Phase};
use crate::outcome::{Failure, Outcome};
use crate::output::Event;
use common::fabric::timeout;
use common::proto::{
    AwaitRunRequest, CancelRequest, RunReport, RunState, SubmitRequest, TraceRequest, TraceResponse,
};
use common::status::{Kind, Status};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How long the scheduler holds one question for a run's outcome.
const AWAIT_RUN_MS: u32 = 500;
/// The same while a person watches how far the run is.
const WATCHED_RUN_MS: u32 = 200;
/// Most questions for outcomes at once: they share a connection with everything else.
const FOLLOWED_MAX: usize = 64;
/// A scheduler silent for this long has lost its runs.
const SCHEDULER_SILENCE_MAX_MS: u64 = 10_000;

/// Who counts a run that does not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// `client`: it is counted when its outcome comes.
    WhenItEnds,
    /// `run`: its command fails.
    ByTheCommand,
}

/// A run, and the scheduler that counts it: one that was started again begins at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey {
    scheduler: u64,
    number: u64,
}

/// Absent: still outstanding.
type Reports = BTreeMap<RunKey, Option<RunReport>>;

/// The runs that were submitted from here.
pub struct Runs {
    /// What this script has seen of the records.
    pub seen: Seen,
    cluster: Arc<Cluster>,
    reports: Mutex<Reports>,
    outcome: Mutex<Outcome>,
    changed: watch::Sender<()>,
    questions: Semaphore,
}

impl Runs {
    pub fn new(cluster: Arc<Cluster>) -> Arc<Self> {
        Arc::new(Self {
            seen: Seen::default(),
            cluster,
            reports: Mutex::default(),
            outcome: Mutex::default(),
            changed: watch::Sender::new(()),
            questions: Semaphore::new(FOLLOWED_MAX),
        })
    }

    /// Whether a run that nobody waited for did not complete.
    pub fn outcome(&self) -> Outcome {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits a run, held until all that it needs is ready; its outcome is said when it comes.
    pub async fn submit(
        self: &Arc<Self>,
        input: &str,
        application_name: &str,
        application: String,
        counted: Counted,
    ) -> Result<RunKey, Failure> {
        let client = self.cluster.ready_for_runs().await?;
        let settings = self.cluster.settings();
        let request = SubmitRequest {
            input: input.to_owned(),
            application,
            application_name: application_name.to_owned(),
            timeout_ms: settings.run_timeout_ms(),
            seen: self.seen.to_proto(),
            // Its own: if an answer is lost, the same is asked again, and is no second run.
            key: format!("{:016x}", self.cluster.fabric.random()),
        };
        let mut why = String::new();
        let submitting = async {
            loop {
                match client.submit(&request).await {
                    Err(status) if matches!(status.kind, Kind::Overloaded | Kind::Timeout) => {
                        why = status.message;
                    }
                    answer => return answer,
                }
                self.cluster.fabric.sleep(POLL_INTERVAL).await;
            }
        };
        let answer = timeout(&*self.cluster.fabric, settings.patience(), submitting).await;
        let busy = || Failure::new(format!("the scheduler did not take the run in time: {why}"));
        let run = RunKey {
            scheduler: self.cluster.scheduler_restarts(),
            number: answer.ok_or_else(busy)??.run,
        };
        self.cluster.count_run();
        self.reports().insert(run, None);
        self.cluster.spawn(follow(Arc::clone(self), run, counted));
        Ok(run)
    }

    /// The outcome of a run that was submitted from here and has ended.
    pub fn ended(&self, number: u64) -> Option<RunReport> {
        let run = self.numbered(number)?;
        self.reports().get(&run).cloned().flatten()
    }

    /// The outcome of a run, waited for.
    pub async fn outcome_of(&self, run: RunKey) -> RunReport {
        self.wait_for(|reports| reports.get(&run).cloned().flatten())
            .await
    }

    /// The same for the last run with this number, whoever submitted it.
    pub async fn outcome_of_number(&self, number: u64) -> Result<RunReport, Failure> {
        match self.numbered(number) {
            Some(run) => Ok(self.outcome_of(run).await),
            None => self.outcome_of_others(number).await,
        }
    }

    fn numbered(&self, number: u64) -> Option<RunKey> {
        let reports = self.reports();
        let mut newest_first = reports.keys().rev();
        newest_first.find(|run| run.number == number).copied()
    }

    /// Returns when no run is outstanding.
    pub async fn all_ended(&self) {
        self.wait_for(|reports| reports.values().all(Option::is_some).then_some(()))
            .await;
    }

    /// How many runs are outstanding.
    pub fn outstanding(&self) -> usize {
        self.reports()
            .values()
            .filter(|report| report.is_none())
            .count()
    }

    /// The outcome of a run that somebody else submitted.
    async fn outcome_of_others(&self, run: u64) -> Result<RunReport, Failure> {
        let wait = Duration::from_millis(u64::from(AWAIT_RUN_MS));
        let client = self.cluster.scheduler(wait + CALL_MAX).await?;
        let request = AwaitRunRequest {
            run,
            wait_ms: AWAIT_RUN_MS,
        };
        loop {
            let report = client.await_run(&request).await?;
            if has_ended(&report) {
                return Ok(report);
            }
        }
    }

    /// What the scheduler knows of the tasks of a run.
    pub async fn trace(&self, run: u64) -> Result<TraceResponse, Failure> {
        let client = self.cluster.scheduler(CALL_MAX).await?;
        Ok(client.trace(&TraceRequest { run }).await?)
    }

    /// Cancels a run, and waits for its outcome if it was submitted from here.
    pub async fn cancel(&self, number: u64) -> Result<(), Failure> {
        let client = self.cluster.scheduler(CALL_MAX).await?;
        client.cancel(&CancelRequest { run: number }).await?;
        if let Some(run) = self.numbered(number) {
            self.outcome_of(run).await;
        }
        Ok(())
    }

    /// What the scheduler knows of a run now.
    pub async fn report_now(&self, run: u64) -> Result<RunReport, Failure> {
        let client = self.cluster.scheduler(CALL_MAX).await?;
        Ok(client
            .await_run(&AwaitRunRequest { run, wait_ms: 0 })
            .await?)
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for<T>(&self, mut probe: impl FnMut(&Reports) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            let found = probe(&self.reports());
            if let Some(found) = found {
                return found;
            }
            // The sender is a field of `self`: this cannot fail while `self` lives.
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn end(&self, run: RunKey, report: RunReport, counted: Counted) {
        let is_well = matches!(report.state(), RunState::Completed | RunState::Cancelled);
        if counted == Counted::WhenItEnds && !is_well {
            let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
            *outcome = outcome.and(Outcome::Failed);
        }
        self.seen.note_run(&report);
        self.cluster.output.say(&Event::Run(report.clone()));
        self.reports().insert(run, Some(report));
        self.changed.send_replace(());
    }

    /// One question for the outcome of a run.
    async fn ask(&self, run: RunKey, wait_ms: u32) -> Result<RunReport, Status> {
        let wait = Duration::from_millis(u64::from(wait_ms));
        let permit = self.questions.acquire().await;
        let client = self.cluster.scheduler(wait + CALL_MAX).await;
        let client = client.map_err(|failure| Status::unavailable(failure.message()))?;
        let report = client
            .await_run(&AwaitRunRequest {
                run: run.number,
                wait_ms,
            })
            .await;
        drop(permit);
        // Another scheduler was asked, which knows nothing of this run and may count one of its own by this number.
        if self.cluster.scheduler_restarts() != run.scheduler {
            return Err(Status::not_found("it was started again"));
        }
        report
    }

    fn scheduler_is_down(&self) -> bool {
        let scheduler = self.cluster.scheduler_node();
        scheduler.is_none_or(|(_, node)| matches!(node.phase, Phase::Down(_) | Phase::Failed(_)))
    }
}

/// Follows one run to its outcome.
async fn follow(runs: Arc<Runs>, run: RunKey, counted: Counted) {
    let mut silent_since_ms = None;
    let mut bar = runs.cluster.output.bars().of_run();
    let report = loop {
        let wait_ms = if bar.is_shown() {
            WATCHED_RUN_MS
        } else {
            AWAIT_RUN_MS
        };
        let why = match runs.ask(run, wait_ms).await {
            Ok(report) if has_ended(&report) => break report,
            Ok(report) => {
                silent_since_ms = None;
                bar.show(&report);
                continue;
            }
            Err(status) => status,
        };
        let now_ms = runs.cluster.fabric.now_ms();
        let since_ms = *silent_since_ms.get_or_insert(now_ms);
        let silent = now_ms.saturating_sub(since_ms) > SCHEDULER_SILENCE_MAX_MS;
        if silent || why.kind == Kind::NotFound || runs.scheduler_is_down() {
            break lost(run.number, &why);
        }
        runs.cluster.fabric.sleep(POLL_INTERVAL).await;
    };
    drop(bar);
    runs.end(run, report, counted);
}

/// A run whose outcome nobody can tell any more.
fn lost(run: u64, why: &Status) -> RunReport {
    let error = format!("its scheduler cannot tell its outcome: {}", why.message);
    RunReport {
        run,
        state: RunState::Failed.into(),
        error,
        ..RunReport::default()
    }
}

fn has_ended(report: &RunReport) -> bool {
    !matches!(report.state(), RunState::Unspecified | RunState::Running)
}
