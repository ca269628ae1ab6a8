//! HTTP for whoever has no gRPC client: JSON over the same services, described by `/openapi.json`.
//!
//! Promises: whatever it answers is in the document that it serves, each error as a problem (RFC 9457). What comes from
//! outside is checked against the bounds that the document states. It adds nothing of its own to what a request means: runs
//! go through the scheduler's [`Service`], records through the storage client, as those of everybody else.
//!
//! It must never: show or change records of [`RESERVED_PREFIX`](common::types::RESERVED_PREFIX); obey a page of another site
//! that a browser on this machine has open (`guard`); hold up the end of the scheduler.
//!
//! - [`listener`]: connections. - [`guard`]: who may ask. - [`extract`]: requests, checked. - [`shapes`], [`reports`]: what is
//!   said in JSON. - [`problem`]: errors. - [`document`]: OpenAPI.
//! - [`runs`], [`events`], [`records`], [`cluster`], [`metrics`]: the operations, by subject.

mod cluster;
mod document;
mod events;
mod extract;
mod guard;
mod listener;
mod metrics;
mod problem;
mod records;
mod reports;
mod runs;
mod shapes;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use common::fabric::{FabricHandle, MESSAGE_BYTES_MAX};
use common::node::Identity;
use utoipa_axum::router::OpenApiRouter;

pub use listener::Listener;

use crate::server::ServerHandle;
use crate::service::Service;
use metrics::Requests;
use problem::Problem;
use records::Records;

/// Longest body of a request: as long as a message of the fabric.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// What the operations need. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    service: Arc<Service>,
    server: ServerHandle,
    fabric: FabricHandle,
    records: Records,
    requests: Requests,
}

impl Gateway {
    pub fn new(
        identity: &Identity,
        fabric: FabricHandle,
        server: ServerHandle,
        service: Arc<Service>,
    ) -> Self {
        let origin = format!("http/{}/{:016x}", identity.name, identity.incarnation);
        Self(Arc::new(Inner {
            service,
            server,
            fabric,
            records: Records::new(origin),
            requests: Requests::default(),
        }))
    }

    /// Every operation, and the document that describes them.
    pub fn router(self) -> Router {
        let (router, document) = OpenApiRouter::with_openapi(document::introduction())
            .merge(runs::routes())
            .merge(events::routes())
            .merge(records::routes())
            .merge(cluster::routes())
            .merge(metrics::routes())
            .split_for_parts();
        let document = document::text(&document);
        router
            .route("/openapi.json", get(async move || document))
            .fallback(no_such_path)
            .method_not_allowed_fallback(no_such_method)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn_with_state(self.clone(), guard::refuse_other_sites))
            .layer(from_fn_with_state(self.clone(), metrics::count))
            .with_state(self)
    }
}

async fn no_such_path(uri: Uri) -> Problem {
    let path = uri.path();
    Problem::not_found(format!("there is no {path}: /openapi.json lists the paths"))
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let path = uri.path();
    Problem::method_not_allowed(format!("{path} has no {method}"))
}
