//! One test suite over every implementation of the fabric.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::fabric::{
    Address, Fabric, FabricHandle, GrpcFabric, Kind, LocalFabric, Router, Status,
};
use common::proto::{DebugLine, Empty, NodeStatus, SetDebugRequest, node, puppetmaster};
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
    hangs: tokio::sync::Notify,
}

impl node::Service for Answering {
    async fn status(&self, _: Empty) -> Result<NodeStatus, Status> {
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
            url => Err(Status::new(Kind::Discarded, format!("no {url}"))),
        }
    }
}

fn fabrics() -> [(&'static str, FabricHandle); 2] {
    [
        ("grpc", Arc::new(GrpcFabric::default())),
        ("local", Arc::new(LocalFabric::default())),
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
