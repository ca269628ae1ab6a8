//! Submits runs, follows each to its outcome, and says the outcome once, when it comes (those of a load are told together).

use super::seen::Seen;
use crate::cluster::{CALL_MAX, Cluster, Node, POLL_INTERVAL};
use crate::language::{Role, Submission};
use crate::outcome::{Failure, Outcome};
use crate::output::Event;
use common::fabric::timeout;
use common::proto::scheduler::Client;
use common::proto::{
    AwaitRunRequest, CancelRequest, RunReport, RunState, SubmitRequest, TraceRequest, TraceResponse,
};
use common::status::{Kind, Status};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How long the scheduler holds one question for a run's outcome.
const AWAIT_RUN_MS: u32 = 500;
/// The same while a person watches how far the run is.
const WATCHED_RUN_MS: u32 = 200;
/// Most questions for outcomes at once: they share a connection with everything else.
pub(super) const FOLLOWED_MAX: usize = 128;
/// How often in a row a scheduler that does not lead is asked for the outcome of a run of others.
const RETRIES_MAX: u32 = 200;

/// Who counts a run that does not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// `client`: it is counted when its outcome comes.
    WhenItEnds,
    /// `run`: its command fails.
    ByTheCommand,
    /// `load`: the same, and its outcome is one of many that are told together.
    InALoad,
}

/// By number; absent: still outstanding.
type Reports = BTreeMap<u64, Option<RunReport>>;

