//! The little of etcd's API that is used: `etcdserverpb/rpc.proto` and `mvccpb/kv.proto` of etcd 3.4.

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct Header {
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

impl Put {
    pub fn new(key: &str, value: &Bytes) -> Self {
        Self {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: value.clone(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct PutResponse {}

#[derive(Clone, PartialEq, Message)]
pub struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

impl Range {
    pub fn key(key: &str) -> Self {
        Self {
            key: Bytes::copy_from_slice(key.as_bytes()),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
enum CompareTarget {
    Version = 0,
    Create = 1,
    Mod = 2,
}

#[derive(Clone, PartialEq, Message)]
pub struct Compare {
    /// 0: equal.
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(enumeration = "CompareTarget", tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

impl Compare {
    /// 0: there is no such key.
    pub fn revision_is(key: &str, revision: i64) -> Self {
        Self {
            result: 0,
            target: CompareTarget::Mod.into(),
            key: Bytes::copy_from_slice(key.as_bytes()),
            mod_revision: Some(revision),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct RequestOp {
    #[prost(oneof = "Request", tags = "1, 2")]
    request: Option<Request>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Request {
    #[prost(message, tag = "1")]
    Range(Range),
    #[prost(message, tag = "2")]
    Put(Put),
}

impl RequestOp {
    pub fn put(put: Put) -> Self {
        Self {
            request: Some(Request::Put(put)),
        }
    }

    pub fn range(range: Range) -> Self {
        Self {
            request: Some(Request::Range(range)),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct Txn {
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    responses: Vec<ResponseOp>,
}

impl TxnResponse {
    /// What the range of the transaction has found.
    pub fn found(&self) -> Option<&KeyValue> {
        self.responses.first()?.range.as_ref()?.kvs.first()
    }
}

/// Of a put nothing is needed.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    range: Option<RangeResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    /// Member id; 0: none.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
}
