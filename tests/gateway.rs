//! The gateway as its clients see it: a real cluster that is spoken to over HTTP only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

#[path = "gateway/client.rs"]
mod client;
mod support;

use client::{Answer, Client};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::cluster::{Folder, nodes_at, pid_of};
use support::{Marionette, free_ports, send, wait_until};

const COUNT: &str = "operator CounterOperator 0\n";
const COUNT_TWICE: &str = "operator CounterOperator 0\noperator CounterOperator 1\n";
/// Its second stage would go on for hours.
const ENDLESS: &str = "operator SplitRange 0 chunk=1000000000\noperator SumOfPrimes 1\n";
const ENDLESS_INPUT: &str = "[1, 1000000000000]";

/// A cluster that a script has made, and its gateway.
struct Cluster {
    marionette: Marionette,
    http: Client,
    _folder: Folder,
}

impl Cluster {
    fn start() -> Self {
        Self::with_delay(0)
    }

    /// Its worker waits before it forwards a request.
    fn with_delay(delay_ms: u64) -> Self {
        let [port] = free_ports();
        let url = format!("http://127.0.0.1:{port}");
        let nodes = nodes_at("127.0.0.1", 2, 1, delay_ms);
        let folder = Folder::new();
        let script =
            format!("set http {url}\n{nodes}await ready\nawait converged\necho up\nwait 600000\n");
        let marionette = folder.run(&script);
        marionette.wait_for_line("up");
        let http = Client::new(url);
        wait_until("readiness", || {
            (http.get("/readyz").status == 200).then_some(())
        });
        Self {
            marionette,
            http,
            _folder: folder,
        }
    }

    /// The URL of the scheduler, for what HTTP does not do.
    fn scheduler(&self) -> String {
        let pid = pid_of(self.marionette.pid(), "sc1");
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        command.split('\0').nth(3).unwrap().to_owned()
    }
}

fn submission(application: &str, input: &str) -> Value {
    json!({"application": application, "input": input, "wait_ms": 60_000})
}

#[track_caller]
fn refused(answer: &Answer, status: u16, detail: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.media_type, "application/problem+json", "{answer:?}");
    assert_eq!(answer.json["status"], status, "{answer:?}");
    let told = answer.json["detail"].as_str().unwrap();
    assert!(told.contains(detail), "{told}");
}

#[test]
fn a_run_is_submitted_found_and_explained() {
    let Cluster {
        http, marionette, ..
    } = &Cluster::start();
    let submitted = http.post("/v1/runs", &submission(COUNT_TWICE, "visits"));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    assert_eq!(submitted.location.as_deref(), Some("/v1/runs/1"));
    let run = &submitted.json;
    assert_eq!(
        (&run["run"], &run["state"]),
        (&json!(1), &json!("completed"))
    );
    assert_eq!(run["output"], json!([{"value": "2"}]));
    let touched = run["records"].as_array().unwrap();
    assert_eq!((touched.len(), &touched[0]["id"]), (1, &json!("visits")));
    let stages = run["stages"].as_array().unwrap();
    assert!(
        stages
            .iter()
            .all(|stage| stage["done"] == true && stage["worker"] == "w1")
    );

    assert_eq!(http.get("/v1/runs/1").json, *run);
    let listed = http.get("/v1/runs?limit=5").json;
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1, "{listed}");
    let trace = http.get("/v1/runs/1/trace").json;
    let [first, second] = trace["tasks"].as_array().unwrap().as_slice() else {
        panic!("{trace}")
    };
    assert_eq!(
        (&first["class"], &second["order"]),
        (&json!("CounterOperator"), &json!(1))
    );
    assert_eq!(second["calls"][0]["version"], first["calls"][1]["version"]);
    assert_eq!(
        trace["waits_for"],
        "run 1 has ended: completed with 1 item(s)"
    );

    send(marionette.pid(), Signal::SIGINT);
}