/// The runs that were submitted from here.
pub struct Runs {
    /// What this script has seen of the records.
    pub seen: Seen,
    cluster: Arc<Cluster>,
    reports: Mutex<Reports>,
    outcome: Mutex<Outcome>,
    changed: watch::Sender<()>,
    /// How many wait for outcomes: while somebody does, nobody can start a scheduler again.
    waiting: AtomicUsize,
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
            waiting: AtomicUsize::new(0),
            questions: Semaphore::new(FOLLOWED_MAX),
        })
    }

    /// Whether a run that nobody waited for did not complete.
    pub fn outcome(&self) -> Outcome {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits a run, held until all that it needs is ready; its outcome is said when it comes, but for those of a load.
    pub async fn submit(
        self: &Arc<Self>,
        run: &Submission,
        application: String,
        counted: Counted,
    ) -> Result<u64, Failure> {
        let mut client = self.cluster.ready_for_runs().await?;
        let settings = self.cluster.settings();
        let request = SubmitRequest {
            input: run.input.clone(),
            application,
            application_name: run.application.text().to_owned(),
            timeout_ms: settings.run_timeout_ms(),
            seen: self.seen.to_proto(),
            // If an answer is lost, the same is asked again, and is no second run.
            key: run.key.clone().unwrap_or_else(|| self.own_key()),
        };
        let mut why = String::new();
        let submitting = async {
            loop {
                match client.submit(&request).await {
                    Err(status) if self.may_pass(&status) => why = status.message,
                    answer => return answer.map_err(Failure::from),
                }
                self.cluster.fabric.sleep(POLL_INTERVAL).await;
                // Meanwhile another one may lead.
                client = self.cluster.scheduler(CALL_MAX).await?;
            }
        };
        let answer = timeout(&*self.cluster.fabric, settings.patience(), submitting).await;
        let busy = || Failure::new(format!("the scheduler did not take the run in time: {why}"));
        let run = answer.ok_or_else(busy)??.run;
        if !self.is_mine(run) {
            self.cluster.count_run();
        }
        self.reports().insert(run, None);
        self.cluster.spawn(follow(Arc::clone(self), run, counted));
        Ok(run)
    }

    /// Whether a submission that was answered so may be taken later: no scheduler takes any without a worker.
    fn may_pass(&self, status: &Status) -> bool {
        let is_awake = |(_, node): &(String, Node)| node.role == Role::Worker && node.is_awake();
        match status.kind {
            Kind::Overloaded | Kind::Timeout => true,
            Kind::Unavailable => self.cluster.nodes().iter().any(is_awake),
            _ => false,
        }
    }

    fn own_key(&self) -> String {
        format!("{:016x}", self.cluster.fabric.random())
    }

    /// The outcome of a run that was submitted from here and has ended.
    pub fn ended(&self, number: u64) -> Option<RunReport> {
        self.reports().get(&number).cloned().flatten()
    }

    /// The outcome of a run, waited for.
    pub async fn outcome_of(&self, run: u64) -> RunReport {
        self.wait_for(|reports| reports.get(&run).cloned().flatten())
            .await
    }

    /// The same, whoever submitted it.
    pub async fn outcome_of_any(&self, run: u64) -> Result<RunReport, Failure> {
        if self.is_mine(run) {
            Ok(self.outcome_of(run).await)
        } else {
            self.outcome_of_others(run).await
        }
    }

    fn is_mine(&self, run: u64) -> bool {
        self.reports().contains_key(&run)
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
        let request = AwaitRunRequest {
            run,
            wait_ms: AWAIT_RUN_MS,
        };
        let mut patience = RETRIES_MAX;
        loop {
            let client = self.cluster.scheduler(wait + CALL_MAX).await?;
            match client.await_run(&request).await {
                Ok(report) if has_ended(&report) => return Ok(report),
                Ok(_) => patience = RETRIES_MAX,
                // Another scheduler may be about to lead.
                Err(status) if status.kind == Kind::Unavailable && patience > 0 => {
                    patience -= 1;
                    self.cluster.fabric.sleep(POLL_INTERVAL).await;
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    /// What the scheduler knows of the tasks of a run.
    pub async fn trace(&self, run: u64) -> Result<TraceResponse, Failure> {
        let request = TraceRequest { run };
        let request = &request;
        let ask = move |client: Client| async move { client.trace(request).await };
        self.cluster.ask(CALL_MAX, ask).await
    }

    /// Cancels a run, and waits for its outcome if it was submitted from here.
    pub async fn cancel(&self, number: u64) -> Result<(), Failure> {
        let request = CancelRequest { run: number };
        let tries = AtomicUsize::new(0);
        let request = &request;
        let ask = |client: Client| {
            tries.fetch_add(1, Ordering::Relaxed);
            async move { client.cancel(request).await }
        };
        if let Err(failure) = self.cluster.ask(CALL_MAX, ask).await {
            // The one that led before may have done it.
            let is_again = tries.load(Ordering::Relaxed) > 1;
            let is_cancelled = |now: RunReport| now.state() == RunState::Cancelled;
            if !is_again || !self.report_now(number).await.is_ok_and(is_cancelled) {
                return Err(failure);
            }
        }
        if self.is_mine(number) {
            self.outcome_of(number).await;
        }
        Ok(())
    }

    /// What the scheduler knows of a run now.
    pub async fn report_now(&self, run: u64) -> Result<RunReport, Failure> {
        let request = AwaitRunRequest { run, wait_ms: 0 };
        let request = &request;
        let ask = move |client: Client| async move { client.await_run(request).await };
        self.cluster.ask(CALL_MAX, ask).await
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for<T>(&self, mut probe: impl FnMut(&Reports) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let _waits = Waits::begin(&self.waiting);
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

    fn end(&self, run: u64, report: RunReport, counted: Counted) {
        let is_well = matches!(report.state(), RunState::Completed | RunState::Cancelled);
        if counted == Counted::WhenItEnds && !is_well {
            let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
            *outcome = outcome.and(Outcome::Failed);
        }
        self.seen.note_run(&report);
        if counted != Counted::InALoad {
            self.cluster.output.say(&Event::Run(report.clone()));
        }
        self.reports().insert(run, Some(report));
        self.changed.send_replace(());
    }

    /// One question for the outcome of a run.
    async fn ask(&self, run: u64, wait_ms: u32) -> Result<RunReport, Status> {
        let wait = Duration::from_millis(u64::from(wait_ms));
        let permit = self.questions.acquire().await;
        let client = self.cluster.scheduler(wait + CALL_MAX).await;
        let client = client.map_err(|failure| Status::unavailable(failure.message()))?;
        let report = client.await_run(&AwaitRunRequest { run, wait_ms }).await;
        drop(permit);
        report
    }

    fn schedulers_are_down(&self) -> bool {
        let schedulers = self.cluster.schedulers();
        schedulers.iter().all(|(_, node)| node.is_down())
    }
}

/// Counts somebody who waits for outcomes, as long as it lives.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Follows one run to its outcome. A scheduler that was started again goes on with it.
async fn follow(runs: Arc<Runs>, run: u64, counted: Counted) {
    let mut silent_since_ms = None;
    let mut bar = runs.cluster.output.bars().bar();
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
                if counted != Counted::InALoad {
                    bar.show_run(&report);
                }
                continue;
            }
            Err(status) => status,
        };
        let now_ms = runs.cluster.fabric.now_ms();
        let since_ms = *silent_since_ms.get_or_insert(now_ms);
        let is_lost = if runs.schedulers_are_down() {
            silent_since_ms = None;
            runs.waiting.load(Ordering::Relaxed) > 0
        } else {
            // Schedulers that were silent for so long have lost their runs.
            let patience = runs.cluster.settings().patience();
            u128::from(now_ms.saturating_sub(since_ms)) > patience.as_millis()
        };
        if is_lost || why.kind == Kind::NotFound {
            break lost(run, &why);
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
