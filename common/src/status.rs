//! The kinds of errors that cross the wire, mapped to gRPC codes one to one, both ways.

use std::fmt;

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

/// A failure of a call, as text for people and a [`Kind`] for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Status {
    pub kind: Kind,
    pub message: String,
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
        tonic::Status::new(code, status.message)
    }
}

impl From<tonic::Status> for Status {
    fn from(status: tonic::Status) -> Self {
        let kind = CODES
            .iter()
            .find(|(_, code)| *code == status.code())
            .map_or(Kind::Internal, |(kind, _)| *kind);
        Status::new(kind, status.message())
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
}
