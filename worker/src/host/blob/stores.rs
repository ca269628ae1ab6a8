//! How buckets and hosts are reached.
//!
//! Promise: a store for each bucket and each host that was asked for lately, with its own connections; no more of them than
//! [`STORES_MAX`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use common::types::BlobUrl;
use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use rustls::RootCertStore;
use tokio::sync::OnceCell;

use super::BlobError;
use super::connector::Connector;
use crate::host::blocking::Blocking;
use crate::host::limits::{BLOB_RETRIES_MAX, BLOB_RETRIES_TIMEOUT, STORES_MAX};
use crate::host::recent::Recent;

/// How S3 is reached, and as whom: the variables `AWS_…` that `object_store` knows, such as `AWS_ENDPOINT`.
#[derive(Clone, Default)]
pub struct AwsSettings(BTreeMap<String, String>);

impl AwsSettings {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self::new(std::env::vars().filter(|(name, _)| name.starts_with("AWS_")))
    }

    /// By the names of the variables.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Names only: there are secrets among the values.
impl fmt::Debug for AwsSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

pub(in crate::host) struct Stores {
    aws: AwsSettings,
    blocking: Blocking,
    files: Arc<LocalFileSystem>,
    /// The certificate authorities that the system trusts.
    roots: OnceCell<RootCertStore>,
    /// By what their URLs begin with.
    recent: Recent<String, Arc<dyn ObjectStore>>,
}

impl Stores {
    /// In a simulation there is nothing but files.
    pub(in crate::host) fn new(aws: AwsSettings, simulated: bool) -> Self {
        Self {
            aws,
            blocking: Blocking { simulated },
            files: Arc::default(),
            roots: OnceCell::new(),
            recent: Recent::new(STORES_MAX),
        }
    }

    pub(super) fn blocking(&self) -> Blocking {
        self.blocking
    }

    pub(super) async fn find(&self, url: &BlobUrl) -> Result<Arc<dyn ObjectStore>, BlobError> {
        if url.scheme() == "file" {
            return Ok(self.files.clone());
        }
        if self.blocking.simulated {
            let why = format!("a simulation reaches no {}", url.root());
            return Err(BlobError::Unavailable(why));
        }
        let place = self.recent.place(&url.root().to_owned());
        place.get_or_try_init(|| self.make(url)).await.cloned()
    }

    async fn make(&self, url: &BlobUrl) -> Result<Arc<dyn ObjectStore>, BlobError> {
        let connector = match url.scheme() {
            "http" => Connector::new(RootCertStore::empty()),
            _ => Connector::new(self.roots().await?),
        };
        let made = connector.and_then(|connector| match url.scheme() {
            "s3" => self.bucket(url, connector),
            _ => host(url, connector),
        });
        made.map_err(|error| BlobError::Unavailable(error.to_string()))
    }

    async fn roots(&self) -> Result<RootCertStore, BlobError> {
        let load = async || self.blocking.run(roots_of_system).await;
        let roots = self.roots.get_or_try_init(load).await.cloned();
        roots.map_err(BlobError::Other)
    }

    fn bucket(
        &self,
        url: &BlobUrl,
        connector: Connector,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &self.aws.0 {
            // Those that it does not know are for others.
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder
            .with_bucket_name(url.host().unwrap_or_default())
            .with_retry(retries())
            .with_http_connector(connector)
            .build()?;
        Ok(Arc::new(store))
    }
}

fn host(url: &BlobUrl, connector: Connector) -> object_store::Result<Arc<dyn ObjectStore>> {
    let options = ClientOptions::new().with_allow_http(url.scheme() == "http");
    let store = HttpBuilder::new()
        .with_url(url.root())
        .with_client_options(options)
        .with_retry(retries())
        .with_http_connector(connector)
        .build()?;
    Ok(Arc::new(store))
}

fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: BLOB_RETRIES_MAX,
        retry_timeout: BLOB_RETRIES_TIMEOUT,
        ..RetryConfig::default()
    }
}

fn roots_of_system() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bucket_and_a_host_are_made_once() {
        let stores = Stores::new(AwsSettings::default(), false);
        let find = async |url: &str| stores.find(&BlobUrl::parse(url).unwrap()).await.unwrap();
        for (one, other) in [
            ("http://host/a", "http://HOST:80/b"),
            ("s3://bucket/a", "s3://bucket/b"),
        ] {
            assert!(Arc::ptr_eq(&find(one).await, &find(other).await), "{one}");
        }
        for (one, other) in [
            ("http://host/a", "http://host:81/a"),
            ("http://host/a", "https://host/a"),
            ("s3://bucket/a", "s3://another/a"),
        ] {
            assert!(!Arc::ptr_eq(&find(one).await, &find(other).await), "{one}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned());
        let shown = format!("{:?}", AwsSettings::new([secret]));
        assert_eq!(shown, r#"{"AWS_SECRET_ACCESS_KEY"}"#);
    }
}
