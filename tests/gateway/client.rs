//! An HTTP client that shows everything of an answer.

use std::io::{BufRead, BufReader};

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Request, Response, header};

use crate::support::PATIENCE;

pub struct Client {
    url: String,
    agent: Agent,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Without parameters.
    pub media_type: String,
    pub location: Option<String>,
    pub text: String,
    /// Null when it is something else.
    pub json: Value,
}

impl Client {
    pub fn new(url: String) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE));
        let agent = config.build().into();
        Self { url, agent }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json("POST", path, body)
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send_json("PUT", path, body)
    }

    fn send_json(&self, method: &str, path: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send(method, path, &json, Some(&body.to_string()))
    }

    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let mut response = self.request(method, path, headers, body);
        let text = response.body_mut().read_to_string().unwrap();
        let headers = response.headers();
        let media_type = text_of(headers, header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap().to_owned();
        Answer {
            status: response.status().as_u16(),
            location: text_of(headers, header::LOCATION),
            json: serde_json::from_str(&text).unwrap_or_default(),
            media_type,
            text,
        }
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Response<ureq::Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(body) => self.agent.run(request.body(body.to_owned()).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The events that a stream sends until its end: name and data.
    pub fn follow(&self, path: &str) -> impl Iterator<Item = (String, Value)> + use<> {
        let response = self.request("GET", path, &[], None);
        let media_type = text_of(response.headers(), header::CONTENT_TYPE);
        assert_eq!(media_type.as_deref(), Some("text/event-stream"));
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        let mut name = String::new();
        lines.filter_map(move |line| {
            let line = line.unwrap();
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
            }
            let data = line.strip_prefix("data: ")?;
            Some((name.clone(), serde_json::from_str(data).unwrap()))
        })
    }
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().unwrap().to_owned())
}
