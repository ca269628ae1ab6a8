//! The connections of a bucket or a host.
//!
//! Promises: each request goes where it is sent and nowhere else, without redirects and proxies; it goes without TLS only
//! where that is allowed.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{HeaderValue, USER_AGENT};
use http::uri::Scheme;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::host::limits::{CONNECT_TIMEOUT, IDLE_CONNECTIONS_MAX};

/// Makes clients that trust these authorities.
#[derive(Debug)]
pub(super) struct Connector(ClientConfig);

impl Connector {
    pub(super) fn new(roots: RootCertStore) -> object_store::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| object_store::Error::Generic {
                store: "TLS",
                source: error.into(),
            })?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(config))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.0.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        Ok(HttpClient::new(Connections {
            client,
            allows_http: allows_http.is_some_and(|allows| allows == "true"),
        }))
    }
}

struct Connections {
    client: Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
    allows_http: bool,
}

impl fmt::Debug for Connections {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connections").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpService for Connections {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !self.allows_http && request.uri().scheme() != Some(&Scheme::HTTPS) {
            let refusal = "it is not reached by TLS, which `AWS_ALLOW_HTTP=true` would allow";
            let refusal = io::Error::other(refusal);
            return Err(HttpError::new(HttpErrorKind::Unknown, refusal));
        }
        // There are servers that answer nobody who does not say who it is.
        let agent = HeaderValue::from_static("marionette");
        request.headers_mut().insert(USER_AGENT, agent);
        let response = self.client.request(request).await;
        let response = response.map_err(|error| HttpError::new(kind(&error), error))?;
        Ok(response.map(|body| {
            let broken = |error| HttpError::new(HttpErrorKind::Interrupted, error);
            HttpResponseBody::new(body.map_err(broken))
        }))
    }
}

/// Whether it is repeated: what is sent does nothing but read.
fn kind(error: &Error) -> HttpErrorKind {
    if error.is_connect() {
        HttpErrorKind::Connect
    } else {
        HttpErrorKind::Interrupted
    }
}
