//! The listening end: every gRPC method of a node goes to its router.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio_stream::StreamExt;

use super::courier::SEND_METHOD;
use super::streams::Streams;
use super::transport::{Listening, Transport};
use super::{BytesCodec, CALLER_HEADER, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT};
use crate::fabric::faults::Faults;
use crate::fabric::{
    Address, BoxFuture, Bytes, MESSAGE_BYTES_MAX, Router, Serving, Status, decode, encode,
};
use crate::proto::{Empty, Frame};

pub(super) async fn serve(
    transport: Arc<dyn Transport>,
    at: Address,
    router: Router,
    faults: Arc<Faults>,
) -> Result<Serving, Status> {
    let Listening { port, connections } = transport.listen(&at).await?;
    let address = at.with_port(port);
    faults.listens_at(&address);
    let (stop, alive) = watch::channel(());
    let mut stopped = alive.clone();
    let service = RouterService {
        router,
        streams: Arc::default(),
        faults,
        alive,
    };
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .serve_with_incoming(service, connections);
    let task = tokio::spawn(async move {
        tokio::select! {
            ended = server => if let Err(error) = ended { tracing::error!(%error, "the gRPC server ended") },
            _ = stopped.changed() => {}
        }
    });
    drop(task);
    Ok(Serving {
        address,
        _stop: Box::new(stop),
    })
}

#[derive(Clone)]
struct RouterService {
    router: Router,
    streams: Arc<Streams>,
    faults: Arc<Faults>,
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
        let RouterService {
            router,
            streams,
            faults,
            mut alive,
        } = self.clone();
        let method = request.uri().path().to_owned();
        let caller = caller(&request);
        Box::pin(async move {
            if alive.has_changed().is_err() {
                return Ok(tonic::Status::unavailable("the node has stopped").into_http());
            }
            let mut grpc = tonic::server::Grpc::new(BytesCodec)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            let answer = async {
                let answer = if method == SEND_METHOD {
                    grpc.client_streaming(OneWayMethod { router, streams }, request)
                        .await
                } else {
                    grpc.unary(UnaryMethod { router, method }, request).await
                };
                // A lost answer waits here until its caller gives up and resets the stream.
                if let Some(caller) = caller {
                    faults.cross(&caller).await;
                }
                answer
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

/// Which peer asks, if it says so.
fn caller(request: &http::Request<tonic::body::Body>) -> Option<Address> {
    let header = request.headers().get(CALLER_HEADER)?;
    Address::parse(header.to_str().ok()?).ok()
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
struct OneWayMethod {
    router: Router,
    streams: Arc<Streams>,
}

impl tower::Service<tonic::Request<tonic::Streaming<Bytes>>> for OneWayMethod {
    type Response = tonic::Response<Bytes>;
    type Error = tonic::Status;
    type Future = BoxFuture<'static, Result<Self::Response, tonic::Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tonic::Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<tonic::Streaming<Bytes>>) -> Self::Future {
        let (router, streams) = (self.router.clone(), Arc::clone(&self.streams));
        Box::pin(async move {
            let mut frames = request.into_inner();
            let mut sender = None;
            while let Some(frame) = frames.next().await {
                let frame = decode::<Frame>(frame?)?;
                let sender = sender.get_or_insert_with(|| streams.of(frame.sender));
                let mut newest = sender.lock().await;
                if frame.stream < *newest {
                    return Err(tonic::Status::aborted("a newer stream has taken over"));
                }
                *newest = frame.stream;
                for message in frame.messages {
                    if let Err(status) = router.handle(&message.method, message.body).await {
                        tracing::debug!(method = message.method, %status, "one-way message not handled");
                    }
                }
            }
            Ok(tonic::Response::new(encode(&Empty {})))
        })
    }
}
