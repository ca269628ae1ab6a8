//! The process creation service with the real binary and real processes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::fabric::{Address, FabricHandle, GrpcFabric, Kind, Status};
use common::proto::process_event::What;
use common::proto::{
    CloseRequest, Empty, ProcessEvent, ProcessRequest, StartRequest, WatchRequest,
};
use common::proto::{node, pcs as protocol};
use nix::sys::signal::Signal;
use support::{
    Marionette, PATIENCE, children_of, free_ports, is_frozen, is_running, send, taken_port,
    wait_until, wait_within,
};

/// What the issue promises: no process is left after this.
const ORPHANS_LIVE_MAX: Duration = Duration::from_secs(2);
const SESSION: &str = "test";
/// So long that no test lets it lapse by accident.
const LONG_LEASE_MS: u32 = 300_000;

fn fabric() -> FabricHandle {
    Arc::new(GrpcFabric::default())
}

/// A PCS in a process of its own, and a client of it.
struct Pcs {
    process: Marionette,
    client: protocol::Client,
    address: Address,
}

impl Pcs {
    async fn start() -> Self {
        let process = Marionette::start(&["pcs", "--listen", "127.0.0.1:0"]);
        let url = tokio::task::block_in_place(|| process.wait_for_line("ready pcs "));
        let address = Address::parse(&url).unwrap();
        let client = protocol::Client::new(fabric(), address.clone(), PATIENCE);
        let pcs = Self {
            process,
            client,
            address,
        };
        pcs.events(0, 0).await.unwrap();
        pcs
    }

    async fn start_storage(&self, name: &str, port: u16) -> Result<u32, Status> {
        Ok(self.client.start(&storage(SESSION, name, port)).await?.pid)
    }

    /// Starts a storage node and waits until it is ready; its pid.
    async fn ready_storage(&self, name: &str, port: u16) -> u32 {
        let pid = self.start_storage(name, port).await.unwrap();
        self.event(|event| event.pid == pid && matches!(event.what, Some(What::Ready(_))))
            .await;
        pid
    }

    async fn events(&self, after: u64, wait_ms: u32) -> Result<Vec<ProcessEvent>, Status> {
        let session = SESSION.to_owned();
        let request = WatchRequest {
            session,
            after,
            wait_ms,
            lease_ms: LONG_LEASE_MS,
        };
        Ok(self.client.watch(&request).await?.events)
    }

    /// The first event like this, waited for.
    async fn event(&self, like: impl Fn(&ProcessEvent) -> bool) -> ProcessEvent {
        let mut after = 0;
        loop {
            for event in self.events(after, 10_000).await.unwrap() {
                after = event.number;
                if like(&event) {
                    return event;
                }
            }
        }
    }

    /// How the process ended: `asked`, `how` and `last_words`.
    async fn end_of(&self, pid: u32) -> (bool, String, String) {
        let event =
            self.event(|event| event.pid == pid && matches!(event.what, Some(What::Exited(_))));
        match event.await.what {
            Some(What::Exited(exited)) => (exited.asked, exited.how, exited.last_words),
            other => panic!("{other:?}"),
        }
    }
}

fn storage(session: &str, name: &str, port: u16) -> StartRequest {
    StartRequest {
        session: session.to_owned(),
        name: name.to_owned(),
        role: "storage".to_owned(),
        arguments: vec![
            name.to_owned(),
            format!("http://127.0.0.1:{port}"),
            "0".to_owned(),
        ],
    }
}

