//! The gRPC fabric over a simulated network with virtual time: partitions, restarts, slow and held links. Everything but
//! the connections themselves is what runs in production, with its keep-alive and its deadlines.

#![allow(clippy::unwrap_used)]

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::fabric::{
    Address, Connection, Fabric, FabricHandle, GrpcFabric, Kind, Listening, Router, Status,
    Transport, encode,
};
use common::proto::{DebugLine, Empty, NodeStatus, SetDebugRequest, node, puppetmaster};
use futures::future::BoxFuture;
use futures::stream::{StreamExt, unfold};
use tokio::time::Instant;
use turmoil::net::{TcpListener, TcpStream};

const SERVER: &str = "server";
const CLIENT: &str = "client";
const PORT: u16 = 3000;
/// What a peer's silence may last before its connection is given up, and a tick.
const SILENCE_MAX: Duration = Duration::from_millis(3_100);
/// In addition, what a connection may take that cannot be made.
const RECONNECT_MAX: Duration = Duration::from_millis(5_200);
const PATIENCE: Duration = Duration::from_mins(1);

struct Simulated;

impl Transport for Simulated {
    fn connect(&self, to: &Address) -> BoxFuture<'static, io::Result<Connection>> {
        let to = to.authority().to_owned();
        Box::pin(async move { TcpStream::connect(to).await.map(Connection::new) })
    }

    fn listen(&self, at: &Address) -> BoxFuture<'static, Result<Listening, Status>> {
        let port = at.port();
        Box::pin(async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
            let listener = listener.map_err(|error| Status::unavailable(error.to_string()))?;
            let accepting = unfold(listener, |listener| async move {
                let accepted = listener.accept().await;
                Some((
                    accepted.map(|(stream, _)| Connection::new(stream)),
                    listener,
                ))
            });
            Ok(Listening {
                port,
                connections: accepting.boxed(),
            })
        })
    }
}

/// What the server has seen, over all its lives.
#[derive(Clone, Default)]
struct Seen {
    lines: Arc<Mutex<Vec<u64>>>,
    lives: Arc<AtomicU64>,
}

impl node::Service for Seen {
    async fn status(&self, _: Empty) -> Result<NodeStatus, Status> {
        let incarnation = self.lives.load(Ordering::SeqCst);
        Ok(NodeStatus {
            incarnation,
            ..NodeStatus::default()
        })
    }

    async fn set_debug(&self, _: SetDebugRequest) -> Result<Empty, Status> {
        std::future::pending().await
    }
}

impl puppetmaster::Service for Seen {
    async fn debug(&self, request: DebugLine) -> Result<Empty, Status> {
        self.lines
            .lock()
            .unwrap()
            .push(request.line.parse().unwrap());
        Ok(Empty {})
    }
}

impl Seen {
    fn last(&self) -> Option<u64> {
        self.lines.lock().unwrap().last().copied()
    }
}

fn server() -> Address {
    Address::parse(&format!("http://{SERVER}:{PORT}")).unwrap()
}

/// A server, and a client that does this. Returns what the server has seen, once the client has ended.
fn simulate<F: Future<Output = ()> + 'static>(client: impl FnOnce(Seen) -> F) -> Seen {
    let seen = Seen::default();
    let mut simulation = simulation(&seen, Duration::from_millis(1)..Duration::from_millis(5));
    let task = client(seen.clone());
    simulation.client(CLIENT, async move {
        task.await;
        Ok(())
    });
    simulation.run().unwrap();
    seen
}

fn simulation(seen: &Seen, latency: std::ops::Range<Duration>) -> turmoil::Sim<'static> {
    let mut simulation = turmoil::Builder::new()
        .rng_seed(7)
        .simulation_duration(Duration::from_mins(10))
        .min_message_latency(latency.start)
        .max_message_latency(latency.end)
        .build();
    let seen = seen.clone();
    simulation.host(SERVER, move || {
        let seen = seen.clone();
        async move {
            seen.lives.fetch_add(1, Ordering::SeqCst);
            let router = Router::default()
                .with(node::Server(Arc::new(seen.clone())))
                .with(puppetmaster::Server(Arc::new(seen)));
            let _serving = GrpcFabric::over(Simulated).serve(&server(), router).await?;
            std::future::pending().await
        }
    });
    simulation
}

