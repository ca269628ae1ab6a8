//! Blobs: large data outside of the storage, read piece by piece by URL, and only where the application grants it.
//!
//! Promises: nothing is opened that no grant covers, whatever dots and escapes its URL has; memory is bounded by what
//! one store hands out at once, whatever an operator asks for.
//!
//! Relies on: `object_store` for what a URL leads to. A file is followed through links: who may place links in a granted
//! directory decides what is granted.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use thiserror::Error;
use url::Url;

use super::limits::{BLOB_READ_BYTES_MAX, BLOB_READERS_MAX};
use super::rehearsal::Rehearsal;

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
    rehearsal: Option<Arc<Rehearsal>>,
    readers: BTreeMap<u64, Reader>,
    opened: u64,
}

struct Reader {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    /// What has come and was not read yet.
    piece: Bytes,
}

impl Blobs {
    /// In a rehearsal they are its blobs.
    pub(super) fn new(grants: Vec<String>, rehearsal: Option<Arc<Rehearsal>>) -> Self {
        Self {
            grants,
            rehearsal,
            readers: BTreeMap::new(),
            opened: 0,
        }
    }

    pub(super) async fn size(&mut self, url: &str) -> Result<u64, BlobError> {
        let (store, path) = self.find(url).await?;
        let meta = store.head(&path).await.map_err(failed)?;
        Ok(meta.size)
    }

    pub(super) async fn open(&mut self, url: &str, range: BlobRange) -> Result<u64, BlobError> {
        let (store, path) = self.find(url).await?;
        if self.readers.len() >= BLOB_READERS_MAX {
            let limit = format!("a task opens at most {BLOB_READERS_MAX} blobs at once");
            return Err(BlobError::LimitExceeded(limit));
        }
        let bytes = store.head(&path).await.map_err(failed)?.size;
        if range.offset > bytes {
            return Err(BlobError::InvalidRange { bytes });
        }
        let left = bytes - range.offset;
        let length = range.length.map_or(left, |length| length.min(left));
        let stream = if length == 0 {
            futures::stream::empty().boxed()
        } else {
            let bounded = GetRange::Bounded(range.offset..range.offset + length);
            let options = GetOptions {
                range: Some(bounded),
                ..GetOptions::default()
            };
            let found = store.get_opts(&path, options).await.map_err(failed)?;
            found.into_stream()
        };
        self.opened += 1;
        let piece = Bytes::new();
        self.readers.insert(self.opened, Reader { stream, piece });
        Ok(self.opened)
    }

    /// The next bytes; none at the end of the range, or of a reader that is closed.
    pub(super) async fn read(&mut self, reader: u64, bytes_max: u32) -> Result<Bytes, BlobError> {
        let Some(reader) = self.readers.get_mut(&reader) else {
            return Ok(Bytes::new());
        };
        while reader.piece.is_empty() {
            match reader.stream.next().await {
                Some(piece) => reader.piece = piece.map_err(failed)?,
                None => return Ok(Bytes::new()),
            }
        }
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let wanted = bytes_max.clamp(1, BLOB_READ_BYTES_MAX);
        Ok(reader.piece.split_to(wanted.min(reader.piece.len())))
    }

    pub(super) fn close(&mut self, reader: u64) {
        self.readers.remove(&reader);
    }

    /// The store of a URL that is granted, and its place there.
    async fn find(&mut self, url: &str) -> Result<(Box<dyn ObjectStore>, Path), BlobError> {
        let invalid = |error: String| BlobError::InvalidUrl(error);
        // Parsed first: what is compared has no dots left in it.
        let url = Url::parse(url).map_err(|error| invalid(error.to_string()))?;
        if !self.grants.iter().any(|grant| covers(grant, url.as_str())) {
            return Err(BlobError::NotGranted);
        }
        if let Some(rehearsal) = &self.rehearsal {
            // Boxed: rare, and large.
            return Box::pin(rehearsal.store(&url)).await;
        }
        object_store::parse_url(&url).map_err(|error| invalid(error.to_string()))
    }
}

/// Whether a prefix ends where a part of the URL does: `file:///data` covers `file:///data/a`, not `file:///database`.
fn covers(grant: &str, url: &str) -> bool {
    url.strip_prefix(grant)
        .is_some_and(|rest| rest.is_empty() || grant.ends_with('/') || rest.starts_with('/'))
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
        let mut blobs = Blobs::new(vec![url(&directory, "")], None);
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
        let mut blobs = Blobs::new(vec![url(&directory, "open")], None);
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
    async fn readers_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), "").unwrap();
        let mut blobs = Blobs::new(vec![url(&directory, "")], None);
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