fn process(name: &str) -> ProcessRequest {
    ProcessRequest {
        session: SESSION.to_owned(),
        name: name.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_started_node_becomes_ready_and_is_listed() {
    let pcs = Pcs::start().await;
    let [port] = free_ports();
    let pid = pcs.ready_storage("s1", port).await;
    assert_eq!(children_of(pcs.process.pid()), [pid]);
    let list = pcs.client.list(&Empty {}).await.unwrap().processes;
    let shown: Vec<_> = list
        .iter()
        .map(|p| (p.name.as_str(), p.role.as_str(), p.pid, p.ready))
        .collect();
    assert_eq!(shown, [("s1", "storage", pid, true)]);
    let status = node::Client::new(fabric(), pcs.address.clone(), PATIENCE);
    let status = status.status(&Empty {}).await.unwrap();
    assert_eq!(
        (status.role.as_str(), status.details[1].value.as_str()),
        ("pcs", "1")
    );
    let node = node::Client::new(fabric(), pcs.address.with_port(port), PATIENCE);
    assert_eq!(node.status(&Empty {}).await.unwrap().name, "s1");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_is_answered_when_the_process_is_gone_and_its_name_is_free_again() {
    let pcs = Pcs::start().await;
    let [port] = free_ports();
    let pid = pcs.ready_storage("s1", port).await;
    pcs.client.kill(&process("s1")).await.unwrap();
    assert!(!is_running(pid));
    let (asked, how, _) = pcs.end_of(pid).await;
    assert_eq!((asked, how.as_str()), (true, "signal 9 (SIGKILL)"));
    let again = pcs.ready_storage("s1", port).await;
    assert_ne!(again, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_lets_a_node_end_by_itself() {
    let pcs = Pcs::start().await;
    let [port] = free_ports();
    let pid = pcs.ready_storage("s1", port).await;
    pcs.client.stop(&process("s1")).await.unwrap();
    assert!(!is_running(pid));
    assert_eq!(
        pcs.end_of(pid).await,
        (true, "exit status 0".to_owned(), String::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_does_nothing_until_it_is_unfrozen() {
    let pcs = Pcs::start().await;
    let [port] = free_ports();
    let pid = pcs.ready_storage("s1", port).await;
    pcs.client.freeze(&process("s1")).await.unwrap();
    wait_until("the node is frozen", || is_frozen(pid).then_some(()));
    let node = Address::parse(&format!("127.0.0.1:{port}")).unwrap();
    let impatient = node::Client::new(fabric(), node.clone(), Duration::from_millis(300));
    let silent = impatient.status(&Empty {}).await.unwrap_err();
    assert_eq!(silent.kind, Kind::Timeout, "{silent}");

    pcs.client.unfreeze(&process("s1")).await.unwrap();
    let patient = node::Client::new(fabric(), node, PATIENCE);
    assert_eq!(patient.status(&Empty {}).await.unwrap().name, "s1");
    let unknown = pcs.client.freeze(&process("s2")).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_lets_a_frozen_node_end_by_itself_and_kill_kills_it() {
    let pcs = Pcs::start().await;
    let [first, second] = free_ports();
    for (name, port, how) in [
        ("s1", first, "exit status 0"),
        ("s2", second, "signal 9 (SIGKILL)"),
    ] {
        let pid = pcs.ready_storage(name, port).await;
        pcs.client.freeze(&process(name)).await.unwrap();
        match name {
            "s1" => pcs.client.stop(&process(name)).await.unwrap(),
            _ => pcs.client.kill(&process(name)).await.unwrap(),
        };
        assert!(!is_running(pid));
        assert_eq!(pcs.end_of(pid).await.1, how);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_reported_unasked() {
    let pcs = Pcs::start().await;
    let [port] = free_ports();
    let pid = pcs.ready_storage("s1", port).await;
    send(pid, Signal::SIGKILL);
    let (asked, how, _) = pcs.end_of(pid).await;
    assert_eq!((asked, how.as_str()), (false, "signal 9 (SIGKILL)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_a_clear_error_and_output_carries_the_nodes_name() {
    let pcs = Pcs::start().await;
    let (_listener, port) = taken_port();
    let pid = pcs.start_storage("s1", port).await.unwrap();
    let (asked, how, last_words) = pcs.end_of(pid).await;
    assert_eq!(
        (asked, how.as_str()),
        (false, "exit status 3 before it was ready")
    );
    assert!(
        last_words.starts_with("error: cannot start storage node s1"),
        "{last_words}"
    );
    assert!(
        last_words.contains(&format!("http://127.0.0.1:{port} is taken")),
        "{last_words}"
    );
    let relayed = format!("s1 | {}", last_words.lines().next().unwrap());
    wait_until(&relayed, || {
        pcs.process.error().contains(&relayed).then_some(())
    });
    assert_eq!(pcs.process.output(), format!("ready pcs {}\n", pcs.address));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_name_and_an_unknown_name_are_refused_by_name() {
    let pcs = Pcs::start().await;
    let [first, second] = free_ports();
    pcs.ready_storage("s1", first).await;
    let taken = pcs.start_storage("s1", second).await.unwrap_err();
    assert_eq!(taken.kind, Kind::AlreadyExists);
    assert!(taken.message.contains("`s1` is running already"), "{taken}");
    for answer in [
        pcs.client.kill(&process("s9")).await,
        pcs.client.stop(&process("s9")).await,
    ] {
        let unknown = answer.unwrap_err();
        assert_eq!(unknown.kind, Kind::NotFound);
        assert!(unknown.message.contains("`s9`"), "{unknown}");
    }
    let other = pcs
        .client
        .start(&storage("another session", "s1", second))
        .await
        .unwrap_err();
    assert_eq!(other.kind, Kind::InvalidArgument);
    pcs.client
        .start(&storage("another", "s1", second))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_a_role_is_started() {
    let pcs = Pcs::start().await;
    for role in ["pcs", "run", "sh", ""] {
        let request = StartRequest {
            role: role.to_owned(),
            ..storage(SESSION, "s1", 1)
        };
        let refused = pcs.client.start(&request).await.unwrap_err();
        assert_eq!(refused.kind, Kind::InvalidArgument, "{role}");
    }
    assert!(children_of(pcs.process.pid()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_pcs_leaves_no_child() {
    let pcs = Pcs::start().await;
    let ports: [u16; 3] = free_ports();
    let ready = pcs.ready_storage("s1", ports[0]).await;
    let frozen = pcs.ready_storage("s2", ports[1]).await;
    send(frozen, Signal::SIGSTOP);
    // Killed while this one is hardly born.
    let newborn = pcs.start_storage("s3", ports[2]).await.unwrap();
    send(pcs.process.pid(), Signal::SIGKILL);
    wait_within(ORPHANS_LIVE_MAX, "the end of the children", || {
        (![ready, frozen, newborn].into_iter().any(is_running)).then_some(())
    });
}

#[test]
fn a_node_whose_parent_is_gone_ends_at_once() {
    let node = Marionette::start_with(&["scheduler", "sc1", "http://127.0.0.1:0"], "", |command| {
        // The parent is this test, and not the process 1.
        command.env("MARIONETTE_PARENT_PID", "1");
    });
    let finished = node.finish();
    assert_eq!(finished.status.code(), Some(3));
    assert!(
        finished
            .error
            .contains("the process 1 that started this node is gone"),
        "{finished:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_pcs_stops_its_children_first() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let pcs = Pcs::start().await;
        let [port] = free_ports();
        let pid = pcs.ready_storage("s1", port).await;
        send(pcs.process.pid(), signal);
        let finished = pcs.process.finish();
        assert_eq!(finished.status.code(), Some(0), "{finished:?}");
        assert!(!is_running(pid));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_session_loses_its_processes() {
    let pcs = Pcs::start().await;
    let [first, second] = free_ports();
    let kept = pcs.ready_storage("s1", first).await;
    let lost = pcs
        .client
        .start(&storage("silent", "s1", second))
        .await
        .unwrap()
        .pid;
    let watch = WatchRequest {
        session: "silent".to_owned(),
        lease_ms: 1_000,
        ..Default::default()
    };
    pcs.client.watch(&watch).await.unwrap();
    wait_within(
        ORPHANS_LIVE_MAX,
        "the end of the silent session's process",
        || (!is_running(lost)).then_some(()),
    );
    assert!(is_running(kept));
    let exited = loop {
        // The PCS may not have reaped it yet, and says first that it was ready.
        let events = pcs.client.watch(&watch).await.unwrap().events;
        if let Some(What::Exited(exited)) = events.last().and_then(|event| event.what.clone()) {
            break exited;
        }
    };
    assert!(
        !exited.asked && exited.how.contains("silent for 1000 ms"),
        "{exited:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_session_stops_its_processes_and_no_others() {
    let pcs = Pcs::start().await;
    let ports: [u16; 3] = free_ports();
    let first = pcs.ready_storage("s1", ports[0]).await;
    let second = pcs.ready_storage("s2", ports[1]).await;
    let other = pcs
        .client
        .start(&storage("other", "s1", ports[2]))
        .await
        .unwrap()
        .pid;
    let watch = WatchRequest {
        session: "other".to_owned(),
        lease_ms: LONG_LEASE_MS,
        ..Default::default()
    };
    pcs.client.watch(&watch).await.unwrap();
    pcs.client
        .close(&CloseRequest {
            session: SESSION.to_owned(),
        })
        .await
        .unwrap();
    assert!(!is_running(first) && !is_running(second) && is_running(other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_binary_is_named() {
    let fabric = fabric();
    let listen = Address::parse("127.0.0.1:0").unwrap();
    let config = pcs::Config {
        nodes: pcs::Nodes::Processes {
            binary: PathBuf::from("/nowhere/marionette"),
            relay: pcs::RelayTo::StandardError,
        },
        ..pcs::Config::embedded(listen).unwrap()
    };
    let pcs::Running { serving, life } = pcs::serve(config, fabric.clone()).await.unwrap();
    let client = protocol::Client::new(fabric, serving.address.clone(), PATIENCE);
    let failed = client.start(&storage(SESSION, "s1", 1)).await.unwrap_err();
    assert!(
        failed
            .message
            .contains("cannot start storage `s1`: /nowhere/marionette: No such file"),
        "{failed}"
    );
    assert!(client.list(&Empty {}).await.unwrap().processes.is_empty());
    life.end().await;
    let ended = client.start(&storage(SESSION, "s1", 1)).await.unwrap_err();
    assert_eq!(ended.kind, Kind::Unavailable);
}

#[test]
fn a_pcs_that_cannot_listen_says_where_and_exits_3() {
    let (_listener, port) = taken_port();
    let finished = Marionette::start(&["pcs", "--listen", &format!("127.0.0.1:{port}")]).finish();
    assert_eq!(finished.status.code(), Some(3));
    let expected = format!("error: cannot start the PCS: http://127.0.0.1:{port} is taken");
    assert!(finished.error.starts_with(&expected), "{finished:?}");
    assert_eq!(finished.output, "");
}

/// A script whose one node stays until the puppetmaster goes.
fn lasting_script(port: u16) -> String {
    format!("storage s1 http://127.0.0.1:{port} 0\nawait ready\nwait 600000\n")
}

#[test]
fn a_killed_puppetmaster_with_an_embedded_pcs_leaves_no_node() {
    let [port] = free_ports();
    let puppetmaster = Marionette::start_with(&["run", "-"], &lasting_script(port), |_| {});
    let nodes = wait_until("a ready node", || ready_node(&puppetmaster));
    assert_eq!(children_of(puppetmaster.pid()), nodes);
    send(puppetmaster.pid(), Signal::SIGKILL);
    wait_within(ORPHANS_LIVE_MAX, "the end of the node", || {
        (!nodes.iter().copied().any(is_running)).then_some(())
    });
}

#[test]
fn a_script_that_is_ended_with_a_frozen_node_leaves_nothing_behind() {
    let [port] = free_ports();
    let script =
        format!("storage s1 http://127.0.0.1:{port} 0\nawait ready\nfreeze s1\nwait 600000\n");
    let puppetmaster = Marionette::start_with(&["run", "-"], &script, |_| {});
    let frozen = wait_until("a frozen node", || {
        let nodes = children_of(puppetmaster.pid());
        nodes.into_iter().find(|node| is_frozen(*node))
    });
    send(puppetmaster.pid(), Signal::SIGINT);
    puppetmaster.finish();
    assert!(!is_running(frozen));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_puppetmaster_leaves_no_node_at_a_pcs_of_its_own() {
    let pcs = Pcs::start().await;
    let [port] = free_ports();
    let arguments = ["run", "-", "--pcs", pcs.address.url()];
    let puppetmaster = Marionette::start_with(&arguments, &lasting_script(port), |_| {});
    let nodes = wait_until("a ready node", || {
        ready_node(&puppetmaster).map(|_| children_of(pcs.process.pid()))
    });
    assert_eq!(nodes.len(), 1);
    send(puppetmaster.pid(), Signal::SIGKILL);
    wait_within(ORPHANS_LIVE_MAX, "the end of the node", || {
        (!is_running(nodes[0])).then_some(())
    });
    assert!(is_running(pcs.process.pid()));
}

/// The children of a puppetmaster, once it has said that its node is ready.
fn ready_node(puppetmaster: &Marionette) -> Option<Vec<u32>> {
    puppetmaster
        .error()
        .contains("s1")
        .then(|| children_of(puppetmaster.pid()))
}

#[test]
fn an_embedded_pcs_keeps_the_nodes_output_away_from_the_results() {
    let (_listener, port) = taken_port();
    let script = format!("storage s1 http://127.0.0.1:{port} 0\nawait ready\n");
    let finished = Marionette::start_with(&["run", "-"], &script, |_| {}).finish();
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    assert_eq!(finished.output, "");
    assert!(
        finished.error.contains(&format!(
            "s1 | error: cannot start storage node s1: http://127.0.0.1:{port} is taken"
        )),
        "{finished:?}"
    );
}