#[test]
fn a_submission_is_repeated_with_its_key_and_makes_one_run() {
    let Cluster { http, .. } = &Cluster::start();
    let mut request = submission(COUNT, "visits");
    request["key"] = json!("8d7e");
    let first = http.post("/v1/runs", &request);
    let again = http.post("/v1/runs", &request);
    assert_eq!((again.status, &again.json), (201, &first.json));
    request["input"] = json!("others");
    refused(
        &http.post("/v1/runs", &request),
        409,
        "the key belongs to run 1",
    );
    let of_same_application = submission(COUNT, "visits");
    let next = http.post("/v1/runs", &of_same_application);
    assert_eq!(next.json["output"], json!([{"value": "2"}]), "{next:?}");
}

#[test]
fn a_follower_is_told_the_progress_and_then_the_outcome() {
    // Between the stages, so that there is something to be seen.
    let Cluster { http, .. } = &Cluster::with_delay(2_000);
    let mut request = submission(COUNT_TWICE, "visits");
    request["wait_ms"] = json!(0);
    let run = http.post("/v1/runs", &request).json;
    assert_eq!(run["state"], "running");
    let events: Vec<_> = http.follow("/v1/runs/1/events").collect();
    let done = |event: &(String, Value)| {
        let stages = event.1["stages"].as_array().unwrap();
        stages.iter().filter(|stage| stage["done"] == true).count()
    };
    let (last, progress) = events.split_last().unwrap();
    assert!(
        progress.iter().all(|(name, _)| name == "progress"),
        "{events:?}"
    );
    assert!(progress.iter().any(|event| done(event) == 1), "{events:?}");
    assert!(progress.iter().map(done).is_sorted(), "{events:?}");
    assert_eq!((last.0.as_str(), done(last)), ("outcome", 2), "{events:?}");
    assert_eq!(last.1, http.get("/v1/runs/1?wait_ms=60000").json);
}

#[test]
fn a_run_is_cancelled_once_and_its_followers_hear_of_it() {
    let Cluster { http, .. } = &Cluster::start();
    let mut request = submission(ENDLESS, ENDLESS_INPUT);
    request["wait_ms"] = json!(0);
    assert_eq!(http.post("/v1/runs", &request).status, 201);
    let mut events = http.follow("/v1/runs/1/events");
    let begun = events.next().unwrap();
    assert_eq!(begun.0, "progress");
    let cancelled = http.post("/v1/runs/1/cancel", &Value::Null);
    assert_eq!(
        (cancelled.status, &cancelled.json["state"]),
        (200, &json!("cancelled"))
    );
    let (name, run) = events.last().unwrap();
    assert_eq!(
        (name.as_str(), &run["state"]),
        ("outcome", &json!("cancelled"))
    );
    let again = http.post("/v1/runs/1/cancel", &Value::Null);
    assert_eq!(again.status, 200, "it is cancelled: {again:?}");
    http.post("/v1/runs", &submission(COUNT, "visits"));
    let late = http.post("/v1/runs/2/cancel", &Value::Null);
    refused(&late, 409, "run 2 has ended: completed");
}

#[test]
fn records_are_written_compared_and_listed() {
    let Cluster { http, .. } = &Cluster::start();
    let colour = "/v1/records/colour";
    refused(&http.get(colour), 404, "there is no record `colour`");
    let green = json!({"value": "green", "if": "absent"});
    let made = http.put(colour, &green);
    assert_eq!(made.status, 200, "{made:?}");
    let mismatch = http.put(colour, &green);
    refused(&mismatch, 412, "not as expected");
    let version = made.json["version"].clone();
    let found = json!({"version": version, "value": "green"});
    assert_eq!(mismatch.json["found"], found);

    let blue = json!({"value": "blue", "if": {"value": "green"}});
    let updated = http.put(colour, &blue);
    assert_eq!(updated.status, 200, "{updated:?}");
    refused(&http.put(colour, &blue), 412, "not as expected");
    let newest = http.get("/v1/records/colour?linearizable=true").json;
    assert_eq!(
        (&newest["value"], &newest["version"]),
        (&json!("blue"), &updated.json["version"])
    );
    let old = http.get(&format!("{colour}?version={}", in_url(&version)));
    assert_eq!(old.json["value"], "green", "{old:?}");
    refused(
        &http.get("/v1/records/colour?version=999.1"),
        404,
        "no replica has version 999.1",
    );

    let bytes = json!({"value": {"base64": "/wA="}});
    assert_eq!(http.put("/v1/records/a%2Fb%20%C3%A9", &bytes).status, 200);
    let listed = http.get("/v1/records?prefix=a&limit=1").json;
    assert_eq!(
        (&listed["records"][0]["id"], &listed["records"][0]["value"]),
        (&json!("a/b é"), &bytes["value"])
    );
    let rest = http.get("/v1/records?after=a/b%20%C3%A9").json;
    assert_eq!(rest["records"].as_array().unwrap().len(), 1, "{rest}");
    assert_eq!(rest["records"][0]["id"], "colour");

    let stale = http.delete(&format!("{colour}?if_version={}", in_url(&version)));
    refused(&stale, 412, "not as expected");
    assert_eq!(http.delete(colour).status, 200);
    refused(&http.get(colour), 404, "there is no record `colour`");
}

