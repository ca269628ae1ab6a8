//! How nodes speak, and their only source of time, tasks and chance.
//!
//! Four implementations, one test suite over all (`tests/fabric.rs`):
//! - [`GrpcFabric`]: real processes; every method is a plain gRPC method on the wire.
//! - [`LocalFabric`]: everything in one process; messages pass through the codec all the same.
//! - the same in a [`Simulation`]: in one thread and in virtual time, with what goes wrong as the seed has it.
//! - [`OpenFabric`]: the same, and other processes reach the nodes by gRPC.
//!
//! Roles use the typed clients and servers generated in [`crate::proto`] on top of this trait, and never
//! `tokio::time`, `tokio::spawn`, `std::time` or `rand`: what goes through the fabric can be simulated.
//!
//! Promises: a call ends within its timeout; messages sent to one peer arrive in order or not at all; every queue
//! is bounded. A failed call with [`Kind::Unavailable`] never reached the peer's handler.
//!
//! Both lose and delay what they are told to lose and delay by [`crate::proto::faults`], which they answer themselves
//! (`faults.rs`); the gRPC fabric only when it was made to allow it.

mod address;
mod faults;
mod grpc;
mod local;
mod machine;
mod open;
mod outbox;
mod sim;

pub use address::{Address, AddressError};
pub use bytes::Bytes;
pub use faults::{FAULT_DELAY_MS_MAX, FAULTY_LINKS_MAX};
pub use futures::future::BoxFuture;
pub use grpc::{Connection, GrpcFabric, Listening, Transport, listen};
pub use local::{Life, LocalFabric};
pub use open::OpenFabric;
pub use sim::{EventLog, Profile, Simulation, World};
pub use std::time::Duration;

pub use crate::status::{Detail, Kind, Status};

use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};
use tokio::sync::oneshot;

/// Largest message, in bytes; larger ones are refused on both sides.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Most one-way messages waiting for one peer.
pub const OUTBOX_MESSAGES_MAX: usize = 16_384;
/// Most bytes of one-way messages waiting for one peer.
pub const OUTBOX_BYTES_MAX: usize = 256 << 20;

pub type FabricHandle = Arc<dyn Fabric>;

/// One node's end of the network, its clock, its tasks and its chance: by default those of the machine.
pub trait Fabric: Send + Sync + 'static {
    /// Asks a peer and waits for the answer, at most `timeout`.
    fn call(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Status>>;

    /// Sends a one-way message after `delay`, in order with the others to this peer; it may be lost.
    /// `Overloaded` when [`OUTBOX_MESSAGES_MAX`]
    /// or [`OUTBOX_BYTES_MAX`] are waiting.
    fn send(
        &self,
        to: &Address,
        method: &'static str,
        body: Bytes,
        delay: Duration,
    ) -> Result<(), Status>;

    /// Answers requests at `at` until the returned [`Serving`] is dropped. Port 0 picks a free one.
    fn serve(&self, at: &Address, router: Router) -> BoxFuture<'static, Result<Serving, Status>>;

    /// Milliseconds on a clock that never goes back; its zero is arbitrary.
    fn now_ms(&self) -> u64 {
        machine::now_ms()
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, on a clock that people may set.
    fn unix_ms(&self) -> u64 {
        machine::unix_ms()
    }

    /// Numbers the lives of nodes: higher with every call, also after a restart of the machine.
    fn incarnation(&self) -> u64 {
        machine::incarnation()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        machine::sleep(duration)
    }

    /// Runs a task until it ends or the returned [`Task`] is dropped.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        machine::spawn(task)
    }

    fn random(&self) -> u64 {
        machine::random()
    }

    /// What goes wrong on all links from now on, if this is a simulation: others have weather of their own.
    fn set_weather(&self, _: Profile) {}

    /// Does something that holds up its thread, such as the reading of files; ask through [`block`].
    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        machine::block(work)
    }
}

/// Does something that holds up its thread where that harms nobody; nothing when it has panicked.
pub async fn block<T: Send + 'static>(
    fabric: &dyn Fabric,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, done) = oneshot::channel();
    let work = move || {
        // Nobody waits for it any more.
        let _ = sender.send(work());
    };
    fabric.block(Box::new(work)).await;
    done.await.ok()
}

/// Waits for `future`, at most `duration`.
pub async fn timeout<F: Future>(
    fabric: &dyn Fabric,
    duration: Duration,
    future: F,
) -> Option<F::Output> {
    let sleep = fabric.sleep(duration);
    match select(pin!(future), sleep).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(((), _)) => None,
    }
}

/// A running task; aborted when this is dropped.
#[must_use = "a dropped task is aborted; call detach() to let it run"]
pub struct Task(Option<tokio::task::AbortHandle>);

impl Task {
    /// Lets the task run to its end.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// Answers the methods of one service. Implemented by the generated servers.
pub trait Handler: Send + Sync + 'static {
    /// The prefix of its methods' paths, e.g. `/marionette.v1.Storage/`.
    fn service(&self) -> &'static str;
    fn handle(&self, method: &str, body: Bytes) -> BoxFuture<'static, Result<Bytes, Status>>;
}

/// The services of one node.
#[derive(Clone, Default)]
pub struct Router(Vec<Arc<dyn Handler>>);

impl Router {
    pub fn with(mut self, handler: impl Handler) -> Self {
        self.0.push(Arc::new(handler));
        self
    }

    fn handle(&self, method: &str, body: Bytes) -> BoxFuture<'static, Result<Bytes, Status>> {
        let Some(handler) = self
            .0
            .iter()
            .find(|handler| method.starts_with(handler.service()))
        else {
            let status = Status::unknown_method(method);
            return Box::pin(async move { Err(status) });
        };
        handler.handle(method, body)
    }
}

/// A node that listens, until this is dropped.
pub struct Serving {
    /// Where it listens: with the real port when port 0 was asked for.
    pub address: Address,
    _stop: Box<dyn std::any::Any + Send + Sync>,
}

/// A message as the bytes that travel.
pub fn encode(message: &impl prost::Message) -> Bytes {
    message.encode_to_vec().into()
}

pub fn decode<M: prost::Message + Default>(body: Bytes) -> Result<M, Status> {
    M::decode(body)
        .map_err(|error| Status::invalid(format!("the message could not be decoded: {error}")))
}

fn check_size(body: &Bytes) -> Result<(), Status> {
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(Status::invalid(format!(
            "a message has at most {MESSAGE_BYTES_MAX} bytes, not {}",
            body.len()
        )));
    }
    Ok(())
}
