//! Blobs: large data outside of the storage, read piece by piece by URL, and only where the application grants it.
//!
//! Promises: nothing is opened that no grant covers, whatever dots and escapes its URL has, and wherever a server sends its
//! clients instead; memory is bounded by a piece of a file, or what a connection holds at once, for each reader, whatever an
//! operator asks for.
//!
//! Relies on: `object_store` for what a URL leads to; the task's deadline for servers that are silent. A file is followed
//! through links: who may place links in a granted directory decides what is granted. A name is looked up by the system:
//! who answers for a granted host decides what is there.
//!
//! - [`reader`]: what is left of a range. - [`stores`]: how buckets and hosts are reached. - [`connector`]: their connections.

mod connector;
mod reader;
mod stores;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::types::BlobUrl;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use thiserror::Error;

use super::limits::{BLOB_READ_BYTES_MAX, BLOB_READERS_MAX};
use super::rehearsal::Rehearsal;
use reader::Reader;
pub use stores::AwsSettings;
pub(super) use stores::Stores;

/// Why a blob could not be opened or read; the cases of the contract (`blob-error` in `operators/wit`).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlobError {
    #[error("the application does not grant it")]
    NotGranted,
    #[error("not found")]
    NotFound,
    #[error("invalid URL: {0}")]
    InvalidUrl(String),
    #[error("the range begins behind its end at {bytes} bytes")]
    InvalidRange { bytes: u64 },
    #[error("unavailable: {0}")]
    Unavailable(String),
    #[error("the run was cancelled or has a newer attempt")]
    Cancelled,
    #[error("limit exceeded: {0}")]
    LimitExceeded(String),
    #[error("{0}")]
    Other(String),
}

impl BlobError {
    /// Whether another attempt may succeed.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Other(_))
    }
}

/// A part of a blob.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlobRange {
    pub offset: u64,
    /// Absent: to the end.
    pub length: Option<u64>,
}

/// What one task has opened.
pub(super) struct Blobs {
    /// Prefixes in normal form.
    grants: Vec<String>,
    stores: Arc<Stores>,
    rehearsal: Option<Arc<Rehearsal>>,
    readers: BTreeMap<u64, Reader>,
    opened: u64,
}

impl Blobs {
    /// In a rehearsal they are its blobs.
    pub(super) fn new(
        grants: Vec<String>,
        stores: Arc<Stores>,
        rehearsal: Option<Arc<Rehearsal>>,
    ) -> Self {
        Self {
            grants,
            stores,
            rehearsal,
            readers: BTreeMap::new(),
            opened: 0,
        }
    }

    pub(super) async fn size(&mut self, url: &str) -> Result<u64, BlobError> {
        let (store, path) = self.find(url).await?;
        let meta = self.stores.blocking().wait(store.head(&path)).await;
        Ok(meta.map_err(failed)?.size)
    }

    pub(super) async fn open(&mut self, url: &str, range: BlobRange) -> Result<u64, BlobError> {
        let (store, path) = self.find(url).await?;
        if self.readers.len() >= BLOB_READERS_MAX {
            let limit = format!("a task opens at most {BLOB_READERS_MAX} blobs at once");
            return Err(BlobError::LimitExceeded(limit));
        }
        let reader = Reader::open(store.as_ref(), &path, range, self.stores.blocking()).await?;
        self.opened += 1;
        self.readers.insert(self.opened, reader);
        Ok(self.opened)
    }

    /// The next bytes; none at the end of the range, or of a reader that is closed.
    pub(super) async fn read(&mut self, reader: u64, bytes_max: u32) -> Result<Bytes, BlobError> {
        let Some(reader) = self.readers.get_mut(&reader) else {
            return Ok(Bytes::new());
        };
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        reader.read(bytes_max.clamp(1, BLOB_READ_BYTES_MAX)).await
    }

    pub(super) fn close(&mut self, reader: u64) {
        self.readers.remove(&reader);
    }

    /// The store of a URL that is granted, and its place there.
    async fn find(&mut self, url: &str) -> Result<(Arc<dyn ObjectStore>, Path), BlobError> {
        let url = BlobUrl::parse(url).map_err(BlobError::InvalidUrl)?;
        if !self.grants.iter().any(|grant| url.is_covered_by(grant)) {
            return Err(BlobError::NotGranted);
        }
        // A store knows no such names, and would open the one without the slash.
        if url.is_directory() {
            return Err(BlobError::InvalidUrl(
                "a blob's URL does not end in `/`".to_owned(),
            ));
        }
        let path = Path::from_url_path(url.path());
        let path = path.map_err(|error| BlobError::InvalidUrl(error.to_string()))?;
        let store = match &self.rehearsal {
            Some(rehearsal) => rehearsal.store(&url, &path).await?,
            None => self.stores.find(&url).await?,
        };
        Ok((store, path))
    }
}