fn in_url(version: &Value) -> String {
    version.as_str().unwrap().replace('+', "%2B")
}

#[test]
fn what_is_marionettes_own_is_neither_shown_nor_changed() {
    let cluster = Cluster::start();
    let http = &cluster.http;
    let standard = concat!(env!("CARGO_MANIFEST_DIR"), "/operators/std/std.wasm");
    let scheduler = cluster.scheduler();
    let deployed = Marionette::start(&["deploy", standard, "--connect", &scheduler]).finish();
    assert!(deployed.status.success(), "{deployed:?}");
    let operators = http.get("/v1/operators").json;
    let counter = operators["classes"].as_array().unwrap().iter();
    let counter = counter.filter(|class| class["class"] == "CounterOperator");
    assert_eq!(
        counter
            .map(|class| &class["deployments"])
            .collect::<Vec<_>>(),
        [&json!(1)]
    );

    assert_eq!(
        http.put("/v1/records/z", &json!({"value": "1"})).status,
        200
    );
    let own = "/v1/records/_marionette%2Foperators";
    refused(&http.get(own), 403, "reserved");
    refused(&http.put(own, &json!({"value": "x"})), 403, "reserved");
    refused(&http.delete(own), 403, "reserved");
    let mut after = String::new();
    let mut shown = Vec::new();
    loop {
        let page = http.get(&format!("/v1/records?limit=1&after={after}")).json;
        let records = page["records"].as_array().unwrap();
        shown.extend(records.iter().map(|record| record["id"].clone()));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = next.replace('\u{10ffff}', "%F4%8F%BF%BF");
    }
    assert_eq!(shown, [json!("z")]);
    let own = http.get("/v1/records?prefix=_marionette/").json;
    assert_eq!(own, json!({"records": []}));
}

#[test]
fn wrong_requests_are_told_what_is_wrong_about_them() {
    let Cluster { http, .. } = &Cluster::start();
    refused(&http.get("/v1/nowhere"), 404, "there is no /v1/nowhere");
    refused(&http.get("/v1/runs/7"), 404, "there is no run 7");
    refused(&http.get("/v1/runs/0"), 400, "a whole number from 1");
    refused(&http.get("/v1/runs?limit=1001"), 400, "from 1 to 1000");
    refused(
        &http.get("/v1/runs?offset=1"),
        400,
        "unknown field `offset`",
    );
    refused(&http.delete("/v1/runs/7"), 405, "has no DELETE");
    let mut request = submission("operator Countr 0\n", "visits");
    refused(&http.post("/v1/runs", &request), 422, "application:1:10");
    request["wait"] = json!(true);
    refused(
        &http.post("/v1/runs", &request),
        400,
        "unknown field `wait`",
    );
    let both = json!({"value": "1", "if": {"value": "1", "version": "1.1"}});
    refused(&http.put("/v1/records/k", &both), 400, "or \"absent\"");
    let long = json!({"value": "x".repeat((1 << 20) + 1)});
    refused(
        &http.put("/v1/records/k", &long),
        413,
        "at most 1048576 bytes",
    );
    let text = http.send(
        "PUT",
        "/v1/records/k",
        &[("content-type", "text/plain")],
        Some("1"),
    );
    refused(&text, 415, "application/json");
    let elsewhere = [("origin", "http://elsewhere.example")];
    refused(
        &http.send("GET", "/v1/runs", &elsewhere, None),
        403,
        "other sites",
    );
    let rebound = [("host", "elsewhere.example")];
    refused(
        &http.send("GET", "/v1/runs", &rebound, None),
        403,
        "its own machine",
    );
}

