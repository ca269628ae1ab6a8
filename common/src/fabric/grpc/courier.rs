//! One-way messages over gRPC: one client stream per peer, batches of letters as frames.

use std::sync::Arc;

use futures::future::FutureExt;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{BytesCodec, Channels, client};
use crate::fabric::faults::Faults;
use crate::fabric::outbox::{Courier, Letter};
use crate::fabric::{Address, BoxFuture, Bytes, Status, encode};
use crate::proto::{Frame, OneWay};

pub(super) const SEND_METHOD: &str = "/marionette.v1.Fabric/Send";
/// Frames on their way to the connection; more wait in the outbox.
const FRAMES_IN_FLIGHT_MAX: usize = 4;
/// A frame closes at this size.
const FRAME_BYTES_TARGET: usize = 1 << 20;

pub(super) struct GrpcCourier {
    pub channels: Channels,
    pub faults: Arc<Faults>,
    /// See [`Frame`].
    pub sender: u64,
}

impl Courier for GrpcCourier {
    fn carry(&self, to: Address, letters: mpsc::Receiver<Letter>) -> BoxFuture<'static, ()> {
        let (channels, faults) = (self.channels.clone(), Arc::clone(&self.faults));
        Box::pin(carry(channels, faults, self.sender, to, letters))
    }
}

/// Opens a stream for the first letter and a new one whenever it breaks; what was in the broken one is lost.
async fn carry(
    channels: Channels,
    faults: Arc<Faults>,
    sender: u64,
    to: Address,
    mut letters: mpsc::Receiver<Letter>,
) {
    let mut stream = 0;
    while let Some(letter) = letters.recv().await {
        let (frames, queue) = mpsc::channel(FRAMES_IN_FLIGHT_MAX);
        stream += 1;
        let frame = |messages| {
            let frame = Frame {
                messages,
                sender,
                stream,
            };
            (!faults.is_cut(&to)).then(|| encode(&frame))
        };
        let feed = feed(letter, &mut letters, frames, frame);
        let outcome = tokio::select! {
            outcome = open(&channels, &to, queue) => outcome,
            () = feed => return,
        };
        if let Err(status) = outcome {
            tracing::debug!(%to, %status, "the stream of one-way messages broke");
        }
    }
}

/// Sends the frames; returns when the stream has ended.
pub(super) async fn open(
    channels: &Channels,
    to: &Address,
    frames: mpsc::Receiver<Bytes>,
) -> Result<(), Status> {
    let mut client = client(channels.to(to)?);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let request = tonic::Request::new(ReceiverStream::new(frames));
    client
        .client_streaming(request, PathAndQuery::from_static(SEND_METHOD), BytesCodec)
        .await?;
    Ok(())
}

/// Moves letters into frames as they become due; ends when the fabric does. What is not made a frame is lost.
async fn feed(
    first: Letter,
    letters: &mut mpsc::Receiver<Letter>,
    frames: mpsc::Sender<Bytes>,
    frame: impl Fn(Vec<OneWay>) -> Option<Bytes>,
) {
    let mut next = Some(first);
    while let Some(letter) = next.take() {
        // The timer's shortest sleep is a millisecond, also until a moment that is past.
        if letter.due > tokio::time::Instant::now() {
            tokio::time::sleep_until(letter.due).await;
        }
        let mut bytes = letter.body.len();
        let mut messages = vec![one_way(letter)];
        while bytes < FRAME_BYTES_TARGET {
            match letters.recv().now_or_never() {
                Some(Some(letter)) if letter.due <= tokio::time::Instant::now() => {
                    bytes += letter.body.len();
                    messages.push(one_way(letter));
                }
                Some(waiting) => {
                    next = waiting;
                    break;
                }
                None => break,
            }
        }
        if let Some(frame) = frame(messages)
            && frames.send(frame).await.is_err()
        {
            // The stream broke; `carry` notices by its outcome.
            return std::future::pending().await;
        }
        if next.is_none() {
            next = letters.recv().await;
        }
    }
}

fn one_way(letter: Letter) -> OneWay {
    OneWay {
        method: letter.method.to_owned(),
        body: letter.body,
    }
}
