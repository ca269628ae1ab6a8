//! How connections are made: over TCP; in tests over a simulated network.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::{Connected, TcpIncoming};

use crate::fabric::{Address, BoxFuture, Kind, Status};

/// Makes the connections of a [`GrpcFabric`](super::GrpcFabric), on both sides.
pub trait Transport: Send + Sync + 'static {
    fn connect(&self, to: &Address) -> BoxFuture<'static, io::Result<Connection>>;
    /// Port 0 picks a free one. The error is for the user.
    fn listen(&self, at: &Address) -> BoxFuture<'static, Result<Listening, Status>>;
}

/// The connections to one address; dropped, it listens no more.
pub struct Listening {
    /// The real one when port 0 was asked for.
    pub port: u16,
    pub connections: BoxStream<'static, io::Result<Connection>>,
}

/// Bytes in both directions.
pub struct Connection(Box<dyn Duplex>);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

impl Connection {
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(stream))
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// How often a port that is still being released by a predecessor is tried again.
const BIND_ATTEMPTS_MAX: u32 = 5;
const BIND_RETRY: Duration = Duration::from_millis(50);

/// The network of this machine.
pub(super) struct Tcp;

impl Transport for Tcp {
    fn connect(&self, to: &Address) -> BoxFuture<'static, io::Result<Connection>> {
        let to = to.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(to.authority()).await?;
            stream.set_nodelay(true)?;
            Ok(Connection::new(stream))
        })
    }

    fn listen(&self, at: &Address) -> BoxFuture<'static, Result<Listening, Status>> {
        let at = at.clone();
        Box::pin(async move {
            let (listener, address) = listen(&at).await?;
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            Ok(Listening {
                port: address.port(),
                connections: incoming.map(|stream| stream.map(Connection::new)).boxed(),
            })
        })
    }
}

/// A socket of this machine that listens, and its address with the real port when port 0 was asked for. The error is for
/// the user; it is [`Kind::Refused`] beyond loopback.
pub async fn listen(at: &Address) -> Result<(TcpListener, Address), Status> {
    let listener = bind(at).await?;
    let bound = listener
        .local_addr()
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok((listener, at.with_port(bound.port())))
}

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
