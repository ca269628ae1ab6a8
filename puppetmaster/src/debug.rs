//! Debug mode: the endpoint to which nodes send a line per record or meta record that they output.

use crate::cluster::Cluster;
use crate::outcome::Failure;
use crate::output::{Event, Output};
use common::fabric::{Address, Router, Serving};
use common::proto::{DebugLine, Empty, puppetmaster};
use common::status::Status;
use std::sync::Arc;

/// Where the lines are collected; another free port if this one is taken.
const DEBUG_PORT: u16 = 10_001;

struct Collector(Output);

impl puppetmaster::Service for Collector {
    async fn debug(&self, request: DebugLine) -> Result<Empty, Status> {
        self.0.say(&Event::Debug {
            node: request.node,
            line: request.line,
        });
        Ok(Empty {})
    }
}

/// Starts collecting, and tells all nodes, those to come as well. A second time changes nothing.
pub async fn start(cluster: &Cluster) -> Result<(), Failure> {
    if cluster.is_debugging() {
        return Ok(());
    }
    let serving = serve(cluster).await?;
    if serving.address.port() != DEBUG_PORT {
        let at = &serving.address;
        cluster.output.message(format!(
            "port {DEBUG_PORT} is taken: debug lines are collected at {at}"
        ));
    }
    cluster.debug_to(serving).await
}

async fn serve(cluster: &Cluster) -> Result<Serving, Failure> {
    let router = Router::default().with(puppetmaster::Server(Arc::new(Collector(
        cluster.output.clone(),
    ))));
    let local = |port: u16| Address::parse(&format!("http://127.0.0.1:{port}"));
    let wrong = |error: common::fabric::AddressError| Failure::new(error.to_string());
    match cluster
        .fabric
        .serve(&local(DEBUG_PORT).map_err(wrong)?, router.clone())
        .await
    {
        Ok(serving) => Ok(serving),
        Err(_) => Ok(cluster
            .fabric
            .serve(&local(0).map_err(wrong)?, router)
            .await?),
    }
}
