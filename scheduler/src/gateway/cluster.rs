//! Who is there: workers, deployed operators, health.

use axum::Json;
use axum::extract::State;
use common::proto::{self, Empty, scheduler::Service};
use common::status::Status;
use common::types::ComponentHash;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Gateway;
use super::problem::{Always, Problem};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(list_workers))
        .routes(routes!(list_operators))
        .routes(routes!(check_health))
        .routes(routes!(check_readiness))
}

/// The active workers, by name.
#[derive(Debug, Serialize, ToSchema)]
struct Workers {
    workers: Vec<Worker>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Worker {
    name: String,
    /// Where it is reached by gRPC.
    url: String,
    /// Tasks that it takes at once.
    slots: u32,
    /// Stages assigned to it that are not done.
    outstanding: u32,
    /// Since it was last heard.
    silent_ms: u64,
    /// Of operators that it has by itself: those that are deployed any worker can run.
    classes: Vec<String>,
}

/// What is deployed.
#[derive(Debug, Serialize, ToSchema)]
struct Operators {
    classes: Vec<DeployedClass>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DeployedClass {
    class: String,
    /// The one that runs submitted from now on use; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    current: Option<Component>,
    /// Deployments that are remembered, to go back to.
    deployments: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Component {
    /// SHA-256 of its bytes.
    hash: String,
    bytes: u64,
    /// What it is written in, as its producers say; may be empty.
    language: String,
    /// Milliseconds since 1970.
    deployed_unix_ms: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Health {
    status: Healthy,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Healthy {
    Ok,
}

/// The active workers.
#[utoipa::path(get, path = "/v1/workers", tag = "cluster", responses(
    (status = 200, description = "The workers", body = Workers), Always
))]
async fn list_workers(State(gateway): State<Gateway>) -> Result<Json<Workers>, Problem> {
    let cluster = gateway.0.service.cluster(Empty {}).await?;
    let workers = cluster.workers.into_iter().map(Worker::from).collect();
    Ok(Json(Workers { workers }))
}

/// The operators that are deployed.
#[utoipa::path(get, path = "/v1/operators", tag = "cluster", responses(
    (status = 200, description = "The operators, by class", body = Operators), Always
))]
async fn list_operators(State(gateway): State<Gateway>) -> Result<Json<Operators>, Problem> {
    let response = gateway.0.service.operators(Empty {}).await?;
    let deployed = response.catalog.unwrap_or_default().classes;
    let classes: Result<_, Status> = deployed.into_iter().map(DeployedClass::try_from).collect();
    Ok(Json(Operators { classes: classes? }))
}

/// The scheduler is there.
#[utoipa::path(get, path = "/healthz", tag = "cluster", responses(
    (status = 200, description = "It is", body = Health), Always
))]
async fn check_health(State(gateway): State<Gateway>) -> Result<Json<Health>, Problem> {
    gateway.0.server.inspect(|_, _| ()).await?;
    let status = Healthy::Ok;
    Ok(Json(Health { status }))
}

/// Runs can be submitted here: this scheduler leads, and there is a worker.
#[utoipa::path(get, path = "/readyz", tag = "cluster", responses(
    (status = 200, description = "They can", body = Health), Always
))]
async fn check_readiness(State(gateway): State<Gateway>) -> Result<Json<Health>, Problem> {
    gateway.0.service.standing.leading()?;
    let look = |core: &crate::core::Core, _| core.workers().count();
    if gateway.0.server.inspect(look).await? == 0 {
        return Err(Status::unavailable("no worker is active").into());
    }
    let status = Healthy::Ok;
    Ok(Json(Health { status }))
}

impl From<proto::WorkerStatus> for Worker {
    fn from(status: proto::WorkerStatus) -> Self {
        let worker = status.worker.unwrap_or_default();
        Self {
            name: worker.name,
            url: worker.url,
            slots: status.slots,
            outstanding: status.outstanding,
            silent_ms: status.silent_ms,
            classes: status.classes,
        }
    }
}

impl TryFrom<proto::DeployedClass> for DeployedClass {
    type Error = Status;

    fn try_from(deployed: proto::DeployedClass) -> Result<Self, Status> {
        let current = usize::try_from(deployed.current).unwrap_or(usize::MAX);
        let current = deployed.deployments.get(current);
        Ok(Self {
            current: current.map(Component::try_from).transpose()?,
            deployments: deployed.deployments.len() as u64,
            class: deployed.class,
        })
    }
}

impl TryFrom<&proto::Deployment> for Component {
    type Error = Status;

    fn try_from(deployment: &proto::Deployment) -> Result<Self, Status> {
        Ok(Self {
            hash: ComponentHash::try_from(&deployment.component[..])?.to_string(),
            bytes: deployment.component_bytes,
            language: deployment.language.clone(),
            deployed_unix_ms: deployment.deployed_unix_ms,
        })
    }
}
