//! `deploy`, `operators`, `rollback`: components in the storage, and which of them runs use.

use super::Interpreter;
use super::backup::on_disk;
use crate::language::Name;
use crate::language::files::{Disk, find_path};
use crate::outcome::Failure;
use crate::output::{Deployment, Event, OperatorRow};
use bytes::Bytes;
use common::client::components::{COMPONENT_BYTES_MAX, Origin};
use common::diagnostic::Line;
use common::proto::scheduler::Client;
use common::proto::{DeployRequest, DeployedClass, Empty, OperatorsResponse, RollbackRequest};
use common::types::ComponentHash;
use std::path::Path;
use std::time::Duration;

/// How long a worker may take to fetch, compile and check a component; large ones take long.
const DEPLOY_MAX: Duration = Duration::from_secs(150);
/// How long the storage may take to keep one.
const STORE_MS: u64 = 120_000;
/// The person is told how far it is each time so many bytes were stored.
const PROGRESS_BYTES: usize = 8 << 20;

impl Interpreter {
    /// Stores the component and makes it the current one of its classes.
    pub(super) async fn deploy(&self, line: &Line, file: &Name) -> Result<(), Failure> {
        let path = find_path(&Disk, &line.file, file.text()).map_err(Failure::new)?;
        let component = Bytes::from(on_disk(move || read(&path)).await?);
        let client = self.cluster.storage().await?;
        self.cluster.ready_for_runs().await?;
        let bytes = component.len();
        let route = client.within(STORE_MS);
        let mut told = 0;
        let progress = |stored: usize| {
            if stored - told >= PROGRESS_BYTES {
                told = stored;
                let message = format!("{stored} of {bytes} bytes stored");
                self.cluster.output.message(message);
            }
        };
        let session = &self.cluster.session;
        let mut origin = Origin::new(format!("deploy/{session}/{}", self.cluster.fabric.random()));
        let stored = client.put_component(&component, &mut origin, route, progress);
        let hash = stored.await?;
        let request = &DeployRequest {
            component: hash.bytes().to_vec().into(),
        };
        let ask = move |client: Client| async move { client.deploy(request).await };
        let deployed = self.cluster.ask(DEPLOY_MAX, ask).await?;
        self.cluster
            .output
            .say(&Event::Deployment(Deployment::Deployed {
                file: file.text().to_owned(),
                classes: names(deployed.classes),
                component: hash.short(),
                bytes,
            }));
        Ok(())
    }

    /// Makes the component that the class had before the current one.
    pub(super) async fn roll_back(&self, class: &str) -> Result<(), Failure> {
        let scheduler = self.cluster.scheduler(DEPLOY_MAX).await?;
        let request = RollbackRequest {
            class: class.to_owned(),
        };
        let now = scheduler.rollback(&request).await?;
        let component = now.classes.first().and_then(current).unwrap_or_default();
        self.cluster
            .output
            .say(&Event::Deployment(Deployment::RolledBack {
                class: class.to_owned(),
                component,
            }));
        Ok(())
    }

    pub(super) async fn list_operators(&self) -> Result<(), Failure> {
        self.cluster.storage().await?;
        let scheduler = self.cluster.scheduler(DEPLOY_MAX).await?;
        let listed = scheduler.operators(&Empty {}).await?;
        let listed = Deployment::Listed(rows(listed));
        self.cluster.output.say(&Event::Deployment(listed));
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error| format!("{}: {error}", path.display());
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > COMPONENT_BYTES_MAX as u64 {
        return Err(format!(
            "{} has {bytes} bytes; a component has at most {COMPONENT_BYTES_MAX}",
            path.display()
        ));
    }
    std::fs::read(path).map_err(failed)
}

fn names(classes: Vec<DeployedClass>) -> Vec<String> {
    classes.into_iter().map(|class| class.class).collect()
}

fn current(class: &DeployedClass) -> Option<String> {
    let deployment = class.deployments.get(class.current as usize)?;
    let hash = ComponentHash::try_from(&deployment.component[..]).ok()?;
    Some(hash.short())
}

/// One for each deployment, the newest of each class first.
fn rows(listed: OperatorsResponse) -> Vec<OperatorRow> {
    let mut rows = Vec::new();
    for class in listed.catalog.unwrap_or_default().classes {
        for (number, deployment) in class.deployments.iter().enumerate().rev() {
            let Ok(hash) = ComponentHash::try_from(&deployment.component[..]) else {
                continue;
            };
            let pinned = listed.pinned.iter();
            let pinned = pinned.filter(|pinned| pinned.component == deployment.component);
            rows.push(OperatorRow {
                class: class.class.clone(),
                component: hash.to_string(),
                is_current: number == class.current as usize,
                language: deployment.language.clone(),
                bytes: deployment.component_bytes,
                deployed_unix_ms: deployment.deployed_unix_ms,
                runs: pinned.flat_map(|pinned| pinned.runs.clone()).collect(),
            });
        }
    }
    rows
}
