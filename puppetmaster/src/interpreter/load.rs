//! `load`: starts runs at a rate, and measures how long they take.
//!
//! Promises: the loop is open. A request is sent when it is due, whether or not earlier ones have ended, and its latency counts
//! from then, so that who falls behind is seen to (otherwise: coordinated omission). One that finds too many outstanding is not
//! sent, which is told. After an interrupt nothing goes on, and what was measured until then is told as well.

use super::runs::{Counted, FOLLOWED_MAX, Runs};
use super::{Interpreter, incomplete};
use crate::cluster::Cluster;
use crate::language::Submission;
use crate::language::files::{Disk, find};
use crate::language::load::{Load, Pace};
use crate::outcome::Failure;
use crate::output::{Event, Figures};
use common::diagnostic::Line;
use common::fabric::Task;
use common::proto::{RunReport, RunState};
use futures::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Requests at once: of more, outcomes would be heard of late.
const OUTSTANDING_MAX: usize = FOLLOWED_MAX;

/// A load under way; its requests are not followed any more when this is dropped.
pub(super) struct Loading {
    interrupt: watch::Sender<bool>,
    ended: oneshot::Receiver<Figures>,
    _task: Task,
}

impl Interpreter {
    pub(super) async fn load(&mut self, line: &Line, load: &Load) -> Result<(), Failure> {
        let found = find(&Disk, &line.file, load.application.text()).map_err(Failure::new)?;
        // The first request is due when it can be taken.
        self.cluster.ready_for_runs().await?;
        let requests = Requests {
            cluster: Arc::clone(&self.cluster),
            runs: Arc::clone(&self.runs),
            pace: load.pace,
            run: Submission {
                input: load.input.clone(),
                application: load.application.clone(),
                key: None,
            },
            application: found.text,
        };
        let (interrupt, interrupted) = watch::channel(false);
        let (ending, ended) = oneshot::channel();
        let generating = async move {
            let figures = generate(&requests, interrupted).await;
            // Who does not listen any more was interrupted twice.
            let _ = ending.send(figures);
        };
        let loading = self.load.insert(Loading {
            interrupt,
            ended,
            _task: self.cluster.fabric.spawn(Box::pin(generating)),
        });
        let figures = (&mut loading.ended).await;
        self.load = None;
        let figures = figures.map_err(|_| Failure::new("the load has ended early"))?;
        self.cluster.output.say(&Event::Load(figures.clone()));
        all_completed(&figures)
    }

    /// After an interrupt: cancels what a load has outstanding, and tells what it has measured.
    pub async fn end_load(&mut self) {
        let Some(load) = self.load.take() else {
            return;
        };
        load.interrupt.send_replace(true);
        if let Ok(figures) = load.ended.await {
            self.cluster.output.say(&Event::Load(figures));
        }
    }
}

fn all_completed(figures: &Figures) -> Result<(), Failure> {
    if let Some(why) = &figures.first_failure {
        let message = format!("{} of the runs failed, first: {why}", figures.failed);
        return Err(Failure::new(message));
    }
    match (figures.not_sent, figures.cancelled) {
        (0, 0) => Ok(()),
        (0, cancelled) => Err(Failure::new(format!(
            "{cancelled} of the runs were cancelled"
        ))),
        (not_sent, _) => {
            let message = format!(
                "{not_sent} runs were not started, since {OUTSTANDING_MAX} were outstanding when they were due"
            );
            Err(Failure::new(message))
        }
    }
}

/// What all requests of a load have in common.
struct Requests {
    cluster: Arc<Cluster>,
    runs: Arc<Runs>,
    pace: Pace,
    /// Each of them is one of its own.
    run: Submission,
    application: String,
}

/// How one of them ended.
struct Ended {
    latency_ms: u64,
    report: Result<RunReport, Failure>,
}

/// Sends each request when it is due, and returns when all have ended.
async fn generate(requests: &Requests, interrupted: watch::Receiver<bool>) -> Figures {
    let fabric = &requests.cluster.fabric;
    let pace = requests.pace;
    let mut figures = Figures::new(pace);
    let mut bar = requests.cluster.output.bars().bar();
    let mut outstanding = FuturesUnordered::new();
    let mut stop = interrupted.clone();
    let began_ms = fabric.now_ms();
    let (mut next, mut requests_left) = (0, pace.requests());
    while next < requests_left || !outstanding.is_empty() {
        let due_ms = began_ms + pace.due_ms(next);
        let until_due = Duration::from_millis(due_ms.saturating_sub(fabric.now_ms()));
        tokio::select! {
            biased;
            _ = stop.wait_for(|is_over| *is_over), if next < requests_left => requests_left = next,
            () = fabric.sleep(until_due), if next < requests_left => {
                next += 1;
                if outstanding.len() < OUTSTANDING_MAX {
                    outstanding.push(requests.send(due_ms, interrupted.clone()));
                } else {
                    figures.not_sent += 1;
                }
            }
            Some(ended) = outstanding.next() => note(&mut figures, ended),
        }
        bar.show_load(pace, fabric.now_ms() - began_ms, next, outstanding.len());
    }
    figures
}

fn note(figures: &mut Figures, Ended { latency_ms, report }: Ended) {
    let report = match report {
        Ok(report) => report,
        Err(failure) => return figures.note_failed(failure.message()),
    };
    figures.note_run(report.run);
    match report.state() {
        RunState::Completed => figures.note_completed(latency_ms),
        RunState::Cancelled => figures.cancelled += 1,
        _ => figures.note_failed(incomplete(&report)),
    }
}

impl Requests {
    /// One run from its submission to its outcome; it is cancelled when the load is interrupted.
    async fn send(&self, due_ms: u64, interrupted: watch::Receiver<bool>) -> Ended {
        let report = self.report(interrupted).await;
        let latency_ms = self.cluster.fabric.now_ms() - due_ms;
        Ended { latency_ms, report }
    }

    async fn report(&self, mut interrupted: watch::Receiver<bool>) -> Result<RunReport, Failure> {
        let text = self.application.clone();
        let run = self.runs.submit(&self.run, text, Counted::InALoad).await?;
        tokio::select! {
            report = self.runs.outcome_of(run) => return Ok(report),
            _ = interrupted.wait_for(|is_over| *is_over) => {}
        }
        let cancelled = self.runs.cancel(run).await;
        match self.runs.ended(run) {
            // It may have ended by itself, which is then why it could not be cancelled.
            Some(report) => Ok(report),
            None => cancelled.and(Ok(self.runs.outcome_of(run).await)),
        }
    }
}
