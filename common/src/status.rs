//! The kinds of errors that cross the wire, mapped to gRPC codes one to one, both ways, and to HTTP codes.

use std::fmt;

use tonic::metadata::MetadataMap;

/// What a caller can do about a failure; each kind has one gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong and stays wrong.
    InvalidArgument,
    /// The record, run, node or class does not exist.
    NotFound,
    /// The version asked for is older than the oldest kept.
    Discarded,
    /// Something with this name exists already.
    AlreadyExists,
    /// The node's state does not allow it (wrong ring, ring not set, minority side of a partition).
    Refused,
    /// A bound was hit; try again later.
    Overloaded,
    /// The node is not there or not ready: nothing happened; try another node.
    Unavailable,
    /// No answer in time: whether it took effect is unknown.
    Timeout,
    /// The caller or the run gave up.
    Cancelled,
    /// The peer does not know this method.
    Unimplemented,
    /// A bug or a failed device.
    Internal,
}

impl Kind {
    /// The status of an HTTP answer (RFC 9110 §15) that lets its client do the same.
    pub fn http_code(self) -> u16 {
        match self {
            Self::InvalidArgument => 400,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Refused | Self::Cancelled => 409,
            Self::Discarded => 410,
            Self::Overloaded => 429,
            // What a peer does not know, no client of ours has asked for.
            Self::Internal | Self::Unimplemented => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }
}

/// A failure of a call, as text for people and a [`Kind`] for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Status {
    pub kind: Kind,
    pub message: String,
    pub detail: Option<Detail>,
}

/// What a program may want to know beside the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// There may be room again after so many milliseconds.
    RetryAfterMs(u64),
    /// A value was longer than this many bytes.
    ValueBytesMax(u64),
    /// This attempt at the task, or a later one, has taken the place of the one that asks; the highest number: the task
    /// is over.
    Fenced(u32),
}

impl Detail {
    /// The first is the one that gRPC itself uses (gRFC A6), so that any client heeds it.
    const RETRY_AFTER_MS: &str = "grpc-retry-pushback-ms";
    const VALUE_BYTES_MAX: &str = "value-bytes-max";
    const FENCED: &str = "fenced-by-attempt";

    fn to_metadata(self) -> (&'static str, u64) {
        match self {
            Self::RetryAfterMs(retry_after_ms) => (Self::RETRY_AFTER_MS, retry_after_ms),
            Self::ValueBytesMax(bytes_max) => (Self::VALUE_BYTES_MAX, bytes_max),
            Self::Fenced(attempt) => (Self::FENCED, attempt.into()),
        }
    }

    /// A peer may send anything: what is no number counts as absent.
    fn from_metadata(metadata: &MetadataMap) -> Option<Self> {
        let number = |name| metadata.get(name)?.to_str().ok()?.parse::<u64>().ok();
        let fenced = || u32::try_from(number(Self::FENCED)?).ok().map(Self::Fenced);
        number(Self::RETRY_AFTER_MS)
            .map(Self::RetryAfterMs)
            .or_else(|| number(Self::VALUE_BYTES_MAX).map(Self::ValueBytesMax))
            .or_else(fenced)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Status {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
        }
    }

    #[must_use]
    pub fn with(self, detail: Detail) -> Self {
        let detail = Some(detail);
        Self { detail, ..self }
    }

    pub fn retry_after_ms(&self) -> Option<u64> {
        match self.detail {
            Some(Detail::RetryAfterMs(retry_after_ms)) => Some(retry_after_ms),
            _ => None,
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidArgument, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::new(Kind::Overloaded, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(Kind::Timeout, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    pub fn unknown_method(path: &str) -> Self {
        Self::new(
            Kind::Unimplemented,
            format!("this node does not know the method {path}"),
        )
    }

    /// True when another node (or the same one, later) may well answer, and nothing has happened yet.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Overloaded)
    }
}

const CODES: [(Kind, tonic::Code); 11] = [
    (Kind::InvalidArgument, tonic::Code::InvalidArgument),
    (Kind::NotFound, tonic::Code::NotFound),
    (Kind::Discarded, tonic::Code::OutOfRange),
    (Kind::AlreadyExists, tonic::Code::AlreadyExists),
    (Kind::Refused, tonic::Code::FailedPrecondition),
    (Kind::Overloaded, tonic::Code::ResourceExhausted),
    (Kind::Unavailable, tonic::Code::Unavailable),
    (Kind::Timeout, tonic::Code::DeadlineExceeded),
    (Kind::Cancelled, tonic::Code::Cancelled),
    (Kind::Unimplemented, tonic::Code::Unimplemented),
    (Kind::Internal, tonic::Code::Internal),
];

impl From<Status> for tonic::Status {
    fn from(status: Status) -> Self {
        let code = CODES
            .iter()
            .find(|(kind, _)| *kind == status.kind)
            .map_or(tonic::Code::Internal, |(_, code)| *code);
        let mut answer = tonic::Status::new(code, status.message);
        if let Some(detail) = status.detail {
            let (name, number) = detail.to_metadata();
            answer.metadata_mut().insert(name, number.into());
        }
        answer
    }
}

impl From<tonic::Status> for Status {
    fn from(status: tonic::Status) -> Self {
        let kind = CODES
            .iter()
            .find(|(_, code)| *code == status.code())
            .map_or(Kind::Internal, |(kind, _)| *kind);
        let detail = Detail::from_metadata(status.metadata());
        Status {
            detail,
            ..Status::new(kind, status.message())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for (kind, _) in CODES {
            let status = Status::new(kind, "why");
            assert_eq!(Status::from(tonic::Status::from(status.clone())), status);
        }
    }

    #[test]
    fn whoever_may_come_again_is_told_so_over_http_as_well() {
        for (kind, _) in CODES {
            let code = kind.http_code();
            assert!((400..600).contains(&code), "{kind:?}: {code}");
            let may_come_again = Status::new(kind, "why").is_retryable();
            assert_eq!(may_come_again, [429, 503].contains(&code), "{kind:?}");
        }
    }

    #[test]
    fn every_detail_survives_the_wire() {
        for detail in [
            Detail::RetryAfterMs(250),
            Detail::ValueBytesMax(u64::MAX),
            Detail::Fenced(u32::MAX),
        ] {
            let status = Status::overloaded("why").with(detail);
            assert_eq!(Status::from(tonic::Status::from(status.clone())), status);
        }
    }

    #[test]
    fn a_detail_that_is_no_number_is_ignored() {
        let mut status = tonic::Status::resource_exhausted("why");
        let name = Detail::RETRY_AFTER_MS;
        status.metadata_mut().insert(name, "-1".parse().unwrap());
        assert_eq!(Status::from(status), Status::overloaded("why"));
    }
}
