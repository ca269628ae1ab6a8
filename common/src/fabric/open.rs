//! Nodes of one process that other processes reach as well.

use super::{
    Address, BoxFuture, Bytes, Duration, Fabric, GrpcFabric, LocalFabric, Router, Serving, Status,
    Task,
};

/// One end of a [`LocalFabric`], whose node also listens for gRPC at its address. Whom the local network does not know
/// is asked by gRPC.
pub struct OpenFabric {
    local: LocalFabric,
    grpc: GrpcFabric,
}

impl OpenFabric {
    /// For one node.
    pub fn new(local: LocalFabric) -> Self {
        Self {
            local,
            grpc: GrpcFabric::default(),
        }
    }

    fn towards(&self, to: &Address) -> &dyn Fabric {
        if self.local.reaches(to) {
            &self.local
        } else {
            &self.grpc
        }
    }
}

impl Fabric for OpenFabric {
    fn call(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Status>> {
        self.towards(to).call(to, method, body, timeout)
    }

    fn send(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        delay: Duration,
    ) -> Result<(), Status> {
        self.towards(to).send(to, method, body, delay)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        self.local.spawn(task)
    }

    fn serve(&self, at: &Address, router: Router) -> BoxFuture<'static, Result<Serving, Status>> {
        let local = self.local.clone();
        let listening = self.grpc.serve(at, router.clone());
        Box::pin(async move {
            let outside = listening.await?;
            let within = local.serve(&outside.address, router).await?;
            Ok(Serving {
                address: outside.address.clone(),
                _stop: Box::new((within, outside)),
            })
        })
    }
}
