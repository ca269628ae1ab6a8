//! Connections: HTTP/1.1 on a socket of this machine.
//!
//! Promises: at most [`CONNECTIONS_MAX`] at once, which bounds the requests under way too; a connection that does not send
//! the head of a request is closed; after the end nothing of a connection goes on for longer than [`DRAIN`].

use std::sync::Arc;

use axum::Router;
use common::fabric::{Address, Duration, FabricHandle, Status, listen, timeout};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};

use super::Gateway;

/// Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;
/// How long the head of a request may take, also the first and the next.
const HEAD: Duration = Duration::from_secs(30);
/// How long answers under way may take once the scheduler has ended.
const DRAIN: Duration = Duration::from_secs(1);
/// Pause when the system has no connection to give, such as for lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A socket that listens; nobody is answered before [`Listener::serve`].
pub struct Listener {
    socket: TcpListener,
    /// With the real port when port 0 was asked for.
    pub address: Address,
}

impl Listener {
    /// Refuses what is not of this machine: there is no TLS yet.
    pub async fn bind(at: &Address) -> Result<Self, Status> {
        let (socket, address) = listen(at).await?;
        tracing::info!(%address, "answers HTTP");
        Ok(Self { socket, address })
    }

    /// Answers until `end` is told or dropped; returns when the answers under way are over.
    pub async fn serve(self, gateway: Gateway, end: oneshot::Receiver<()>) {
        let fabric = gateway.0.fabric.clone();
        let connections = Connections {
            fabric: fabric.clone(),
            router: gateway.router(),
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            open: GracefulShutdown::new(),
            ended: watch::Sender::new(()),
        };
        tokio::select! {
            () = connections.accept(&self.socket) => {}
            _ = end => {}
        }
        drop(self.socket);
        let Connections { open, ended, .. } = connections;
        timeout(fabric.as_ref(), DRAIN, open.shutdown()).await;
        drop(ended);
    }
}

struct Connections {
    fabric: FabricHandle,
    router: Router,
    slots: Arc<Semaphore>,
    open: GracefulShutdown,
    /// Dropped when what is left of them is cut off.
    ended: watch::Sender<()>,
}

impl Connections {
    async fn accept(&self, socket: &TcpListener) {
        while let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await {
            match socket.accept().await {
                Ok((stream, _)) => self.open(stream, slot),
                Err(error) => {
                    tracing::warn!(%error, "an HTTP connection was not accepted");
                    self.fabric.sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn open(&self, stream: TcpStream, slot: impl Send + 'static) {
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD);
        let service = TowerToHyperService::new(self.router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = self.open.watch(connection.into_owned());
        let mut ended = self.ended.subscribe();
        let life = async move {
            tokio::select! {
                over = connection => if let Err(error) = over {
                    tracing::debug!(error, "an HTTP connection broke");
                },
                _ = ended.changed() => {}
            }
            drop(slot);
        };
        self.fabric.spawn(Box::pin(life)).detach();
    }
}
