//! What is left of a range of a blob.
//!
//! Promises: a file that is replaced by renaming is read to its end as it was opened; of what a server sends, no more is
//! taken than its operator has read.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt};

use super::{BlobError, BlobRange, failed};
use crate::host::blocking::Blocking;
use crate::host::limits::FILE_PIECE_BYTES;

pub(super) struct Reader {
    source: Source,
    blocking: Blocking,
    /// What has come and was not read yet.
    piece: Bytes,
}

enum Source {
    /// An open file and the bytes of it that are left. The stream that `object_store` makes of one has pieces of 8 KiB, each
    /// of which costs a change of threads.
    File(Arc<File>, Range<u64>),
    Stream(BoxStream<'static, object_store::Result<Bytes>>),
}

impl Reader {
    pub(super) async fn open(
        store: &dyn ObjectStore,
        path: &Path,
        range: BlobRange,
        blocking: Blocking,
    ) -> Result<Self, BlobError> {
        let found = match range.length {
            Some(0) => None,
            _ => Some(blocking.wait(store.get_opts(path, options(range))).await),
        };
        let error = match found {
            Some(Ok(found)) => return Ok(Self::of(found.payload, found.range, blocking)),
            Some(Err(error @ object_store::Error::NotFound { .. })) => return Err(failed(error)),
            Some(Err(error)) => Some(error),
            None => None,
        };
        // Stores have many words for a range that begins at the end or behind it.
        let bytes = blocking.wait(store.head(path)).await;
        let bytes = bytes.map_err(failed)?.size;
        match (range.offset.cmp(&bytes), error) {
            (Ordering::Greater, _) => Err(BlobError::InvalidRange { bytes }),
            (Ordering::Less, Some(error)) => Err(failed(error)),
            _ => {
                let nothing = GetResultPayload::Stream(futures::stream::empty().boxed());
                Ok(Self::of(nothing, 0..0, blocking))
            }
        }
    }

    fn of(payload: GetResultPayload, range: Range<u64>, blocking: Blocking) -> Self {
        let source = match payload {
            GetResultPayload::File(file, _) => Source::File(Arc::new(file), range),
            GetResultPayload::Stream(stream) => Source::Stream(stream),
        };
        let piece = Bytes::new();
        Self {
            source,
            blocking,
            piece,
        }
    }

    /// The next bytes, at most so many; none at the end.
    pub(super) async fn read(&mut self, bytes_max: usize) -> Result<Bytes, BlobError> {
        while self.piece.is_empty() {
            match self.source.next(self.blocking).await? {
                Some(piece) => self.piece = piece,
                None => return Ok(Bytes::new()),
            }
        }
        Ok(self.piece.split_to(bytes_max.min(self.piece.len())))
    }
}

impl Source {
    async fn next(&mut self, blocking: Blocking) -> Result<Option<Bytes>, BlobError> {
        match self {
            Self::Stream(stream) => stream.next().await.transpose().map_err(failed),
            Self::File(_, range) if range.is_empty() => Ok(None),
            Self::File(file, range) => {
                let end = range.end.min(range.start + FILE_PIECE_BYTES);
                let (file, piece) = (Arc::clone(file), range.start..end);
                let read = blocking.run(move || piece_of(&file, piece)).await;
                let read = read.map_err(BlobError::Other)?;
                range.start = end;
                let failed = |error: io::Error| BlobError::Unavailable(error.to_string());
                read.map(Some).map_err(failed)
            }
        }
    }
}

fn piece_of(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let length = range.end - range.start;
    let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut piece, range.start)?;
    Ok(piece.into())
}

/// All that is asked for without a range is asked for without one: there are servers that know none.
fn options(range: BlobRange) -> GetOptions {
    let BlobRange { offset, length } = range;
    // Servers count in 63 bits.
    let end = length.and_then(|length| offset.checked_add(length));
    let end = end.filter(|end| i64::try_from(*end).is_ok());
    let range = match end {
        Some(end) => Some(GetRange::Bounded(offset..end)),
        None if offset > 0 => Some(GetRange::Offset(offset)),
        None => None,
    };
    GetOptions {
        range,
        ..GetOptions::default()
    }
}
