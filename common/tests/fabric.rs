//! One test suite over every implementation of the fabric.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::fabric::{
    Address, Detail, Fabric, FabricHandle, GrpcFabric, Kind, LocalFabric, OpenFabric, Router,
    Status,
};
use common::proto::{
    DebugLine, Empty, Link, NodeStatus, SetDebugRequest, SetFaultsRequest, faults, node,
    puppetmaster,
};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers after the puppetmaster's test says so; records what it hears.
struct Recorder {
    heard: mpsc::UnboundedSender<String>,
}

impl puppetmaster::Service for Recorder {
    async fn debug(&self, request: DebugLine) -> Result<Empty, Status> {
        self.heard.send(request.line).unwrap();
        Ok(Empty {})
    }
}

#[derive(Default)]
struct Answering {
    asked: AtomicUsize,
    hangs: tokio::sync::Notify,
}

impl node::Service for Answering {
    async fn status(&self, _: Empty) -> Result<NodeStatus, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(NodeStatus {
            name: "n1".to_owned(),
            ..NodeStatus::default()
        })
    }

    async fn set_debug(&self, request: SetDebugRequest) -> Result<Empty, Status> {
        match request.url.as_str() {
            "hang" => {
                self.hangs.notify_one();
                std::future::pending().await
            }
            "panic" => panic!("on purpose"),
            "full" => Err(Status::overloaded("full").with(Detail::RetryAfterMs(250))),
            url => Err(Status::new(Kind::Discarded, format!("no {url}"))),
        }
    }
}

