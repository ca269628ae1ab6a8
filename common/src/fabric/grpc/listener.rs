//! The listening end: every gRPC method of a node goes to its router.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic::transport::server::TcpIncoming;

use super::courier::SEND_METHOD;
use super::{BytesCodec, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT};
use crate::fabric::{
    Address, BoxFuture, Bytes, Kind, MESSAGE_BYTES_MAX, Router, Serving, Status, decode, encode,
};
use crate::proto::{Empty, Frame};

pub(super) async fn serve(at: Address, router: Router) -> Result<Serving, Status> {
    let listener = bind(&at).await?;
    let port = listener
        .local_addr()
        .map_err(|error| Status::internal(error.to_string()))?
        .port();
    let (stop, alive) = watch::channel(());
    let mut stopped = alive.clone();
    let server = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .serve_with_incoming(
            RouterService { router, alive },
            TcpIncoming::from(listener).with_nodelay(Some(true)),
        );
    let task = tokio::spawn(async move {
        tokio::select! {
            ended = server => if let Err(error) = ended { tracing::error!(%error, "the gRPC server ended") },
            _ = stopped.changed() => {}
        }
    });
    drop(task);
    Ok(Serving {
        address: at.with_port(port),
        _stop: Box::new(stop),
    })
}

/// How often a port that is still being released by a predecessor is tried again.
const BIND_ATTEMPTS_MAX: u32 = 5;
const BIND_RETRY: Duration = Duration::from_millis(50);

async fn bind(at: &Address) -> Result<TcpListener, Status> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Status::new(
            Kind::AlreadyExists,
            format!(
                "{at} is taken: another process listens on port {}",
                at.port()
            ),
        ),
        _ => Status::unavailable(format!("cannot listen at {at}: {error}")),
    };
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host(at.authority())
        .await
        .map_err(failed)?
        .collect();
    // `localhost` means one address to all nodes, whatever the resolver's order.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let address = addresses
        .first()
        .ok_or_else(|| Status::unavailable(format!("{at} has no address")))?;
    if !address.ip().is_loopback() {
        return Err(Status::refused(format!(
            "{at} is not a loopback address: Marionette does not listen beyond this machine without TLS"
        )));
    }
    let mut attempt = 1;
    loop {
        match TcpListener::bind(address).await {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse && attempt < BIND_ATTEMPTS_MAX =>
            {
                attempt += 1;
                tokio::time::sleep(BIND_RETRY).await;
            }
            other => return other.map_err(failed),
        }
    }
}

#[derive(Clone)]
struct RouterService {
    router: Router,
    /// Closed when the node stops serving: connections may outlive the listener, answers must not.
    alive: watch::Receiver<()>,
}

type HttpResponse = http::Response<tonic::body::Body>;

impl tower::Service<http::Request<tonic::body::Body>> for RouterService {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let RouterService { router, mut alive } = self.clone();
        let method = request.uri().path().to_owned();
        Box::pin(async move {
            if alive.has_changed().is_err() {
                return Ok(tonic::Status::unavailable("the node has stopped").into_http());
            }
            let mut grpc = tonic::server::Grpc::new(BytesCodec)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            let answer = async {
                if method == SEND_METHOD {
                    grpc.client_streaming(OneWayMethod(router), request).await
                } else {
                    grpc.unary(UnaryMethod { router, method }, request).await
                }
            };
            Ok(tokio::select! {
                answer = answer => answer,
                _ = alive.changed() => {
                    tonic::Status::deadline_exceeded("the node stopped before it answered").into_http()
                }
            })
        })
    }
}

struct UnaryMethod {
    router: Router,
    method: String,
}

impl tower::Service<tonic::Request<Bytes>> for UnaryMethod {
    type Response = tonic::Response<Bytes>;
    type Error = tonic::Status;
    type Future = BoxFuture<'static, Result<Self::Response, tonic::Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tonic::Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        // A task of its own: a caller that goes away does not stop a handler half way.
        let answer = tokio::spawn(self.router.handle(&self.method, request.into_inner()));
        Box::pin(async move {
            match answer.await {
                Ok(answer) => Ok(tonic::Response::new(answer?)),
                Err(failure) => Err(tonic::Status::internal(format!(
                    "the handler failed: {failure}"
                ))),
            }
        })
    }
}

/// Handles the one-way messages of one peer, in order.
struct OneWayMethod(Router);

impl tower::Service<tonic::Request<tonic::Streaming<Bytes>>> for OneWayMethod {
    type Response = tonic::Response<Bytes>;
    type Error = tonic::Status;
    type Future = BoxFuture<'static, Result<Self::Response, tonic::Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tonic::Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<tonic::Streaming<Bytes>>) -> Self::Future {
        let router = self.0.clone();
        Box::pin(async move {
            let mut frames = request.into_inner();
            while let Some(frame) = frames.next().await {
                for message in decode::<Frame>(frame?)?.messages {
                    if let Err(status) = router.handle(&message.method, message.body).await {
                        tracing::debug!(method = message.method, %status, "one-way message not handled");
                    }
                }
            }
            Ok(tonic::Response::new(encode(&Empty {})))
        })
    }
}