struct Client {
    fabric: FabricHandle,
}

impl Client {
    fn new() -> Self {
        Self {
            fabric: Arc::new(GrpcFabric::over(Simulated)),
        }
    }

    /// The server's life.
    async fn ask(&self, patience: Duration) -> Result<u64, Status> {
        let client = node::Client::new(self.fabric.clone(), server(), patience);
        Ok(client.status(&Empty {}).await?.incarnation)
    }

    /// Asks what is never answered.
    async fn hang(&self, patience: Duration) -> Status {
        let client = node::Client::new(self.fabric.clone(), server(), patience);
        let request = SetDebugRequest::default();
        client.set_debug(&request).await.unwrap_err()
    }

    fn send(&self, line: u64) {
        let line = encode(&DebugLine {
            line: line.to_string(),
            ..DebugLine::default()
        });
        let sent = self
            .fabric
            .send(&server(), puppetmaster::DEBUG, line, Duration::ZERO);
        sent.unwrap();
    }
}

#[test]
fn a_call_is_answered() {
    simulate(async |_| assert_eq!(Client::new().ask(PATIENCE).await.unwrap(), 1));
}

#[test]
fn a_call_during_a_partition_ends_at_its_deadline_with_an_unknown_outcome() {
    simulate(async |_| {
        let client = Client::new();
        client.ask(PATIENCE).await.unwrap();
        turmoil::partition(CLIENT, SERVER);
        let (started, patience) = (Instant::now(), Duration::from_secs(1));
        let lost = client.ask(patience).await.unwrap_err();
        assert_eq!(lost.kind, Kind::Timeout, "{lost}");
        assert_eq!(started.elapsed().as_millis(), patience.as_millis());
    });
}

#[test]
fn a_hung_peer_is_noticed_before_a_long_deadline() {
    simulate(async |_| {
        let client = Client::new();
        client.ask(PATIENCE).await.unwrap();
        turmoil::partition(CLIENT, SERVER);
        let started = Instant::now();
        let lost = client.hang(PATIENCE).await;
        assert_eq!(lost.kind, Kind::Timeout, "{lost}");
        assert!(started.elapsed() < SILENCE_MAX, "{:?}", started.elapsed());
    });
}

#[test]
fn a_peer_to_which_no_connection_can_be_made_was_not_reached() {
    simulate(async |_| {
        let client = Client::new();
        for (lose, go_on) in [
            (turmoil::hold as fn(_, _), turmoil::release as fn(_, _)),
            (turmoil::partition, turmoil::repair),
        ] {
            lose(CLIENT, SERVER);
            let started = Instant::now();
            let unreached = client.ask(PATIENCE).await.unwrap_err();
            assert_eq!(unreached.kind, Kind::Unavailable, "{unreached}");
            assert!(started.elapsed() < SILENCE_MAX, "{:?}", started.elapsed());
            go_on(CLIENT, SERVER);
        }
        client.ask(PATIENCE).await.unwrap();
    });
}

#[test]
fn an_idle_connection_that_a_partition_broke_is_not_used_after_it() {
    simulate(async |_| {
        let client = Client::new();
        client.ask(PATIENCE).await.unwrap();
        turmoil::partition(CLIENT, SERVER);
        tokio::time::sleep(SILENCE_MAX).await;
        turmoil::repair(CLIENT, SERVER);
        client.ask(Duration::from_millis(50)).await.unwrap();
    });
}