fn fabrics() -> [(&'static str, FabricHandle); 3] {
    [
        ("grpc", Arc::new(GrpcFabric::default())),
        ("local", Arc::new(LocalFabric::default())),
        ("open", Arc::new(OpenFabric::new(LocalFabric::default()))),
    ]
}

fn free() -> Address {
    Address::parse("127.0.0.1:0").unwrap()
}

fn router() -> Router {
    Router::default().with(node::Server(Arc::new(Answering::default())))
}

fn client(fabric: &FabricHandle, to: &Address) -> node::Client {
    node::Client::new(fabric.clone(), to.clone(), PATIENCE)
}

#[tokio::test]
async fn a_call_is_answered_and_errors_keep_their_kind() {
    for (name, fabric) in fabrics() {
        let serving = fabric.serve(&free(), router()).await.unwrap();
        let client = client(&fabric, &serving.address);
        assert_eq!(client.status(&Empty {}).await.unwrap().name, "n1", "{name}");
        let refused = client
            .set_debug(&SetDebugRequest {
                url: "x".to_owned(),
            })
            .await
            .unwrap_err();
        assert_eq!(refused, Status::new(Kind::Discarded, "no x"), "{name}");
    }
}

#[tokio::test]
async fn a_node_of_an_open_fabric_and_one_of_another_process_reach_one_another() {
    let local = LocalFabric::default();
    let inside: FabricHandle = Arc::new(OpenFabric::new(local.another_end("node")));
    let outside: FabricHandle = Arc::new(GrpcFabric::default());
    let serving = inside.serve(&free(), router()).await.unwrap();
    let other = outside.serve(&free(), router()).await.unwrap();
    assert!(local.reaches(&serving.address));
    for (from, to) in [(&outside, &serving), (&inside, &other), (&inside, &serving)] {
        let answer = client(from, &to.address).status(&Empty {}).await;
        assert_eq!(answer.unwrap().name, "n1");
    }
    let address = serving.address.clone();
    drop(serving);
    assert!(!local.reaches(&address));
}

#[tokio::test]
async fn who_is_refused_for_lack_of_room_is_told_when_to_come_again() {
    for (name, fabric) in fabrics() {
        let serving = fabric.serve(&free(), router()).await.unwrap();
        let client = client(&fabric, &serving.address);
        let url = "full".to_owned();
        let refused = client.set_debug(&SetDebugRequest { url }).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, Kind::Overloaded, "{name}");
        assert_eq!(refused.retry_after_ms(), Some(250), "{name}");
    }
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unavailable_and_can_come_later() {
    for (name, fabric) in fabrics() {
        let address = fabric
            .serve(&free(), router())
            .await
            .unwrap()
            .address
            .clone();
        let client = client(&fabric, &address);
        // The listener was dropped at once; its socket closes soon after.
        while client.status(&Empty {}).await.is_ok() {}
        let error = client.status(&Empty {}).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable, "{name}: {error}");
        let _serving = fabric.serve(&address, router()).await.unwrap();
        assert!(client.status(&Empty {}).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn a_call_ends_at_its_timeout_with_an_unknown_outcome() {
    for (name, fabric) in fabrics() {
        let serving = fabric.serve(&free(), router()).await.unwrap();
        let impatient = node::Client::new(
            fabric.clone(),
            serving.address.clone(),
            Duration::from_millis(50),
        );
        let error = impatient
            .set_debug(&SetDebugRequest {
                url: "hang".to_owned(),
            })
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::Timeout, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_node_that_stops_breaks_the_calls_it_has_not_answered() {
    for (name, fabric) in fabrics() {
        let answering = Arc::new(Answering::default());
        let router = Router::default().with(node::Server(answering.clone()));
        let serving = fabric.serve(&free(), router).await.unwrap();
        let client = client(&fabric, &serving.address);
        let caller = client.clone();
        let hanging = tokio::spawn(async move {
            let request = SetDebugRequest {
                url: "hang".to_owned(),
            };
            caller.set_debug(&request).await
        });
        answering.hangs.notified().await;
        drop(serving);
        let error = hanging.await.unwrap().unwrap_err();
        assert_eq!(error.kind, Kind::Timeout, "{name}: {error}");
        let error = client.status(&Empty {}).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_handler_that_panics_answers_internal_and_the_node_goes_on() {
    for (name, fabric) in fabrics() {
        let serving = fabric.serve(&free(), router()).await.unwrap();
        let client = client(&fabric, &serving.address);
        let error = client
            .set_debug(&SetDebugRequest {
                url: "panic".to_owned(),
            })
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::Internal, "{name}");
        assert!(client.status(&Empty {}).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn unknown_methods_and_taken_addresses_are_named() {
    for (name, fabric) in fabrics() {
        let serving = fabric.serve(&free(), router()).await.unwrap();
        let stranger = puppetmaster::Client::new(fabric.clone(), serving.address.clone(), PATIENCE);
        let error = stranger.debug(&DebugLine::default()).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unimplemented, "{name}");
        assert!(
            error.message.contains("Puppetmaster/Debug"),
            "{name}: {error}"
        );
        let taken = fabric
            .serve(&serving.address, router())
            .await
            .err()
            .unwrap();
        assert_eq!(taken.kind, Kind::AlreadyExists, "{name}");
        assert!(
            taken.message.contains(serving.address.url()),
            "{name}: {taken}"
        );
    }
}

#[tokio::test]
async fn one_way_messages_arrive_in_order_and_not_before_their_delay() {
    for (name, fabric) in fabrics() {
        let (heard, mut lines) = mpsc::unbounded_channel();
        let service = puppetmaster::Server(Arc::new(Recorder { heard }));
        let serving = fabric
            .serve(&free(), Router::default().with(service))
            .await
            .unwrap();
        let delay = Duration::from_millis(30);
        let sent_ms = fabric.now_ms();
        for index in 0..1000 {
            let line = DebugLine {
                node: String::new(),
                line: index.to_string(),
            };
            fabric
                .send(
                    &serving.address,
                    puppetmaster::DEBUG,
                    common::fabric::encode(&line),
                    delay,
                )
                .unwrap();
        }
        for index in 0..1000 {
            let line = tokio::time::timeout(PATIENCE, lines.recv())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(line, index.to_string(), "{name}");
        }
        assert!(fabric.now_ms() - sent_ms >= 30, "{name}");
    }
}

#[tokio::test]
async fn one_way_messages_reach_a_peer_that_was_restarted() {
    for (name, fabric) in fabrics() {
        let (heard, mut lines) = mpsc::unbounded_channel();
        let service = Router::default().with(puppetmaster::Server(Arc::new(Recorder { heard })));
        let address = fabric
            .serve(&free(), service.clone())
            .await
            .unwrap()
            .address
            .clone();
        let _serving = loop {
            match fabric.serve(&address, service.clone()).await {
                Ok(serving) => break serving,
                Err(taken) => assert_eq!(taken.kind, Kind::AlreadyExists, "{name}"),
            }
        };
        // Messages may be lost around the restart; a later one must arrive.
        while lines.try_recv().is_err() {
            let line = common::fabric::encode(&DebugLine::default());
            fabric
                .send(&address, puppetmaster::DEBUG, line, Duration::ZERO)
                .unwrap();
            fabric.sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn listening_beyond_loopback_is_refused() {
    let fabric = GrpcFabric::default();
    let error = fabric
        .serve(&Address::parse("0.0.0.0:0").unwrap(), router())
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, Kind::Refused);
    assert!(error.message.contains("loopback"));
}

#[tokio::test]
async fn a_dropped_task_is_aborted_and_a_detached_one_ends() {
    for (_, fabric) in fabrics() {
        let ended = Arc::new(AtomicUsize::new(0));
        let (done, finished) = tokio::sync::oneshot::channel();
        let (also, count) = (ended.clone(), ended.clone());
        drop(fabric.spawn(Box::pin(async move {
            tokio::task::yield_now().await;
            also.fetch_add(100, Ordering::SeqCst);
        })));
        fabric
            .spawn(Box::pin(async move {
                count.fetch_add(1, Ordering::SeqCst);
                done.send(()).unwrap();
            }))
            .detach();
        finished.await.unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    }
}

/// Two nodes that answer, each with an end of its own.
struct Pair {
    name: &'static str,
    fabrics: [FabricHandle; 2],
    answering: [Arc<Answering>; 2],
    lines: [mpsc::UnboundedReceiver<String>; 2],
    serving: [common::fabric::Serving; 2],
    /// Listens nowhere, as the puppetmaster does not.
    outsider: FabricHandle,
}

async fn pairs() -> [Pair; 2] {
    let local = LocalFabric::default();
    let [one, two, outsider] = [0; 3].map(|_| Arc::new(local.another_end("node")));
    let [grpc_one, grpc_two] = [0; 2].map(|_| Arc::new(GrpcFabric::with_faults()));
    [
        pair("grpc", grpc_one, grpc_two, Arc::new(GrpcFabric::default())).await,
        pair("local", one, two, outsider).await,
    ]
}

async fn pair(
    name: &'static str,
    one: FabricHandle,
    two: FabricHandle,
    outsider: FabricHandle,
) -> Pair {
    let node = async |fabric: &FabricHandle| {
        let answering = Arc::new(Answering::default());
        let (heard, lines) = mpsc::unbounded_channel();
        let router = Router::default()
            .with(node::Server(answering.clone()))
            .with(puppetmaster::Server(Arc::new(Recorder { heard })));
        let serving = fabric.serve(&free(), router).await.unwrap();
        (answering, lines, serving)
    };
    let (first, second) = (node(&one).await, node(&two).await);
    Pair {
        name,
        fabrics: [one, two],
        answering: [first.0, second.0],
        lines: [first.1, second.1],
        serving: [first.2, second.2],
        outsider,
    }
}

impl Pair {
    /// One node asks the other.
    async fn ask(&self, from: usize, patience: Duration) -> Result<(), Status> {
        let to = self.serving[1 - from].address.clone();
        let client = node::Client::new(self.fabrics[from].clone(), to, patience);
        client.status(&Empty {}).await.map(|_| ())
    }

    fn send(&self, from: usize, line: &str, delay: Duration) {
        let line = common::fabric::encode(&DebugLine {
            line: line.to_owned(),
            ..DebugLine::default()
        });
        let to = &self.serving[1 - from].address;
        self.fabrics[from]
            .send(to, puppetmaster::DEBUG, line, delay)
            .unwrap();
    }

    /// The faults of the link from one node to the other, and only those.
    async fn set_faults(&self, from: usize, faults: Link) {
        let link = Link {
            peer: self.serving[1 - from].address.to_string(),
            ..faults
        };
        let to = self.serving[from].address.clone();
        let client = faults::Client::new(self.outsider.clone(), to, PATIENCE);
        let request = SetFaultsRequest { links: vec![link] };
        client.set_faults(&request).await.unwrap();
    }

    fn asked(&self, node: usize) -> usize {
        self.answering[node].asked.load(Ordering::SeqCst)
    }
}

const SHORT: Duration = Duration::from_millis(100);
/// Long enough to cut a link meanwhile, also on a busy machine.
const UNDER_WAY: Duration = Duration::from_secs(1);

fn cut() -> Link {
    Link {
        cut: true,
        ..Link::default()
    }
}

#[tokio::test]
async fn a_cut_link_loses_requests_and_answers_in_one_direction() {
    for pair in pairs().await {
        let name = pair.name;
        pair.set_faults(0, cut()).await;
        let lost = pair.ask(0, SHORT).await.unwrap_err();
        assert_eq!(lost.kind, Kind::Timeout, "{name}: {lost}");
        assert_eq!(pair.asked(1), 0, "{name}: the request arrived");
        let unanswered = pair.ask(1, SHORT).await.unwrap_err();
        assert_eq!(unanswered.kind, Kind::Timeout, "{name}: {unanswered}");
        assert_eq!(pair.asked(0), 1, "{name}: the request did not arrive");
        // Who is not a node is answered all the same.
        let outsider = client(&pair.outsider, &pair.serving[0].address);
        outsider.status(&Empty {}).await.unwrap();

        pair.set_faults(0, Link::default()).await;
        pair.ask(0, PATIENCE).await.unwrap();
        pair.ask(1, PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_is_lost_when_the_link_is_cut_before_it_is_given() {
    for pair in pairs().await {
        let to = pair.serving[1].address.clone();
        let patient = node::Client::new(pair.fabrics[0].clone(), to, SHORT);
        let asking = tokio::spawn(async move {
            let request = SetDebugRequest {
                url: "hang".to_owned(),
            };
            patient.set_debug(&request).await
        });
        pair.answering[1].hangs.notified().await;
        pair.set_faults(1, cut()).await;
        let lost = asking.await.unwrap().unwrap_err();
        assert_eq!(lost.kind, Kind::Timeout, "{}: {lost}", pair.name);
    }
}

#[tokio::test]
async fn one_way_messages_over_a_cut_link_are_lost_and_later_ones_are_not() {
    for mut pair in pairs().await {
        let name = pair.name;
        pair.send(0, "before", Duration::ZERO);
        assert_eq!(pair.lines[1].recv().await.unwrap(), "before", "{name}");
        // Under way when the link is cut, and sent while it is.
        pair.send(0, "under way", UNDER_WAY);
        pair.set_faults(0, cut()).await;
        pair.send(0, "lost", Duration::ZERO);
        pair.send(1, "the other way", Duration::ZERO);
        let other_way = pair.lines[0].recv().await.unwrap();
        assert_eq!(other_way, "the other way", "{name}");
        pair.fabrics[0].sleep(UNDER_WAY).await;
        pair.set_faults(0, Link::default()).await;
        pair.send(0, "after", Duration::ZERO);
        assert_eq!(pair.lines[1].recv().await.unwrap(), "after", "{name}");
    }
}

#[tokio::test]
async fn a_slow_link_delays_requests_answers_and_one_way_messages() {
    for mut pair in pairs().await {
        let (name, fabric) = (pair.name, pair.fabrics[0].clone());
        let slow = Link {
            delay_ms: 60,
            ..Link::default()
        };
        pair.set_faults(0, slow).await;
        for from in [0, 1] {
            let asked_ms = fabric.now_ms();
            pair.ask(from, PATIENCE).await.unwrap();
            assert!(fabric.now_ms() - asked_ms >= 60, "{name}: {from}");
        }
        let sent_ms = fabric.now_ms();
        pair.send(0, "1", Duration::ZERO);
        pair.send(0, "2", Duration::ZERO);
        assert_eq!(pair.lines[1].recv().await.unwrap(), "1", "{name}");
        assert!(fabric.now_ms() - sent_ms >= 60, "{name}");
        assert_eq!(pair.lines[1].recv().await.unwrap(), "2", "{name}");
        let impatient = pair.ask(0, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(impatient.kind, Kind::Timeout, "{name}");
    }
}

#[tokio::test]
async fn a_link_loses_as_many_messages_as_it_was_told() {
    const SENT: usize = 1_000;
    for mut pair in pairs().await {
        let name = pair.name;
        let lossy = Link {
            loss_percent: 30,
            ..Link::default()
        };
        pair.set_faults(0, lossy).await;
        (0..SENT).for_each(|number| pair.send(0, &number.to_string(), Duration::ZERO));
        pair.set_faults(0, Link::default()).await;
        pair.send(0, "end", Duration::ZERO);
        let mut received = Vec::new();
        while let Some(line) = pair.lines[1].recv().await.filter(|line| line != "end") {
            received.push(line.parse::<usize>().unwrap());
        }
        assert!(received.is_sorted(), "{name}");
        // Seven standard deviations of 1,000 messages: this fails once in 10^11 times.
        assert!(
            (600..=800).contains(&received.len()),
            "{name}: {received:?}"
        );
        let all = Link {
            loss_percent: 100,
            ..Link::default()
        };
        pair.set_faults(0, all).await;
        let lost = pair.ask(0, SHORT).await.unwrap_err();
        assert_eq!(lost.kind, Kind::Timeout, "{name}");
    }
}

#[tokio::test]
async fn a_node_that_does_not_allow_faults_says_how_to_allow_them() {
    let fabric: FabricHandle = Arc::new(GrpcFabric::default());
    let serving = fabric.serve(&free(), router()).await.unwrap();
    let client = faults::Client::new(fabric.clone(), serving.address.clone(), PATIENCE);
    let refused = client.set_faults(&SetFaultsRequest::default()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, Kind::Refused);
    assert!(refused.message.contains("--allow-faults"), "{refused}");
}
