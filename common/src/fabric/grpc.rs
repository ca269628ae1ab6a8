//! Real processes over gRPC (tonic): a channel per peer, opened when first used and reopened by itself.
//!
//! Bodies are encoded by the generated clients, so a codec that passes bytes through gives plain gRPC on the wire.

mod courier;
mod listener;
mod streams;
mod transport;

pub use transport::{Connection, Listening, Transport, listen};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use self::courier::GrpcCourier;
use self::transport::Tcp;
use super::faults::Faults;
use super::outbox::Outbox;
use super::{
    Address, BoxFuture, Bytes, Fabric, MESSAGE_BYTES_MAX, Router, Serving, Status, check_size,
    machine,
};
use crate::proto;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Without it a client waits for ever on a peer that a partition has cut off. A connection is given up when the peer has
/// been silent for the sum of both, also while it is idle: the next message finds a new one.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The URL of the peer that asks, where faults are allowed: see [`super::faults`].
const CALLER_HEADER: &str = "marionette-caller";

/// This process's end of the network.
#[derive(Clone)]
pub struct GrpcFabric {
    channels: Channels,
    outbox: Arc<Outbox>,
    faults: Arc<Faults>,
}

impl Default for GrpcFabric {
    fn default() -> Self {
        Self::new(Tcp, false)
    }
}

impl GrpcFabric {
    /// As the default, but it obeys [`proto::faults`].
    pub fn with_faults() -> Self {
        Self::new(Tcp, true)
    }

    /// Over another network than that of the machine.
    pub fn over(transport: impl Transport) -> Self {
        Self::new(transport, false)
    }

    fn new(transport: impl Transport, allow_faults: bool) -> Self {
        let channels = Channels {
            transport: Arc::new(transport),
            peers: Arc::default(),
        };
        let faults = Arc::new(Faults::new(allow_faults));
        let courier = GrpcCourier {
            channels: channels.clone(),
            faults: Arc::clone(&faults),
            sender: machine::random(),
        };
        Self {
            outbox: Outbox::new(courier, Arc::clone(&faults)),
            channels,
            faults,
        }
    }
}

#[derive(Clone)]
struct Channels {
    transport: Arc<dyn Transport>,
    peers: Arc<Mutex<BTreeMap<Address, Channel>>>,
}

impl Channels {
    /// The channel to a peer, connected when it is first used.
    fn to(&self, peer: &Address) -> Result<Channel, Status> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = peers.get(peer) {
            return Ok(channel.clone());
        }
        let (transport, to) = (Arc::clone(&self.transport), peer.clone());
        let connector = tower::service_fn(move |_: http::Uri| {
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, transport.connect(&to));
            async {
                let in_time = connecting.await.map_err(|_| {
                    let limit_ms = CONNECT_TIMEOUT.as_millis();
                    std::io::Error::other(format!("no connection within {limit_ms} ms"))
                });
                in_time?.map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_shared(peer.url().to_owned())
            .map_err(|error| Status::invalid(format!("{peer} is not a URL: {error}")))?
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector);
        peers.insert(peer.clone(), channel.clone());
        Ok(channel)
    }
}

fn client(channel: Channel) -> tonic::client::Grpc<Channel> {
    tonic::client::Grpc::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

async fn unary(
    channel: Channel,
    to: &Address,
    method: &'static str,
    body: Bytes,
    caller: Option<&Address>,
) -> Result<Bytes, Status> {
    let mut client = client(channel);
    // A peer that is not there fails here, before the request is sent: nothing has happened yet.
    client.ready().await.map_err(|error| {
        Status::unavailable(format!("{to}: cannot be reached: {}", root_cause(&error)))
    })?;
    let mut request = tonic::Request::new(body);
    if let Some(url) = caller.and_then(|caller| caller.url().parse().ok()) {
        request.metadata_mut().insert(CALLER_HEADER, url);
    }
    match client
        .unary(request, PathAndQuery::from_static(method), BytesCodec)
        .await
    {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(call_failure(to, status)),
    }
}

/// Tells "never sent" from "outcome unknown": only a connection that was not made and the peer's own answers are
/// certain.
fn call_failure(to: &Address, status: tonic::Status) -> Status {
    let Some(error) = std::error::Error::source(&status) else {
        return Status::from(status);
    };
    let cause = root_cause(error);
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        if error.is::<tonic::ConnectError>() {
            return Status::unavailable(format!("{to}: cannot be reached: {cause}"));
        }
        next = error.source();
    }
    Status::timeout(format!(
        "{to}: the connection broke before the answer: {cause}"
    ))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl Fabric for GrpcFabric {
    fn call(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Status>> {
        let (channels, faults, to) = (self.channels.clone(), Arc::clone(&self.faults), to.clone());
        Box::pin(async move {
            check_size(&body)?;
            let channel = channels.to(&to)?;
            let answer = async {
                faults.cross(&to).await;
                unary(channel, &to, method, body, faults.caller()).await
            };
            match tokio::time::timeout(timeout, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::timeout(format!(
                    "{to} did not answer within {} ms",
                    timeout.as_millis()
                ))),
            }
        })
    }

    fn send(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        delay: Duration,
    ) -> Result<(), Status> {
        self.outbox.send(to, method, body, delay)
    }

    fn serve(&self, at: &Address, router: Router) -> BoxFuture<'static, Result<Serving, Status>> {
        let (transport, faults) = (
            Arc::clone(&self.channels.transport),
            Arc::clone(&self.faults),
        );
        let router = router.with(proto::faults::Server(Arc::clone(&faults)));
        Box::pin(listener::serve(transport, at.clone(), router, faults))
    }
}

/// Bodies are bytes already.
#[derive(Clone, Copy, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, body: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put(buffer, body);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, length)))
    }
}