#[test]
fn one_way_messages_resume_in_order_after_a_partition() {
    const INTERVAL: Duration = Duration::from_millis(50);
    const PARTITION: Duration = Duration::from_secs(20);
    let seen = simulate(async |seen| {
        let client = Client::new();
        let mut line = 0;
        let mut send_for = async |duration: Duration| {
            let end = Instant::now() + duration;
            while Instant::now() < end {
                line += 1;
                client.send(line);
                tokio::time::sleep(INTERVAL).await;
            }
            line
        };
        let before = send_for(Duration::from_secs(5)).await;
        assert_eq!(seen.last(), Some(before));
        turmoil::partition(CLIENT, SERVER);
        let during = send_for(PARTITION).await;
        turmoil::repair(CLIENT, SERVER);
        let after = send_for(RECONNECT_MAX).await;
        assert!(seen.last() > Some(during), "{:?}", seen.last());
        // From then on nothing is lost any more.
        let resumed = send_for(Duration::from_secs(5)).await;
        let lines = seen.lines.lock().unwrap();
        let late: Vec<u64> = lines.iter().copied().filter(|line| *line > after).collect();
        assert_eq!(late, (after + 1..=resumed).collect::<Vec<_>>());
    });
    let lines = seen.lines.lock().unwrap();
    assert!(lines.is_sorted_by(|a, b| a < b), "{lines:?}");
}

#[test]
fn a_restarted_server_is_reached_by_the_same_client() {
    let seen = Seen::default();
    let mut simulation = simulation(&seen, Duration::from_millis(1)..Duration::from_millis(5));
    let observed = seen.clone();
    simulation.client(CLIENT, async move {
        let client = Client::new();
        assert_eq!(client.ask(PATIENCE).await?, 1);
        client.send(1);
        while observed.last() != Some(1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let broken = client.hang(PATIENCE).await;
        assert_eq!(broken.kind, Kind::Timeout, "{broken}");
        // The server is away until it is asked for in vain.
        let away = client.ask(PATIENCE).await.unwrap_err();
        assert_eq!(away.kind, Kind::Unavailable, "{away}");
        let mut line = 2;
        while client.ask(PATIENCE).await.ok() != Some(2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while observed.last() == Some(1) {
            client.send(line);
            line += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    });
    let mut ended = false;
    while !ended {
        ended = simulation.step().unwrap();
        let elapsed = simulation.elapsed();
        if elapsed == Duration::from_secs(1) {
            simulation.crash(SERVER);
        } else if elapsed == Duration::from_secs(6) {
            simulation.bounce(SERVER);
        }
    }
    assert_eq!(seen.lives.load(Ordering::SeqCst), 2);
}

#[test]
fn a_call_over_a_held_link_is_answered_when_the_link_goes_on() {
    simulate(async |_| {
        let client = Client::new();
        client.ask(PATIENCE).await.unwrap();
        turmoil::hold(CLIENT, SERVER);
        let started = Instant::now();
        let release = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            turmoil::release(CLIENT, SERVER);
        };
        let (answer, ()) = futures::future::join(client.ask(PATIENCE), release).await;
        assert_eq!(answer.unwrap(), 1);
        assert!(started.elapsed() >= Duration::from_secs(2));
    });
}

#[test]
fn a_slow_link_takes_its_time_and_keeps_the_order() {
    let latency = Duration::from_millis(300);
    let seen = Seen::default();
    let mut simulation = simulation(&seen, latency..latency + Duration::from_millis(100));
    let observed = seen.clone();
    simulation.client(CLIENT, async move {
        let client = Client::new();
        client.ask(PATIENCE).await?;
        let started = Instant::now();
        client.ask(PATIENCE).await?;
        assert!(started.elapsed() >= 2 * latency);
        (1..=500).for_each(|line| client.send(line));
        while observed.last() != Some(500) {
            tokio::time::sleep(latency).await;
        }
        Ok(())
    });
    simulation.run().unwrap();
    assert_eq!(*seen.lines.lock().unwrap(), (1..=500).collect::<Vec<_>>());
}
