//! A client of a scheduler that runs applications, wherever the cluster is.

use std::sync::Arc;
use std::time::Duration;

use common::fabric::{Address, FabricHandle};
use common::proto::{AwaitRunRequest, RunReport, RunState, SubmitRequest, scheduler};
use common::status::Status;

use crate::speed::measure::Work;

/// How long one run may take.
const RUN_MS: u32 = 60_000;
const REQUEST: Duration = Duration::from_secs(70);

/// Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    scheduler: scheduler::Client,
}

impl Runs {
    pub fn new(fabric: FabricHandle, scheduler: Address) -> Self {
        let scheduler = scheduler::Client::new(fabric, scheduler, REQUEST);
        Self { scheduler }
    }

    /// Submits a run and waits for its outcome; an error unless it completes.
    pub async fn complete(&self, input: &str, application: &str) -> Result<RunReport, Status> {
        let request = SubmitRequest {
            input: input.to_owned(),
            application: application.to_owned(),
            application_name: "bench.app".to_owned(),
            timeout_ms: RUN_MS.into(),
            ..SubmitRequest::default()
        };
        let run = self.scheduler.submit(&request).await?.run;
        let wait_ms = RUN_MS;
        let request = AwaitRunRequest { run, wait_ms };
        let report = self.scheduler.await_run(&request).await?;
        match report.state() {
            RunState::Completed => Ok(report),
            state => Err(Status::internal(format!(
                "a run has not completed but is {state:?}: {}",
                report.error
            ))),
        }
    }
}

/// One client that runs an application on its own input, again and again.
pub struct Again {
    pub runs: Runs,
    pub input: String,
    pub application: Arc<str>,
}

impl Work for Again {
    async fn attempt(&mut self) -> Result<bool, Status> {
        let complete = self.runs.complete(&self.input, &self.application);
        complete.await.map(|_| true)
    }
}