fn failed(error: object_store::Error) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::NotFound,
        object_store::Error::InvalidPath { source } => BlobError::InvalidUrl(source.to_string()),
        other => BlobError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    fn granting(grant: String) -> Blobs {
        let stores = Arc::new(Stores::new(AwsSettings::default(), false));
        Blobs::new(vec![grant], stores, None)
    }

    const ALL: BlobRange = BlobRange {
        offset: 0,
        length: None,
    };

    fn url(directory: &tempfile::TempDir, name: &str) -> String {
        let directory = Url::from_directory_path(directory.path()).unwrap();
        format!("{directory}{name}")
    }

    #[tokio::test]
    async fn a_range_is_read_piece_by_piece() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a b"), "0123456789").unwrap();
        let mut blobs = granting(url(&directory, ""));
        let url = url(&directory, "a%20b");
        assert_eq!(blobs.size(&url).await, Ok(10));
        let range = BlobRange {
            offset: 2,
            length: Some(5),
        };
        let reader = blobs.open(&url, range).await.unwrap();
        let mut read = Vec::new();
        loop {
            let piece = blobs.read(reader, 2).await.unwrap();
            assert!(piece.len() <= 2);
            if piece.is_empty() {
                break;
            }
            read.extend_from_slice(&piece);
        }
        assert_eq!(read, b"23456");
        let behind = BlobRange {
            offset: 11,
            length: None,
        };
        let refused = blobs.open(&url, behind).await;
        assert_eq!(refused, Err(BlobError::InvalidRange { bytes: 10 }));
    }

    #[tokio::test]
    async fn nothing_is_opened_that_is_not_granted() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("open")).unwrap();
        std::fs::write(directory.path().join("secret"), "s").unwrap();
        let mut blobs = granting(url(&directory, "open"));
        for name in [
            "secret",
            "open/../secret",
            "open/%2e%2e/secret",
            "open/.%2E/secret",
            "openly",
        ] {
            let refused = blobs.open(&url(&directory, name), ALL).await;
            assert_eq!(refused, Err(BlobError::NotGranted), "{name}");
        }
        let escaped = blobs.open(&url(&directory, "open/..%2fsecret"), ALL).await;
        assert!(escaped.is_err(), "{escaped:?}");
        let missing = blobs.open(&url(&directory, "open/none"), ALL).await;
        assert_eq!(missing, Err(BlobError::NotFound));
        let invalid = blobs.open("no url", ALL).await;
        assert!(
            matches!(invalid, Err(BlobError::InvalidUrl(_))),
            "{invalid:?}"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_is_read_to_its_end_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (text, next) = (directory.path().join("text"), directory.path().join("next"));
        let old = "old ".repeat(1 << 18);
        std::fs::write(&text, &old).unwrap();
        std::fs::write(&next, "new").unwrap();
        let mut blobs = granting(url(&directory, ""));
        let reader = blobs.open(&url(&directory, "text"), ALL).await.unwrap();
        let mut read = blobs.read(reader, 10).await.unwrap().to_vec();
        std::fs::rename(&next, &text).unwrap();
        loop {
            let piece = blobs.read(reader, u32::MAX).await.unwrap();
            if piece.is_empty() {
                break;
            }
            read.extend_from_slice(&piece);
        }
        assert_eq!(read, old.as_bytes());
    }

    #[tokio::test]
    async fn a_file_that_is_cut_while_it_is_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let text = directory.path().join("text");
        std::fs::write(&text, "old ".repeat(1 << 18)).unwrap();
        let mut blobs = granting(url(&directory, ""));
        let reader = blobs.open(&url(&directory, "text"), ALL).await.unwrap();
        std::fs::write(&text, "cut").unwrap();
        let error = blobs.read(reader, 10).await;
        assert!(matches!(error, Err(BlobError::Unavailable(_))), "{error:?}");
    }

    #[tokio::test]
    async fn readers_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), "").unwrap();
        let mut blobs = granting(url(&directory, ""));
        let url = url(&directory, "a");
        for _ in 0..BLOB_READERS_MAX {
            blobs.open(&url, ALL).await.unwrap();
        }
        let refused = blobs.open(&url, ALL).await;
        assert!(
            matches!(refused, Err(BlobError::LimitExceeded(_))),
            "{refused:?}"
        );
        blobs.close(1);
        assert!(blobs.open(&url, ALL).await.is_ok());
    }
}
