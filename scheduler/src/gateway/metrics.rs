//! What there is to be measured, in the text format of Prometheus (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Gateway;
use super::problem::{Always, Problem};
use crate::core::{Core, RunState};

const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Stands for whatever the gateway does not know: clients may make up any method and path.
const UNKNOWN: &str = "unknown";
const METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(read_metrics))
}

/// Requests that were answered, by route, method and status.
#[derive(Default)]
pub struct Requests(Mutex<BTreeMap<(String, &'static str, u16), u64>>);

/// Counts a request when its answer begins.
pub async fn count(gateway: State<Gateway>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(UNKNOWN, MatchedPath::as_str).to_owned();
    let asked = request.method().as_str();
    let known = METHODS.into_iter().find(|method| *method == asked);
    let method = known.unwrap_or(UNKNOWN);
    let response = next.run(request).await;
    let key = (route, method, response.status().as_u16());
    let requests = &gateway.0.0.requests.0;
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    *requests.entry(key).or_default() += 1;
    response
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "cluster", responses(
    (status = 200, description = "The metrics", body = String, content_type = "text/plain"), Always
))]
async fn read_metrics(State(gateway): State<Gateway>) -> Result<impl IntoResponse, Problem> {
    let leading = gateway.0.service.standing.leading();
    let term = leading.map_or(0, |leading| leading.term);
    let look = move |core: &Core, _| of_core(core, term);
    let mut text = gateway.0.server.inspect(look).await?;
    of_requests(&gateway.0.requests, &mut text);
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text.0))
}

fn of_core(core: &Core, term: u32) -> Exposition {
    let mut states = BTreeMap::from(STATES.map(|state| (state, 0)));
    for run in core.runs() {
        *states.entry(state_name(&run.state)).or_default() += 1;
    }
    let (mut slots, mut outstanding) = (0, 0);
    for worker in core.workers() {
        slots += u64::from(worker.slots);
        outstanding += u64::from(worker.outstanding);
    }
    let storage_nodes = core.ring().map_or(0, |ring| ring.nodes.len());
    let mut text = Exposition::default();
    text.family(
        "marionette_runs_submitted_total",
        "counter",
        "Runs that were accepted.",
    );
    text.sample("marionette_runs_submitted_total", &[], core.submitted());
    text.family(
        "marionette_runs",
        "gauge",
        "Runs that are remembered, by state.",
    );
    for (state, count) in states {
        text.sample("marionette_runs", &[("state", state)], count);
    }
    let gauges = [
        (
            "marionette_leader_term",
            "In which this scheduler leads; 0: it does not.",
            u64::from(term),
        ),
        (
            "marionette_workers",
            "Active workers.",
            core.workers().count() as u64,
        ),
        (
            "marionette_worker_slots",
            "Tasks that active workers take at once.",
            slots,
        ),
        (
            "marionette_tasks_outstanding",
            "Stages assigned to workers that are not done.",
            outstanding,
        ),
        (
            "marionette_storage_nodes",
            "Storage nodes of the ring; 0 until it is known.",
            storage_nodes as u64,
        ),
    ];
    for (name, help, value) in gauges {
        text.family(name, "gauge", help);
        text.sample(name, &[], value);
    }
    text
}

const STATES: [&str; 5] = ["running", "completed", "failed", "expired", "cancelled"];

fn state_name(state: &RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Completed(_) => "completed",
        RunState::Failed(_) => "failed",
        RunState::Expired(_) => "expired",
        RunState::Cancelled => "cancelled",
    }
}

fn of_requests(requests: &Requests, text: &mut Exposition) {
    let name = "marionette_http_requests_total";
    text.family(name, "counter", "HTTP requests that were answered.");
    let requests = requests.0.lock().unwrap_or_else(PoisonError::into_inner);
    for ((route, method, code), count) in requests.iter() {
        let code = code.to_string();
        let labels = [
            ("route", route.as_str()),
            ("method", method),
            ("code", &code),
        ];
        text.sample(name, &labels, *count);
    }
}

/// Lines of the text format.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.join(",") {
            none if none.is_empty() => none,
            some => format!("{{{some}}}"),
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(
        clippy::needless_raw_string_hashes,
        reason = "UPDATE_EXPECT writes it so"
    )]
    fn the_text_format_is_kept() {
        let mut text = of_core(&Core::new(0, None, true, 1), 0);
        let requests = Requests::default();
        let key = ("/v1/\"\\\n".to_owned(), "GET", 200);
        requests.0.lock().unwrap().insert(key, 2);
        of_requests(&requests, &mut text);
        expect_test::expect![[r##"
            # HELP marionette_runs_submitted_total Runs that were accepted.
            # TYPE marionette_runs_submitted_total counter
            marionette_runs_submitted_total 0
            # HELP marionette_runs Runs that are remembered, by state.
            # TYPE marionette_runs gauge
            marionette_runs{state="cancelled"} 0
            marionette_runs{state="completed"} 0
            marionette_runs{state="expired"} 0
            marionette_runs{state="failed"} 0
            marionette_runs{state="running"} 0
            # HELP marionette_leader_term In which this scheduler leads; 0: it does not.
            # TYPE marionette_leader_term gauge
            marionette_leader_term 0
            # HELP marionette_workers Active workers.
            # TYPE marionette_workers gauge
            marionette_workers 0
            # HELP marionette_worker_slots Tasks that active workers take at once.
            # TYPE marionette_worker_slots gauge
            marionette_worker_slots 0
            # HELP marionette_tasks_outstanding Stages assigned to workers that are not done.
            # TYPE marionette_tasks_outstanding gauge
            marionette_tasks_outstanding 0
            # HELP marionette_storage_nodes Storage nodes of the ring; 0 until it is known.
            # TYPE marionette_storage_nodes gauge
            marionette_storage_nodes 0
            # HELP marionette_http_requests_total HTTP requests that were answered.
            # TYPE marionette_http_requests_total counter
            marionette_http_requests_total{route="/v1/\"\\\n",method="GET",code="200"} 2
        "##]]
        .assert_eq(&text.0);
    }
}