#[test]
fn workers_health_and_metrics_say_how_the_cluster_fares() {
    let cluster = Cluster::start();
    let http = &cluster.http;
    assert_eq!(http.get("/healthz").json, json!({"status": "ok"}));
    assert_eq!(http.get("/readyz").json, json!({"status": "ok"}));
    let workers = http.get("/v1/workers").json;
    assert_eq!(workers["workers"][0]["name"], "w1", "{workers}");
    assert_eq!(
        http.post("/v1/runs", &submission(COUNT, "visits")).status,
        201
    );
    let metrics = http.get("/metrics");
    assert_eq!(metrics.media_type, "text/plain");
    for sample in [
        "marionette_runs_submitted_total 1",
        "marionette_runs{state=\"completed\"} 1",
        "marionette_leader_term 1",
        "marionette_workers 1",
        "marionette_storage_nodes 2",
        "marionette_http_requests_total{route=\"/v1/runs\",method=\"POST\",code=\"201\"} 1",
    ] {
        assert!(
            metrics.text.lines().any(|line| line == sample),
            "{sample}: {}",
            metrics.text
        );
    }

    send(pid_of(cluster.marionette.pid(), "w1"), Signal::SIGKILL);
    wait_until("the loss of the worker", || {
        let readiness = http.get("/readyz");
        (readiness.status == 503).then(|| refused(&readiness, 503, "no worker is active"))
    });
    refused(
        &http.post("/v1/runs", &submission(COUNT, "visits")),
        503,
        "worker",
    );
    assert_eq!(http.get("/healthz").status, 200);
}

#[test]
fn the_port_is_told_by_status_and_followers_do_not_hold_up_the_end() {
    let ports: [u16; 3] = free_ports();
    let [s1, sc1, w1] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let ring = format!("s1={s1}");
    let _storage = Marionette::start(&["storage", "s1", &s1, "0", "--ring", &ring]);
    let scheduler = [
        "scheduler",
        "sc1",
        &sc1,
        "--ring",
        &ring,
        "--http",
        "127.0.0.1:0",
    ];
    let scheduler = Marionette::start(&scheduler);
    let _worker = Marionette::start(&["worker", "w1", &w1, "0", "--scheduler", &sc1]);
    scheduler.wait_for_line("ready ");
    let folder = Folder::new();
    let json = ["--connect", sc1.as_str(), "--output", "json"];
    let status = folder.run_with("status\n", &json).finish().output;
    let status: Value = serde_json::from_str(&status).unwrap();
    let url = &status["nodes"][0]["details"]["http"];
    let http = Client::new(url.as_str().unwrap().to_owned());
    wait_until("readiness", || {
        (http.get("/readyz").status == 200).then_some(())
    });
    let mut request = submission(ENDLESS, ENDLESS_INPUT);
    request["wait_ms"] = json!(0);
    let run = http.post("/v1/runs", &request);
    assert_eq!(run.status, 201, "{run:?}");
    let mut events = http.follow("/v1/runs/1/events");
    assert_eq!(events.next().unwrap().0, "progress");
    send(scheduler.pid(), Signal::SIGTERM);
    let (name, problem) = events.last().unwrap();
    assert_eq!(
        (name.as_str(), &problem["status"]),
        ("error", &json!(503)),
        "{problem}"
    );
    assert!(scheduler.finish().status.success());
}

#[test]
fn an_address_beyond_this_machine_is_refused() {
    let [port] = free_ports();
    let url = format!("http://127.0.0.1:{port}");
    let scheduler = ["scheduler", "sc1", &url, "--http", "0.0.0.0:0"];
    let finished = Marionette::start(&scheduler).finish();
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    let why = "0.0.0.0:0 is not a loopback address";
    assert!(finished.error.contains(why), "{finished:?}");
}
